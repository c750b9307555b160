"""What lies where in the folder of a run."""

import shutil
from pathlib import Path

from evaluator.runs.documents import ResultError

RESULT_FILE = "result.json"
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


def clear(out: Path) -> None:
    """Remove what an earlier run left in `out`; ResultError where what lies there is no run's."""
    if not (out / RESULT_FILE).exists():
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


def remove_report(out: Path) -> None:
    """Remove the page of a result that is about to change."""
    page = out / REPORT_PAGE
    page.unlink(missing_ok=True)
    shutil.rmtree(audio_of(page), ignore_errors=True)
