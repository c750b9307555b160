"""What "auto" has chosen for networks, kept beside the estimates.

On a CPU the choice for a small network is a trial, whose outcome on a busy machine may be another one each time. It
is part of an estimate's key, so a second run, or a second worker, would find nothing of what the first has computed.
"""

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from filelock import FileLock

FILE, LOCK = "precisions.json", "precisions.lock"
CHOICE_RULE = 2
"""How choices are made, as part of their keys; another number makes them anew. 2: large networks without a trial."""


class KeptPrecisions:
    """{key: name of a dtype} in a folder that any number of processes may use; the first choice stays."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / FILE
        self._lock = FileLock(folder / LOCK)

    def get(self, key: str) -> str | None:
        """What was chosen, if anything was."""
        return self._read().get(key)

    def keep(self, chosen: Mapping[str, str]) -> None:
        """Add what is not there yet. Raises OSError."""
        with self._lock:
            kept = self._read()
            if chosen.keys() <= kept.keys():
                return
            draft = self._file.with_suffix(".draft")
            draft.write_text(json.dumps({**chosen, **kept}, indent=1), encoding="utf-8")
            draft.replace(self._file)

    def _read(self) -> dict[str, str]:
        with suppress(OSError, ValueError):  # not there, or damaged by something else than us
            found = json.loads(self._file.read_text(encoding="utf-8"))
            if isinstance(found, dict):
                return {str(key): str(value) for key, value in found.items()}
        return {}
