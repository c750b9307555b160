"""Anybody's recordings: decoded, separated in blocks, and written as one file per stem."""

from my_submission.files.errors import (
    FileSeparationError,
    OutputExists,
    OutputFailed,
    UnreadableAudio,
    WouldClip,
)
from my_submission.files.separate import FileOptions, SeparatedFile, StreamingModel, separate_file

__all__ = [
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
