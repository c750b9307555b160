"""What to evaluate, and who is told about its progress."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluator.isolation.sandbox import Outcome, Runner, Workplace
from evaluator.running.dataset import Dataset, Track
from evaluator.running.predictions import Predictions
from evaluator.runs.records import Plan, TrackResult


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
