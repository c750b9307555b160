"""What lies where in the folder of a run."""

import contextlib
import errno
import shutil
from collections.abc import Iterator
from pathlib import Path

from evaluator.runs import documents
from evaluator.runs.documents import ResultError
from sdx import sole

RESULT_FILE = "result.json"
LOCK_FILE = ".running.lock"
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
REPORT_PAGE = "report.html"


def setup_log(out: Path, number: int = 0) -> Path:
    """What the submission printed while it was constructed, in the session `number`, counted from 0."""
    return out / ("setup.log" if number == 0 else f"setup-{number + 1}.log")


def track_log(out: Path, name: str) -> Path:
    """What it printed while it separated the track with this name, or folder."""
    return out / "logs" / f"{name}.log"


def audio_of(page: Path) -> Path:
    """The folder for the audio of a report, where it is too large to be in the page."""
    return page.with_name(f"{page.stem}_audio")


@contextlib.contextmanager
def sole_run(out: Path) -> Iterator[None]:
    """A folder, which exists, that no other run of this block writes to; ResultError at once where one does."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(sole.held(out / LOCK_FILE))
        except sole.Timeout:
            raise ResultError(
                f"{out}: another run is writing to this folder; wait until it is done, or name another --out"
            ) from None
        except OSError as error:
            if error.errno in DISK_FULL:
                raise
            raise ResultError(
                f"{out}: cannot be written ({error.strerror or error}); name another --out"
            ) from None
        yield


def clear(out: Path) -> None:
    """Remove what an earlier run left in `out`; ResultError where what lies there is no run's."""
    if (out / RESULT_FILE).exists():
        _require_of_a_run(out / RESULT_FILE)
    else:
        for folder in (out / "estimates", out / "logs"):
            if folder.is_dir() and any(folder.iterdir()):
                raise ResultError(
                    f"{folder}: is of no run, since {RESULT_FILE} is not beside it, and a run would remove it; name"
                    " another --out, or move it away"
                )
    for file in (out / RESULT_FILE, setup_log(out), *out.glob("setup-*.log")):
        file.unlink(missing_ok=True)
    for name in ("estimates", "logs"):
        shutil.rmtree(out / name, ignore_errors=True)
    remove_report(out)


def _require_of_a_run(file: Path) -> None:
    """ResultError where a file is no result, whatever the result's version and whether all of it can be read."""
    try:
        is_one = "schema_version" in documents.read_json(file)
    except ResultError:
        is_one = False
    if not is_one:
        raise ResultError(
            f"{file}: is of no run, and one would replace it and what lies beside it; name another --out, or move it"
            " away"
        )


def remove_report(out: Path) -> None:
    """Remove the page of a result that is about to change."""
    page = out / REPORT_PAGE
    page.unlink(missing_ok=True)
    shutil.rmtree(audio_of(page), ignore_errors=True)
