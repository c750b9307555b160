"""Which of a file's streams of sound is meant."""

from collections.abc import Sequence
from dataclasses import dataclass

_BESIDE = (
    "comment",
    "lyrics",
    "karaoke",
    "hearing_impaired",
    "visual_impaired",
    "clean_effects",
    "descriptions",
)


@dataclass(frozen=True)
class StreamInfo:
    """A stream of sound. number: from 1, as people count them. dispositions: libav's names of its flags."""

    number: int
    channels: int
    sample_rate: int
    codec: str
    language: str = ""
    title: str = ""
    dispositions: frozenset[str] = frozenset()

    def __str__(self) -> str:
        form = {1: "mono", 2: "stereo"}.get(self.channels, f"{self.channels} channels")
        flags = sorted(self.dispositions)
        title = f"{self.title!r}" if self.title else ""
        words = [form, f"{self.sample_rate} Hz", self.codec, self.language, title, *flags]
        return f"{self.number} ({', '.join(filter(None, words))})"


def choose(streams: Sequence[StreamInfo], wanted: str | None) -> StreamInfo:
    """The stream that is meant; `streams` has at least one.

    wanted: its number, or its language if only one is in that; by default the one that the file flags as default,
        else (or if it flags several) the one with the most channels, and the first of these. Commentary and the like
        comes after everything else.
    Raises ValueError, with all that there is, for one that is not there.
    """
    if wanted is None:
        return min(streams, key=_rank)
    named = [stream for stream in streams if wanted in (str(stream.number), stream.language.lower() or None)]
    if len(named) != 1:
        found = "several" if named else "none"
        raise ValueError(
            f"expected a stream {wanted!r}, found {found} of that name; there is: {listed(streams)}"
        )
    return named[0]


def listed(streams: Sequence[StreamInfo]) -> str:
    """All of them, for a message."""
    return ", ".join(map(str, streams))


def _rank(stream: StreamInfo) -> tuple[bool, bool, int, int]:
    beside = any(name in stream.dispositions for name in _BESIDE)
    return beside, "default" not in stream.dispositions, -stream.channels, stream.number
