"""The formats that stems are written in: sample formats, bit rates, and what each of them can hold."""

from dataclasses import dataclass

from my_submission.files.errors import OutputFailed


@dataclass(frozen=True)
class _Format:
    """bits: sample formats, the default first; none for a lossy format.

    kbps: its bit rates, from and to, and by_channel: its default where that follows from the channels; `quality` says
    what the default is where no bit rate is.
    """

    bits: tuple[str, ...] = ()
    most_channels: int | None = None
    kbps: tuple[int, int] | None = None
    by_channel: int | None = None
    quality: str = ""


FORMATS = {
    "wav": _Format(("32f", "24", "16")),
    "flac": _Format(("24", "16"), 8),
    "mp3": _Format((), 2, (32, 320), quality="VBR of the best quality, V0: about 245"),
    "ogg": _Format((), None, (32, 500), quality="quality 8: about 256"),
    "opus": _Format((), 2, (6, 510), 96),
    "m4a": _Format((), 2, (16, 512), 128),
}

_MP3_KBPS = {
    **dict.fromkeys((32_000, 44_100, 48_000), (64, 80, 96, 112, 128, 160, 192, 224, 256, 320)),
    **dict.fromkeys((16_000, 22_050, 24_000), (64, 80, 96, 112, 128, 144, 160)),
    **dict.fromkeys((8_000, 11_025, 12_000), (32, 40, 48, 56, 64)),
}
"""Sample rate -> the bit rates whose frames have room for the header that says how long the file is."""
_AAC_RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 64_000, 88_200, 96_000)
_OGG_RATES = (8_000, 50_000)  # between which Vorbis has bit rates
_AAC_FRAME_BITS, _AAC_FRAME_SAMPLES = 6144, 1024  # at most, per channel
_OPUS_CHANNEL_KBPS = 256


@dataclass(frozen=True)
class Encoding:
    """A file format with its sample format or bit rate; checked on construction (ValueError).

    bits: "16", "24", "32f" (floating point), or None for the format's default.
    bitrate: of a lossy format, in kbit/s for all channels together; None for the format's default.
    """

    format: str = "wav"
    bits: str | None = None
    bitrate: int | None = None

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise ValueError(f"format: expected one of {', '.join(FORMATS)}, found {self.format!r}")
        form = FORMATS[self.format]
        if self.bits is not None and self.bits not in form.bits:
            allowed = ", ".join(form.bits) or "none, it is lossy"
            raise ValueError(f"bits: found {self.bits!r}; {self.format} has: {allowed}")
        if self.bitrate is None:
            return
        if form.kbps is None:
            lossy = ", ".join(name for name, each in FORMATS.items() if each.kbps)
            raise ValueError(
                f"bitrate: {self.format} has none, it is lossless; formats that have one: {lossy}"
            )
        lowest, highest = form.kbps
        if not lowest <= self.bitrate <= highest:
            raise ValueError(
                f"bitrate: expected {lowest} to {highest} kbit/s for {self.format}, found {self.bitrate}"
            )

    @property
    def sample_format(self) -> str | None:
        """The bits in use; None for a lossy format."""
        return self.bits or next(iter(FORMATS[self.format].bits), None)

    @property
    def holds_any_level(self) -> bool:
        """Whether samples beyond ±1 survive."""
        return self.sample_format == "32f"

    def kbps(self, channels: int) -> int | None:
        """The bit rate in use; None where it follows from a quality, or the format is lossless."""
        by_channel = FORMATS[self.format].by_channel
        return self.bitrate or (by_channel and by_channel * channels)

    def check_form(self, sample_rate: int, channels: int) -> None:
        """Raise OutputFailed for a rate, bit rate or number of channels that the format does not support."""
        most = FORMATS[self.format].most_channels
        if most is not None and channels > most:
            raise OutputFailed(
                f"{self.format} allows at most {most} channels, and stems keep the recording's {channels}; "
                f"choose the format wav or ogg"
            )
        rates = {"mp3": tuple(_MP3_KBPS), "m4a": _AAC_RATES}.get(self.format)
        if rates is not None and sample_rate not in rates:
            raise OutputFailed(
                f"{self.format} does not support {sample_rate} Hz, and stems keep the recording's rate; "
                f"choose the format wav, flac or ogg"
            )
        if self.bitrate is not None:
            self._check_bitrate(self.bitrate, sample_rate, channels)

    def _check_bitrate(self, kbps: int, sample_rate: int, channels: int) -> None:
        expected = None
        if self.format == "mp3" and kbps not in _MP3_KBPS[sample_rate]:
            expected = f"one of {', '.join(map(str, _MP3_KBPS[sample_rate]))}"
        elif self.format == "m4a":
            highest = channels * _AAC_FRAME_BITS * sample_rate // (1000 * _AAC_FRAME_SAMPLES)
            expected = f"at most {highest}" if kbps > highest else None
        elif self.format == "opus" and kbps > _OPUS_CHANNEL_KBPS * channels:
            expected = f"at most {_OPUS_CHANNEL_KBPS * channels}"
        elif self.format == "ogg" and not _OGG_RATES[0] <= sample_rate <= _OGG_RATES[1]:
            expected = "none (Vorbis has no bit rates there; leave --bitrate out)"
        if expected is not None:
            sound = {1: "mono", 2: "stereo"}.get(channels, f"{channels} channels")
            raise OutputFailed(
                f"bitrate: expected {expected} for {self.format} at {sample_rate} Hz in {sound}, found {kbps} kbit/s"
            )

    def about_bytes(self, samples: int, channels: int) -> int:
        """The size of a file: exact for wav, an upper bound for the others."""
        return samples * channels * {"16": 2, "24": 3, "32f": 4, None: 1}[self.sample_format] + 2**16
