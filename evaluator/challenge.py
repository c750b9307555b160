"""The two challenges, music and cinematic, as the organisers' wrapper sees them.

They call them tracks, as we do in JSON and in --track; everywhere else a track is one recording of a data set.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType


@dataclass(frozen=True)
class Challenge:
    """Stems and file names of one challenge; `{folder}` stands for the track's folder."""

    name: str
    stems: tuple[str, ...]
    mixture_files: tuple[str, ...]
    estimate_file: str
    default_preset: str
    challenge_id: str

    def mixture_paths(self, folder: Path) -> tuple[Path, ...]:
        """Where the wrapper reads the mixture of the track in `folder`: one stereo file, or left and right."""
        return tuple(folder / name.format(folder=folder.name) for name in self.mixture_files)

    def estimate_path(self, folder: Path, stem: str) -> Path:
        """Where the wrapper writes the estimate of `stem` for the track in `folder`."""
        return folder / self.estimate_file.format(folder=folder.name, stem=stem)


MUSIC = Challenge(
    name="music",
    stems=("bass", "drums", "other", "vocals"),
    mixture_files=("mixture.wav",),
    estimate_file="{stem}.wav",
    default_preset="mdx-demo",
    challenge_id="music-demixing-track-mdx-23",
)
CINEMATIC = Challenge(
    name="cinematic",
    stems=("dialog", "effect", "music"),
    mixture_files=("{folder}_mixture_Lt.wav", "{folder}_mixture_Rt.wav"),
    estimate_file="{folder}_{stem}.wav",
    default_preset="cdx-demo",
    challenge_id="cinematic-sound-demixing-track-cdx-23",
)
CHALLENGES: Mapping[str, Challenge] = MappingProxyType({c.name: c for c in (MUSIC, CINEMATIC)})
