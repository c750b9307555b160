"""How a recording's stems are written, and what became of one."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from my_submission.files.channels import Groups, ManyChannels, check_many_channels
from my_submission.files.excerpt import ALL, Excerpt
from my_submission.files.formats import Encoding
from my_submission.files.inputs import TEMPLATE, Recording, check_template, targets
from my_submission.files.levels import Clipping, check_clipping


@dataclass(frozen=True)
class FileOptions:
    """How to write stems; checked on construction (ValueError), except for `stems`, which depend on the preset.

    stems: what to write (`parse_stems`); empty: the preset's own stems. format, bits, bitrate: see `Encoding`.
    template: the path of a stem's file inside the output folder. clipping: see `Clipping`.
    many_channels: what to do with more than two channels, see `ManyChannels`. excerpt: which part.
    stream: which of several streams of sound, by number (from 1) or language, see `sdx.decoding.streams.choose`.
    overwrite: replace existing files.
    resume: skip a recording whose files exist, were made with the same settings, and are unchanged.
    """

    stems: tuple[str, ...] = ()
    format: str = "wav"
    bits: str | None = None
    template: str = TEMPLATE
    clipping: Clipping = "error"
    many_channels: ManyChannels = "error"
    stream: str | None = None
    overwrite: bool = False
    resume: bool = False
    bitrate: int | None = None
    excerpt: Excerpt = ALL

    def __post_init__(self) -> None:
        Encoding(self.format, self.bits, self.bitrate)
        check_template(self.template)
        check_clipping(self.clipping)
        check_many_channels(self.many_channels)

    def targets(self, recording: Recording, stems: Iterable[str], output_dir: Path) -> dict[str, Path]:
        """The file of each stem of a recording."""
        return targets(recording, stems, output_dir, self.template, self.format, self.excerpt.name)

    @property
    def encoding(self) -> Encoding:
        return Encoding(self.format, self.bits, self.bitrate)


@dataclass(frozen=True)
class SeparatedFile:
    """A recording whose stems are written.

    files: stem -> its file. samples: of every file. groups: which channels were separated together.
    compute_seconds: the time it took, 0 if it was skipped.
    gain: on all stems, 1 except with clipping "scale". clipped: stem -> number of samples cut at ±1.
    skipped: `resume` found it done. start_samples: where in the recording they begin.
    notes: what there is to say of the recording's streams and clock.
    """

    source: Path
    files: Mapping[str, Path]
    sample_rate: int
    channels: int
    groups: Groups
    samples: int
    gain: float
    clipped: Mapping[str, int]
    compute_seconds: float
    skipped: bool
    start_samples: int = 0
    notes: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """Seconds of audio."""
        return self.samples / self.sample_rate
