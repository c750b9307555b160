"""What a worker of an engine is given of an evaluation, and what it answers: plain records that can travel."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from evaluator.isolation.sandbox import Isolation, Outcome
from evaluator.runs.records import Host, Plan, TrackResult


@dataclass(frozen=True)
class Assignment:
    """An evaluation, as all of its tracks share it; paths are those of whoever began it.

    plan: that of the run, but for what its data says of each track; of the tracks that are left out one is enough.
    mark: a file in `out` by whose presence a worker knows that it shares that folder. keep: whether estimates are
    kept there. send: whether a worker that does not share it sends them. hold: whether the submission stays
    constructed for the next track.
    """

    run: str
    plan: Plan
    readable: tuple[str, ...]
    require_isolation: bool
    patience: float
    out: str
    mark: str
    keep: bool
    send: bool
    hold: bool = True


@dataclass(frozen=True)
class SetUp:
    """The submission was constructed on a worker, or could not be; is_new: for this very track."""

    outcome: Outcome
    isolation: Isolation | None
    is_new: bool = True


@dataclass(frozen=True)
class TrackAnswer:
    """What came of a track on a worker; `result` is None where the submission could not be constructed.

    set_up: of the session that did it. estimates: {stem: bytes of the WAV file}, where they are sent.
    """

    host: Host
    set_up: SetUp
    result: TrackResult | None
    log: str
    estimates: Mapping[str, bytes]

    @property
    def weights(self) -> Any:
        """What the submission says of its weights: for ours a list of {name, file, sha256}."""
        return (self.set_up.outcome.provenance or {}).get("weights")
