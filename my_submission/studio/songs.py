"""What was dropped, and what has become of it."""

import re
import secrets
import threading
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

State = Literal["arriving", "waiting", "working", "done", "failed"]
ACTIVE: tuple[State, ...] = ("arriving", "waiting", "working")
_LONGEST_NAME = 80
_LONGEST_BYTES = 200


@dataclass
class Song:
    """A song. name: as it was called where it comes from, for people only: no path is made of it.

    folder: its own, which holds nothing else. fraction: of the work that is done. seconds_left: None if not known.
    stems: name -> file. listening: name -> the copy that the page plays, none if it is too long for that.
    """

    name: str
    folder: Path
    id: str = field(default_factory=lambda: secrets.token_urlsafe(9))
    state: State = "arriving"
    fraction: float = 0.0
    seconds_left: float | None = None
    reason: str = ""
    notes: tuple[str, ...] = ()
    seconds: float = 0.0
    stems: Mapping[str, Path] = field(default_factory=dict)
    listening: Mapping[str, Path] = field(default_factory=dict)
    given_up: threading.Event = field(default_factory=threading.Event)

    @property
    def upload(self) -> Path:
        """Where the song itself is, until it is separated."""
        return self.folder / "song"

    def as_json(self) -> dict[str, Any]:
        """What the page shows."""
        return {
            "id": self.id,
            "name": self.name,
            "state": self.state,
            "fraction": self.fraction,
            "seconds_left": self.seconds_left,
            "reason": self.reason,
            "notes": list(self.notes),
            "seconds": self.seconds,
            "stems": list(self.stems),
            "plays": bool(self.listening),
        }


def shown_name(name: str) -> str:
    """A name of a file as it is shown: one line, not endless, and without what acts on a page's direction."""
    plain = "".join(letter for letter in name if unicodedata.category(letter)[0] != "C")
    return " ".join(plain.split())[:200] or "a song"


def folder_name(number: int, name: str) -> str:
    """A folder for a song's stems that people recognise: letters and digits of its name alone, and a number."""
    stem = name.rpartition(".")[0] or name
    words = re.sub(r"[^\w -]+", "_", stem).strip(" _")[:_LONGEST_NAME]
    words = words.encode()[:_LONGEST_BYTES].decode(errors="ignore").strip()
    return f"{number:03} {words}".strip()
