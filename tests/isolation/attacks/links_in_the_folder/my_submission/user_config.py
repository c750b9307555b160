"""Promise 2: links in the submission's own folder lead to nothing that it could not read by its path.

Neither is what they lead to copied into an image. The links were there before: see prepare.py.
"""

import os
from pathlib import Path

from my_submission.attack import Model, attempt, read


class MySeparationModel(Model):
    def attack(self) -> None:
        package = Path(__file__).resolve().parent
        for link in [*package.glob("link_*"), *package.parent.glob("weights_*")]:
            attempt(f"read {link}", lambda path=link: read(path))
        for folder in (package / "data", package.parent / "home", package / "relative"):
            attempt(f"list {folder}", lambda path=folder: os.listdir(path))
            for path in folder.rglob("*"):
                attempt(f"read {path}", lambda of=path: of.is_file() and read(of))
