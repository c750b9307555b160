"""Folders that tests fill: with the working tree, so that what runs there leaves nothing here, or with texts."""

import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
KIT_FOLDERS = ("my_submission", "evaluator", "training", "weights", "local_data")


def tracked_files() -> list[str]:
    """What git has or would add, from ROOT; CalledProcessError outside of git."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    return [name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def copy_working_tree(folder: Path) -> Path:
    """The tracked files, and this environment as `.venv`."""
    for name in tracked_files():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, folder / name)
    (folder / ".venv").symlink_to(sys.prefix)
    return folder


def write_files(root: Path, files: Mapping[str, str]) -> Path:
    """Write texts to their names below a folder, which is returned."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root
