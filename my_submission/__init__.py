"""Ensembles for any stems, including those of the Sound Demixing Challenge 2023, behind the challenge's interface."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from my_submission.files import Excerpt, FileOptions, SeparatedFile, separate_file
    from my_submission.separator import CinematicSeparationModel, MusicSeparationModel, SeparationModel

__all__ = [
    "CinematicSeparationModel",
    "Excerpt",
    "FileOptions",
    "MusicSeparationModel",
    "SeparatedFile",
    "SeparationModel",
    "separate_file",
]


def __getattr__(name: str) -> Any:
    """A public name, imported on first use: torch takes seconds to import, and `--help` does not need it."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = "my_submission.separator" if name.endswith("Model") else "my_submission.files"
    return getattr(import_module(home), name)
