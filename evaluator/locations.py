"""Where the kit's own files are, and where it keeps what it makes."""

import os
from pathlib import Path

import platformdirs

REPOSITORY = Path(__file__).resolve().parents[1]
"""The folder above evaluator/: a checkout, or `sdx/_kit` of an installed kit, which is laid out alike."""
IS_INSTALLED = REPOSITORY.parts[-2:] == ("sdx", "_kit")
DEMO = REPOSITORY / "local_data" / "demo"
PRESETS = REPOSITORY / "my_submission" / "presets"
DATA_VARIABLE = "SDX_HOME"


def data_folder() -> Path:
    """The folder for runs/: $SDX_HOME, else the checkout, else, installed or read-only, the user's data folder."""
    return _own_folder() or Path(platformdirs.user_data_dir("sdx23-kit", appauthor=False))


def cache_folder() -> Path:
    """The folder for what can be made again: .cache/ in the first two of `data_folder`, else the user's cache."""
    own = _own_folder()
    return own / ".cache" if own else Path(platformdirs.user_cache_dir("sdx23-kit", appauthor=False))


def submission_folder() -> Path:
    """The submission that is meant where none is named: the kit's, or with an installed kit that in this folder."""
    here = Path.cwd()
    return here if IS_INSTALLED and (here / "my_submission").is_dir() else REPOSITORY


def _own_folder() -> Path | None:
    if home := os.environ.get(DATA_VARIABLE):
        return Path(home).absolute()
    return REPOSITORY if not IS_INSTALLED and os.access(REPOSITORY, os.W_OK) else None


def command(words: str) -> str:
    """How a command is called here, for advice: `sdx …` where the kit is installed, else as from a checkout."""
    if IS_INSTALLED:
        return f"sdx {words}"
    name, *rest = words.split(" ", 1)
    start = "python run_eval.py" if name == "eval" else f"python -m evaluator {name}"
    return " ".join([start, *rest])


RUNS = data_folder() / "runs"
