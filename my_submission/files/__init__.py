"""Anybody's recordings: decoded, separated in blocks, and written as one file per stem."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from my_submission.files.errors import (
        FileSeparationError,
        OutputExists,
        OutputFailed,
        UnreadableAudio,
        WouldClip,
    )
    from my_submission.files.excerpt import Excerpt
    from my_submission.files.model import StreamingModel
    from my_submission.files.options import FileOptions, SeparatedFile
    from my_submission.files.separate import separate_file

_HOMES = {
    **dict.fromkeys(
        ("FileSeparationError", "OutputExists", "OutputFailed", "UnreadableAudio", "WouldClip"), "errors"
    ),
    "Excerpt": "excerpt",
    "StreamingModel": "model",
    **dict.fromkeys(("FileOptions", "SeparatedFile"), "options"),
    "separate_file": "separate",
}
__all__ = [
    "Excerpt",
    "FileOptions",
    "FileSeparationError",
    "OutputExists",
    "OutputFailed",
    "SeparatedFile",
    "StreamingModel",
    "UnreadableAudio",
    "WouldClip",
    "separate_file",
]


def __getattr__(name: str) -> Any:
    """A public name, imported on first use: the options of `separate` are in this room, and need no torch."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
