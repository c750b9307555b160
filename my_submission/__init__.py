"""Ensembles of any stems, those of the Sound Demixing Challenge 2023 among them, behind the challenge's interface."""

from my_submission.files import FileOptions, SeparatedFile, separate_file
from my_submission.separator import CinematicSeparationModel, MusicSeparationModel, SeparationModel

__all__ = [
    "CinematicSeparationModel",
    "FileOptions",
    "MusicSeparationModel",
    "SeparatedFile",
    "SeparationModel",
    "separate_file",
]
