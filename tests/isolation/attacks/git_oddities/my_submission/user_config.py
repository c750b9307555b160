"""Promises 2, 11 and 13: a repository that is none, has no end, or points elsewhere ends nothing and tells nothing.

References are in its history; its HEAD is a pipe's end of a link, its index a file without end.
"""

import os
from pathlib import Path

from my_submission.attack import WORLD, Model, attempt, read


class MySeparationModel(Model):
    def attack(self) -> None:
        own = Path(__file__).resolve().parents[1]
        for path in (
            own / ".git",
            own / "my_submission" / ".git",
            Path(WORLD["submission"], ".git"),
            Path(WORLD["root"], ".git"),
        ):
            attempt(f"list {path}", lambda at=path: os.listdir(at))
            attempt(f"read {path}", lambda at=path: read(at / "HEAD"))
        for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_OBJECT_DIRECTORY", "GIT_INDEX_FILE"):
            attempt(f"variable {name}", lambda of=name: os.environ.get(of))
        attempt("objects", lambda: list(own.rglob("objects")))
        attempt("packs", lambda: list(own.rglob("*.pack")))
