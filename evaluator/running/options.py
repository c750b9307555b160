"""What the user of an evaluation asks for."""

from dataclasses import dataclass, field
from pathlib import Path

from evaluator.isolation.sandbox import Limits
from evaluator.runs.labels import UNNAMED, Label
from sdx.engines.address import Address

RUNNERS = ("process", "docker")
UNLIMITED = Limits(time_factor=None, setup_seconds=None, cpus=None, memory_bytes=None, scratch_bytes=None)


class UsageError(Exception):
    """The options contradict each other or leave something open; the message says which to give."""


@dataclass(frozen=True)
class Options:
    """What the user asked for."""

    submission: Path
    data: Path | None = None
    preset: str | None = None  # a name, or a file
    challenge: str | None = None  # its name, or that of any other stems (`challenge.of_name`)
    only: str | None = None
    limits: Limits = field(default_factory=Limits)
    runner: str = "process"
    out: Path | None = None
    metrics: tuple[str, ...] = ("sdr",)
    resume: bool = False
    jobs: int = 1  # tracks at a time
    fit: bool = False  # tell the submission the time factor, so that it plans to fit
    keep_estimates: bool = False  # where there is no `out`; with it they are kept anyway
    readable: tuple[Path, ...] = ()  # what the submission may read besides its own folder
    require_isolation: bool = False  # run nothing where a promise of SECURITY.md cannot be kept
    engine: Address | None = None  # whose workers do the tracks, in place of this process
    send_estimates: bool = False  # from workers that do not share the run's folder
    predictions: Path | None = None  # a folder of estimates to score, in place of those of a submission
    label: Label = UNNAMED
    skip_bad: bool = False  # leave out tracks that cannot be used, and say so
