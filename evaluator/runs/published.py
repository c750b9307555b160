"""Scores that others published, on data that is not ours: weights/published_scores.yaml, read and checked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any

import yaml

from evaluator.locations import REPOSITORY

FILE = REPOSITORY / "weights" / "published_scores.yaml"


@dataclass(frozen=True)
class PublishedRow:
    """One entry; `scores` holds dB by stem and "mean", as far as they were published.

    preset: the preset of the kit that runs this model and no other, or None.
    """

    name: str
    scores: Mapping[str, float]
    preset: str | None = None


@dataclass(frozen=True)
class PublishedSet:
    """Entries that were scored by the same measure on the same data, best first."""

    name: str
    challenge: str
    data: str
    measure: str
    source: str
    stems: tuple[str, ...]
    rows: tuple[PublishedRow, ...]

    @cached_property
    def digits(self) -> int:
        """Digits after the point as published."""
        return max(len(f"{value}".partition(".")[2]) for row in self.rows for value in row.scores.values())


@lru_cache(maxsize=1)
def load() -> tuple[PublishedSet, ...]:
    """All sets of the file."""
    sets = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    return tuple(
        PublishedSet(
            name=item["name"],
            challenge=item["track"],
            data=item["data"],
            measure=item["measure"],
            source=item["source"],
            stems=tuple(item["stems"]),
            rows=tuple(_row(row) for row in item["rows"]),
        )
        for item in sets
    )


def _row(row: Mapping[str, Any]) -> PublishedRow:
    scores = {key: value for key, value in row.items() if key not in ("name", "preset", "checkpoint")}
    return PublishedRow(row["name"], scores, row.get("preset"))


def of_challenge(challenge: str | None) -> Sequence[PublishedSet]:
    """The sets of a challenge; all for None."""
    return [found for found in load() if challenge in (None, found.challenge)]
