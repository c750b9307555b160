"""What a submission is asked to make: the stems of one of the two challenges, or any others.

The organisers call the challenges tracks, as we do in JSON and in --track; everywhere else a track is one recording
of a data set.
"""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

STEM_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
TAKEN = ("mean", "mixture")  # a column of every table, a file of every track
ALONE = " only"  # after the name of a single stem, since "music" is a challenge


@dataclass(frozen=True)
class StemSet:
    """Stems, and the files of a track as the wrapper sees them; `{folder}` stands for the track's folder.

    name: the challenge's, or the stems; `of_name` is its inverse.
    """

    name: str
    stems: tuple[str, ...]
    mixture_files: tuple[str, ...] = ("mixture.wav",)
    estimate_file: str = "{stem}.wav"

    @property
    def listed(self) -> str:
        """The stems in words."""
        return ", ".join(self.stems)

    @property
    def words(self) -> str:
        """What it is, in a sentence."""
        return f"the stems {self.listed}" if len(self.stems) > 1 else f"the stem {self.listed}"

    @property
    def option(self) -> str:
        """The option of the command line that asks for it."""
        return f"--stems {','.join(self.stems)}"

    def mixture_paths(self, folder: Path) -> tuple[Path, ...]:
        """Where the wrapper reads the mixture of the track in `folder`: one file, or left and right."""
        return tuple(folder / name.format(folder=folder.name) for name in self.mixture_files)

    def estimate_path(self, folder: Path, stem: str) -> Path:
        """Where the wrapper writes the estimate of `stem` for the track in `folder`."""
        return folder / self.estimate_file.format(folder=folder.name, stem=stem)


@dataclass(frozen=True, kw_only=True)
class Challenge(StemSet):
    """One of the organisers' two."""

    default_preset: str
    challenge_id: str

    @property
    def words(self) -> str:
        """What it is, in a sentence."""
        return f"the {self.name} challenge"

    @property
    def option(self) -> str:
        """The option of the command line that asks for it."""
        return f"--challenge {self.name}"


MUSIC = Challenge(
    name="music",
    stems=("bass", "drums", "other", "vocals"),
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


def of_stems(stems: Collection[str]) -> StemSet:
    """The challenge with these stems, else the stems themselves, in alphabetical order as the challenges' are.

    They may come from a submission and become names of files. ValueError for a name that cannot be a stem's.
    """
    names = tuple(sorted(set(stems)))
    wrong = [name for name in names if name in TAKEN or not STEM_NAME.fullmatch(name)]
    if wrong or not names:
        raise ValueError(
            f"found {', '.join(map(repr, wrong)) or 'no stem'}, expected names of letters, digits and underscores"
            f" other than {' and '.join(TAKEN)}"
        )
    for challenge in CHALLENGES.values():
        if set(challenge.stems) == set(names):
            return challenge
    return StemSet(",".join(names) if len(names) > 1 else f"{names[0]}{ALONE}", names)


def of_name(name: str) -> StemSet:
    """What has this name; ValueError for a name that nothing has."""
    if name in CHALLENGES:
        return CHALLENGES[name]
    found = of_stems(name.removesuffix(ALONE).split(","))
    if found.name != name:
        raise ValueError(f"found {name!r}, expected {' or '.join(CHALLENGES)}, or stems")
    return found
