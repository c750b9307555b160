"""What is kept of one evaluation: what was run, on what, and what came of each track."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import PurePath
from typing import Any

from evaluator.isolation.sandbox import Limits, Status
from evaluator.measures import means
from evaluator.measures.means import Scores

ESTIMATES = "estimates"  # the folder of a run that holds them
NOTHING_RUNS = "none"  # the runner where estimates are given


@dataclass(frozen=True)
class Identity:
    """Which code exactly; two runs of equal identity run the same code with the same settings."""

    path: str
    commit: str | None
    dirty: bool | None
    files_sha256: str
    requested_preset: str | None  # None leaves the choice to the submission
    requested_time_factor: float | None = None  # that of --fit; None asks for no economies


@dataclass(frozen=True)
class GivenEstimates:
    """Which files, where a run scores estimates that were made elsewhere, and nothing is known of how.

    files_sha256: of their contents, by track and stem, whatever the files are called.
    """

    path: str
    files_sha256: str

    @property
    def name(self) -> str:
        """How they are called: the folder, or for the estimates of a run its folder."""
        path = PurePath(self.path)
        return (path.parent if path.name == ESTIMATES else path).name


@dataclass(frozen=True)
class LeftOut:
    """A track that could not be used and was left out (--skip-bad), and why."""

    name: str
    reason: str

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class DataInfo:
    """Which data; `hash` covers names and contents of the tracks that were used: those that match `only`, if good.

    tracks: the hash of each of them, by which a part of the data is known to be one; empty where it was not noted.
    """

    path: str
    number: int
    hash: str
    only: str | None = None  # the pattern of --only
    left_out: tuple[LeftOut, ...] = ()
    tracks: Mapping[str, str] = field(default_factory=dict, compare=False)


@dataclass(frozen=True)
class Plan:
    """Everything that decides what is computed; a run may be resumed by an equal plan only."""

    challenge: str  # its name, or that of any other stems (`challenge.of_name`)
    submission: Identity | None  # None where estimates are given
    data: DataInfo
    limits: Limits
    metrics: tuple[str, ...]
    runner: str
    jobs: int = 1  # tracks at a time, which share the machine
    predictions: GivenEstimates | None = None


@dataclass(frozen=True)
class SetupResult:
    """What came of importing and constructing the submission, the last time that was done."""

    status: Status
    reason: str | None
    seconds: float
    limit_seconds: float | None
    wrapper: str  # whose AIcrowdWrapper was called: "submission" or "evaluator"


@dataclass(frozen=True)
class Host:
    """A machine that did tracks of a run that is spread over several.

    tracks_at_a_time: the most that its workers were seen to do at once, those of other runs included.
    """

    name: str
    cores: int | None
    memory_bytes: int | None
    gpus: tuple[str, ...]
    tracks_at_a_time: int


@dataclass(frozen=True)
class TrackResult:
    """What came of one track; `scores` holds {measure: {stem: dB}}, empty unless the status is ok."""

    name: str
    status: Status
    reason: str | None
    seconds: float | None  # None if the submission was not running any more
    limit_seconds: float | None
    audio_seconds: float
    peak_memory_bytes: int | None
    economies: tuple[Any, ...]
    scores: Mapping[str, Scores]
    machine: str | None = None  # which did it, where a run is spread over several
    last_line: str | None = None  # of what the submission printed; kept where the track failed or was late

    @property
    def late(self) -> bool:
        """Whether it is done but took longer than it may, which only a job with patience lets happen."""
        in_time = self.seconds is None or self.limit_seconds is None or self.seconds <= self.limit_seconds
        return self.status == "ok" and not in_time

    @property
    def why(self) -> str:
        """What went wrong with the track, in one line; empty where nothing did."""
        if self.status == "ok" and not self.late:
            return ""
        said = self.reason or ""
        if self.late:
            said = f"took {self.seconds:.1f} s of the {self.limit_seconds:.1f} s allowed"
        parts = [said.rstrip(":")] if said else []  # the first line of more may end so
        if self.last_line and self.last_line not in said:
            parts.append(f"its log ends: {self.last_line}")
        taken = "; ".join(map(str, self.economies))
        if taken and taken not in (self.last_line or ""):
            parts.append(f"left out to be in time: {taken}")
        return "; ".join(parts)

    def mean(self, measure: str) -> float | None:
        """Mean over stems in dB."""
        return means.mean(list(self.scores[measure].values())) if measure in self.scores else None


def differences(before: Plan, now: Plan) -> list[str]:
    """What differs between two plans, as "limits.cpus: 2, now 4"."""
    return _differences("", before, now)


def _differences(prefix: str, before: Any, now: Any) -> list[str]:
    found = []
    for each in fields(now):
        there, here = getattr(before, each.name), getattr(now, each.name)
        if is_dataclass(here) and is_dataclass(there):
            found += _differences(f"{prefix}{each.name}.", there, here)
        elif each.compare and there != here:
            found.append(f"{prefix}{each.name}: {_words(there)}, now {_words(here)}")
    return found


def _words(value: Any) -> str:
    if is_dataclass(value):
        return str(getattr(value, "path", value))
    return (", ".join(map(str, value)) or "none") if isinstance(value, tuple) else str(value)
