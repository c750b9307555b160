"""What to evaluate, and who is told about its progress."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluator.isolation.sandbox import Outcome, Runner, Workplace
from evaluator.running.dataset import Dataset, Track
from evaluator.running.predictions import Predictions
from evaluator.runs.labels import UNNAMED, Label
from evaluator.runs.records import Plan, TrackResult
from sdx.engines.address import Address


class Observer:
    """Is told what happens, so that a command line can show it; does nothing itself.

    If several sessions run side by side, each calls from its own thread.
    """

    def resumed(self, tracks: Sequence[Track]) -> None:
        """These tracks were done by the run that is resumed."""

    def setting_up(self) -> None:
        """The submission is being imported and constructed."""

    def setup_failed(self, outcome: Outcome, log: Sequence[str]) -> None:
        """It cannot be constructed, so all remaining tracks fail; `log` holds its last lines of output."""

    def separating(self, track: Track, limit_seconds: float | None) -> None:
        """The clock of a track starts."""

    def separated(self, track: Track) -> None:
        """The clock of a track has stopped; its result comes later."""

    def finished(self, track: Track, result: TrackResult, log: Sequence[str]) -> None:
        """A track has its result; if it failed, `log` holds the last lines of its output."""

    def measuring(self, metric: str, tracks: int) -> None:
        """A costly metric is being computed for that many tracks."""

    def working(self, workers: int, machines: int, left: int) -> None:
        """That many workers of an engine may do the tracks that are left; told again and again."""

    def notice(self, text: str) -> None:
        """Something happened with an engine or its workers, or the submission foresees something; a sentence."""


@dataclass(frozen=True)
class Spread:
    """The engine that a job goes over, each track's hash, and what its workers are told besides the plan."""

    address: Address
    hashes: Mapping[str, str]
    readable: tuple[Path, ...]
    require_isolation: bool
    send_estimates: bool


@dataclass(frozen=True)
class Job:
    """What to evaluate, where to put it, and how to run it: one runner for each workplace, or else given estimates.

    patience: how many times its limit a track may take before it is ended; it is late from the limit on.
    """

    plan: Plan
    dataset: Dataset
    out: Path
    keep_estimates: bool
    make_runner: Callable[[Workplace], Runner] | None
    patience: float = 1.0
    predictions: Predictions | None = None  # in place of a runner
    spread: Spread | None = None  # over an engine, whose workers make the runners
    label: Label = UNNAMED
