"""The answers of the JSON interface, as its description (OpenAPI) has them."""

from typing import Any

from pydantic import BaseModel, ConfigDict

from evaluator.service.entries import Details

Values = dict[str, float | None]
"""{stem or "mean": value}."""


class Answer(BaseModel):
    """What all answers have in common: nothing is in them that is not described."""

    model_config = ConfigDict(extra="forbid")


class Refusal(Answer):
    """Why a request was refused; problems: one sentence for each file or field at fault."""

    error: str
    problems: list[str]


class ScoresLeft(Answer):
    """How many scores the caller may still have."""

    today: int
    in_all: int


class BenchmarkShown(Answer):
    """A benchmark; opens, closes: seconds since 1970."""

    name: str
    title: str
    stems: list[str]
    measures: list[str]
    tracks: int
    references: str
    opens: float | None
    closes: float | None
    scores_a_day: int
    scores_in_all: int
    scores_left: ScoresLeft | None
    mixtures: str


class TrackShown(Answer):
    """A track; folder: how estimates of it are called; channels: how many these may have."""

    folder: str
    frames: int
    rate_hz: int
    channels: list[int]


class BenchmarkInFull(BenchmarkShown):
    """A benchmark with its tracks; for_teams: whether the caller may submit for others."""

    tracks: list[TrackShown]  # type: ignore[assignment]
    for_teams: bool


class RowShown(Answer):
    """An entry on a board; interval: 95 %; group: rows of one group cannot be told apart from its first."""

    place: int | None
    entry: int
    name: str
    author: str
    method: str
    ensemble: bool
    training_data: str
    scores: Values
    interval: tuple[float, float] | None
    group: int | None


class PublishedRowShown(Answer):
    """What somebody else has published."""

    name: str
    scores: Values


class PublishedShown(Answer):
    """Published scores, by another measure on other data."""

    set: str
    data: str
    measure: str
    source: str
    rows: list[PublishedRowShown]


class BoardShown(Answer):
    """A board; withdrawn: the numbers of entries that were taken back."""

    benchmark: str
    measure: str
    stem: str
    part: str
    rows: list[RowShown]
    withdrawn: list[int]
    published: list[PublishedShown]


class WaitingShown(Answer):
    """An entry in the queue."""

    entry: int
    benchmark: str
    state: str
    place: int
    tracks_done: int
    tracks: int
    attempts: int
    submitted: float


class QueueShown(Answer):
    """What is under way."""

    workers: int
    entries: list[WaitingShown]


class EntryShown(Details):
    """An entry; means: {part: {measure: {stem or "mean": value}}}, None where the caller may not see them.

    team: whose it is, where an organiser has submitted it for others; told to its owner alone.
    """

    entry: int
    team: str | None
    benchmark: str
    state: str
    words: str
    problems: list[str]
    author: str
    stems: list[str]
    created: float
    submitted: float | None
    scored: float | None
    held_back: bool
    means: dict[str, dict[str, Values]] | None


class EntriesShown(Answer):
    """The caller's entries."""

    entries: list[EntryShown]


class UploadShown(Answer):
    """A file on its way; complete: it is there, and its hash is what was said."""

    name: str
    location: str
    offset: int
    length: int
    complete: bool


class UploadsShown(Answer):
    """The files of an entry, in the order in which they were named."""

    uploads: list[UploadShown]


def content(kind: str, **schema: Any) -> dict[str, Any]:
    """The description of a body of another kind than JSON."""
    return {"content": {kind: {"schema": {"type": "string", **schema}}}}


def headers(required: bool = True, **described: str) -> list[dict[str, Any]]:
    """The descriptions of headers of a request; of each a name, with _ for -, and a description."""
    return [
        {
            "in": "header",
            "name": name.replace("_", "-"),
            "required": required,
            "description": words,
            "schema": {"type": "string"},
        }
        for name, words in described.items()
    ]
