"""What people call a run: a name, a note, tags. None of it decides what is computed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

from pydantic import AfterValidator, Field

from evaluator import printable

NAME_CHARACTERS = 100
NOTE_CHARACTERS = 2000
TAG_CHARACTERS = 40
MOST_TAGS = 20


@dataclass(frozen=True)
class Label:
    """As the user gave it, all of it visible text; runs of one name are repetitions of one system."""

    name: str | None = None
    note: str | None = None
    tags: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """Tags and note as the end of a sentence; empty without both."""
        return ", ".join([*(f"#{tag}" for tag in self.tags), *([self.note] if self.note else [])])


UNNAMED = Label()


def checked(text: str, most: int) -> str:
    """The text without space around it; ValueError where it is empty, too long, or something in it is not seen."""
    text = text.strip()
    if not 0 < len(text) <= most:
        raise ValueError(f"found {len(text)} characters, expected from 1 to {most}")
    if (wrong := printable.fault(text)) is not None:
        raise ValueError(f"found the character {wrong}, expected one line of visible text")
    return text


def checked_tag(text: str) -> str:
    """The same of a tag, which has no comma."""
    if "," in text:
        raise ValueError("found a comma, expected one tag; give --tag once for each")
    return checked(text, TAG_CHARACTERS)


def _at_most(most: int) -> AfterValidator:
    def cut(text: str) -> str:
        is_fine = len(text) <= most and printable.fault(text) is None
        return text if is_fine else printable.plain(text, most)

    return AfterValidator(cut)


def _each_once(tags: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(tag for tag in tags if tag))


# What files of others say: cut and made visible rather than refused, since it is shown and nothing else.
NameText = Annotated[str, _at_most(NAME_CHARACTERS)]
NoteText = Annotated[str, _at_most(NOTE_CHARACTERS)]
Tags = Annotated[
    tuple[Annotated[str, _at_most(TAG_CHARACTERS)], ...],
    Field(max_length=MOST_TAGS),
    AfterValidator(_each_once),
]
