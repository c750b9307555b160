"""The published ensembles of the Sound Demixing Challenge 2023 behind the challenge's own interface."""

from my_submission.files import FileOptions, SeparatedFile, separate_file
from my_submission.separator import CinematicSeparationModel, MusicSeparationModel

__all__ = [
    "CinematicSeparationModel",
    "FileOptions",
    "MusicSeparationModel",
    "SeparatedFile",
    "separate_file",
]
