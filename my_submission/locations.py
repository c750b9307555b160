"""Where the kit keeps what it fetches. What it only reads is beside its packages."""

import os
import shlex
from pathlib import Path

import platformdirs

ROOT = Path(__file__).resolve().parents[1]
"""The folder above my_submission/: a checkout, a packed submission, or `sdx/_kit` of an installed kit."""
IS_INSTALLED = ROOT.parts[-2:] == ("sdx", "_kit")
DATA_VARIABLE = "SDX_HOME"


def data_folder() -> Path:
    """The folder to write to: $SDX_HOME; else the checkout; else, if installed or read-only, the user's data
    folder."""
    if home := os.environ.get(DATA_VARIABLE):
        return Path(home).absolute()
    if not IS_INSTALLED and os.access(ROOT, os.W_OK):
        return ROOT
    return Path(platformdirs.user_data_dir("sdx23-kit", appauthor=False))


def command(words: str, *names: str) -> str:
    """How to call a command here, for advice: `sdx …` if the kit is installed, else `python -m …`.

    names: what follows the words, files perhaps, as a shell takes them.
    """
    line = " ".join([words, *map(shlex.quote, names)])
    return f"sdx {line}" if IS_INSTALLED else f"python -m my_submission {line}"
