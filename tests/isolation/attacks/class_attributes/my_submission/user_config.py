"""Promises 1, 3 and 11: the class that says what it makes is looked at inside, whatever its attributes do.

SDX_PRESET stands in this file, so it is asked for `track` and `stems`: objects that act when they are looked at.
"""

import os
from pathlib import Path

from my_submission.attack import TOKEN, WORLD, Model, attempt, read, say_tried, tried


def act(where: str) -> None:
    for path in (*WORLD["references"][:2], *WORLD["secrets"]):
        attempt(f"{where}: read {path}", lambda name=path: read(name))
    for folder in (WORLD["root"], WORLD["home"], WORLD["repository"]):
        attempt(f"{where}: write to {folder}", lambda at=folder: Path(at, TOKEN).write_text("evil"))
    attempt(f"{where}: root", lambda: 0 in os.getresuid())


class Text(str):
    def __eq__(self, other: object) -> bool:
        act("eq")
        return True

    def __hash__(self) -> int:
        act("hash")
        return hash("music")

    def __str__(self) -> str:
        act("str")
        return "music"


class Stems(list):  # type: ignore[type-arg]
    def __iter__(self):  # type: ignore[no-untyped-def]
        act("iter")
        return iter([Text("bass"), Text("\x1b[31mdrums"), Text("other"), Text("vocals")])


class Meta(type):
    def __getattribute__(cls, name: str) -> object:
        if name in ("track", "stems"):
            act(f"meta {name}")
            return {"track": Text("cinematic"), "stems": Stems()}[name]
        return super().__getattribute__(name)


class Described(Model, metaclass=Meta):
    pass


act("import")
say_tried()


class MySeparationModel(Model):
    """On a track of an attack the class is as `Described` from the first look on; `track` is also the model's own name."""

    def attack(self) -> None:
        tried()
        for name in ("track", "stems"):
            attempt(f"look at {name}", lambda of=name: getattr(Described, of) and None)
