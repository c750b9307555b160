"""MUSDB18's `.stem.mp4`: one file a song, with the mixture and its four stems as streams of AAC.

The order of the streams is that of MUSDB18's documentation. It is not written in a way that we know of in the files,
so any other file of this kind is taken to have the same order; one with another number of streams is a problem.

AAC is lossy, and each stream was encoded by itself: references are not the music that MUSDB18-HQ holds, and their sum
is not quite the mixture.
"""

from dataclasses import dataclass
from pathlib import Path

from evaluator.challenge import MUSIC, StemSet
from evaluator.running.parts import Part, Stream

SUFFIX = ".stem.mp4"
STREAMS = ("mixture", "drums", "bass", "other", "vocals")
NOTE = (
    "the stems of .stem.mp4 files are lossy (AAC), not those of MUSDB18-HQ: compare scores with each other only,"
    " not with published ones of HQ"
)


def is_one(path: Path) -> bool:
    """Whether this is called as such a file."""
    return path.name.lower().endswith(SUFFIX) and not path.is_dir()


def short(path: Path) -> str:
    """The song's name."""
    return path.name[: -len(SUFFIX)]


@dataclass(frozen=True)
class StemFile:
    """A track that is one such file (`layouts.Found`)."""

    name: str
    place: Path
    wanted: StemSet | None

    @property
    def short(self) -> str:
        return short(self.place)

    @property
    def challenge(self) -> StemSet:
        return self.wanted if self.wanted is not None and self.held >= set(self.wanted.stems) else MUSIC

    @property
    def usual(self) -> StemSet | None:
        return MUSIC

    @property
    def held(self) -> frozenset[str]:
        return frozenset(STREAMS[1:])

    @property
    def missing(self) -> int:
        return 0

    def parts(self, problems: list[str]) -> tuple[list[Part], dict[str, Part]]:
        from sdx.decoding import Undecodable, count_samples

        try:
            number = len(count_samples(self.place))
        except (Undecodable, OSError) as error:
            problems.append(f"{self.place}: cannot be read as audio ({error})")
            return [], {}
        if number != len(STREAMS):
            streams = f"{len(STREAMS)} ({', '.join(STREAMS)})"
            problems.append(f"{self.place}: found {number} streams of sound, expected {streams}")
            return [], {}
        streams_of = {name: Stream(self.place, index) for index, name in enumerate(STREAMS, 1)}
        return [streams_of["mixture"]], {stem: streams_of[stem] for stem in self.challenge.stems}
