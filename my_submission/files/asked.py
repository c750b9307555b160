"""What somebody says of the model that is to separate: without torch, so that it can be passed on at once."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Asked:
    """As on a command line; `model.choose` finds out what it means.

    preset: None for the one that is configured. stems: as `parse_stems` takes them. two_stems: the stem of
    `stems.two_stems`, in place of these.
    """

    preset: str | None
    device: str
    precision: str
    weights_dir: Path | None
    fast: bool
    memory_budget: int | None
    stems: tuple[str, ...]
    two_stems: str | None
