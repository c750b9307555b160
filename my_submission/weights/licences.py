"""Licences of checkpoints: which files are simply fetched, and which only once the user has accepted their terms.

A licence that lets anybody use a file for anything asks nothing. One that is not stated, is for non-commercial use,
or is not known here asks once: what was accepted is kept in a file, by a hash of the row's name, its file and its
licence, so that a licence that changes asks again.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from ..locations import command, data_folder
from ..plain_files import read_regular, replace_file
from ..schema import Record, validate
from .checkpoints import Checkpoint
from .errors import LicenceNotAccepted, WeightsError
from .store import lock_for

Agree = Callable[[tuple[Checkpoint, ...]], None]
"""Gets the checkpoints that are to be downloaded and whose terms are not accepted; returns once they are, or raises
LicenceNotAccepted."""

_RECORD_FILE = "accepted_licences.json"
_LARGEST_RECORD_BYTES = 1 << 20
# Both are looked for in words, whatever stands between them: CC-BY-NC-4.0 is "cc by nc 4 0".
_LIMITED = re.compile(
    r"\b(nc|non ?commercial\w*|no commercial|not|none|unknown|unstated|unspecified|unconfirmed|unclear|no licen[cs]e"
    r"|research|academic|educational|personal|private|evaluation|proprietary|code)\b"
)
_FREE = re.compile(
    r"\b(mit|apache|bsd|0bsd|isc|zlib|unlicense|public domain|cc0|cc by|creative commons (zero|attribution)"
    r"|[al]?gpl(v?[23])?|mpl|(gnu|mozilla) .*public licen[cs]e)\b"
)


def is_free(licence: str | None) -> bool:
    """Whether a licence, by its name, lets anybody use a file for anything; one that is not recognised does not."""
    words = " ".join(re.findall(r"[a-z0-9]+", (licence or "").lower()))
    return bool(_FREE.search(words)) and not _LIMITED.search(words)


def licence_text(checkpoint: Checkpoint) -> str:
    """A row's licence as people read it."""
    return checkpoint.licence if checkpoint.licence and checkpoint.licence.strip() else "no licence stated"


def not_accepted(checkpoints: Iterable[Checkpoint]) -> tuple[Checkpoint, ...]:
    """Those whose terms have to be accepted before they are fetched, and were not; WeightsError."""
    asking = [checkpoint for checkpoint in checkpoints if not is_free(checkpoint.licence)]
    accepted = _read() if asking else {}
    return tuple(checkpoint for checkpoint in asking if _key(checkpoint) not in accepted)


def accept(checkpoints: Iterable[Checkpoint]) -> None:
    """Keep that the user has accepted the terms of these; WeightsError if it cannot be written."""
    path = record_path()
    today = datetime.date.today().isoformat()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with lock_for(path):
            accepted = dict(_read())
            for row in checkpoints:
                entry = _Accepted(checkpoint=row.name, file=row.file, licence=row.licence, accepted=today)
                accepted.setdefault(_key(row), entry)
            content = json.dumps({key: entry.model_dump() for key, entry in accepted.items()}, indent=2)
            replace_file(path, lambda file: file.write(f"{content}\n".encode()))
    except OSError as error:
        raise WeightsError(f"{path}: cannot keep what was accepted ({error}); make it writable") from error


def refuse(checkpoints: tuple[Checkpoint, ...], wanted: Sequence[str] = ()) -> None:
    """The answer of a program that nobody is asked by: LicenceNotAccepted. wanted: what to fetch, by name."""
    terms = ", ".join(f"{row.name} ({licence_text(row)})" for row in checkpoints)
    fetch = command("weights fetch", *(wanted or [row.name for row in checkpoints]))
    raise LicenceNotAccepted(
        f"nothing was fetched, since the terms of {terms} have to be accepted first: run `{fetch}` on a terminal,"
        " which asks, or add --accept-licence to it"
    )


def record_path() -> Path:
    """The file that keeps what was accepted."""
    return data_folder() / "weights" / _RECORD_FILE


class _Accepted(Record):
    checkpoint: str
    file: str
    licence: str | None
    accepted: str  # the date


class _Record(Record):
    accepted: Mapping[str, _Accepted]


def _key(checkpoint: Checkpoint) -> str:
    terms = json.dumps([checkpoint.name, checkpoint.file, checkpoint.licence])
    return hashlib.sha256(terms.encode()).hexdigest()


def _read() -> Mapping[str, _Accepted]:
    path = record_path()
    try:
        document = json.loads(read_regular(path, _LARGEST_RECORD_BYTES))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"{path}: cannot be read as JSON: {error}; restore or delete it") from error
    return validate(_Record, {"accepted": document}, path, WeightsError).accepted
