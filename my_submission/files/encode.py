"""Stems as files: written under a temporary name, checked, then renamed, so that no partial file is ever visible."""

import contextlib
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
import soundfile
from torch import Tensor

from my_submission.files.errors import OutputExists, OutputFailed

BITS = {"wav": ("32f", "24", "16"), "flac": ("24", "16"), "mp3": (), "ogg": ()}
"""The sample formats of each file format, the default first; the lossy ones have none."""

_SUBTYPES = {"16": "PCM_16", "24": "PCM_24", "32f": "FLOAT"}
_LOSSY: dict[str, dict[str, Any]] = {
    "mp3": {"subtype": "MPEG_LAYER_III", "bitrate_mode": "VARIABLE", "compression_level": 0.0},
    "ogg": {"subtype": "VORBIS", "compression_level": 0.2},
}
_MP3_RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)
_MOST_CHANNELS = {"mp3": 2, "flac": 8}
_LARGEST_WAV = 2**32 - 2**20  # its sizes are 32-bit; beyond, the same extension holds RF64
_PIECE_SAMPLES = 2**16


@dataclass(frozen=True)
class Encoding:
    """A file format and its sample format; checked on construction (ValueError).

    bits: "16", "24", "32f" (floating point), or None for the format's default.
    """

    format: str = "wav"
    bits: str | None = None

    def __post_init__(self) -> None:
        if self.format not in BITS:
            raise ValueError(f"format: expected one of {', '.join(BITS)}, found {self.format!r}")
        if self.bits is not None and self.bits not in BITS[self.format]:
            allowed = ", ".join(BITS[self.format]) or "none, it is lossy"
            raise ValueError(f"bits: found {self.bits!r}; {self.format} has: {allowed}")

    @property
    def sample_format(self) -> str | None:
        """The bits in use; None for a lossy format."""
        return self.bits or next(iter(BITS[self.format]), None)

    @property
    def holds_any_level(self) -> bool:
        """Whether samples beyond ±1 survive."""
        return self.sample_format == "32f"

    def check_form(self, sample_rate: int, channels: int) -> None:
        """Raise OutputFailed for a rate or a number of channels that the format does not support."""
        most = _MOST_CHANNELS.get(self.format)
        if most is not None and channels > most:
            raise OutputFailed(
                f"{self.format} allows at most {most} channels, and stems keep the recording's {channels}; "
                f"choose the format wav or ogg"
            )
        if self.format == "mp3" and sample_rate not in _MP3_RATES:
            raise OutputFailed(
                f"mp3 does not support {sample_rate} Hz, and stems keep the recording's rate; "
                f"choose the format wav, flac or ogg"
            )

    def about_bytes(self, samples: int, channels: int) -> int:
        """The size of a file: exact for wav, an upper bound for the others."""
        return samples * channels * {"16": 2, "24": 3, "32f": 4, None: 1}[self.sample_format] + 2**16


class AudioWriter:
    """An output file while it is written; a context manager that leaves nothing unless `publish` was called.

    temporary: its name until then, in the folder of `target`, which must exist.
    Raises OutputFailed if it cannot be written.
    """

    def __init__(
        self,
        target: Path,
        temporary: Path,
        encoding: Encoding,
        sample_rate: int,
        channels: int,
        samples: int,
        tags: Mapping[str, str],
    ) -> None:
        self.target = target
        self._temporary = temporary
        self._encoding = encoding
        self._samples = samples
        container = encoding.format.upper()
        if container == "WAV" and encoding.about_bytes(samples, channels) > _LARGEST_WAV:
            container = "RF64"
        settings = _LOSSY.get(encoding.format) or {"subtype": _SUBTYPES[str(encoding.sample_format)]}
        try:
            temporary.touch(exist_ok=False)
            self._file = soundfile.SoundFile(
                temporary, "w", sample_rate, channels, format=container, **settings
            )
        except (OSError, soundfile.LibsndfileError) as error:
            self.discard()
            raise OutputFailed(f"{target}: cannot be written: {error}") from error
        for name, value in tags.items():
            setattr(self._file, name, value)

    def __enter__(self) -> "AudioWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.discard()

    def write(self, signal: Tensor) -> None:
        """Append (channels, samples) float32; within ±1 unless the encoding holds any level."""
        for start in range(0, signal.shape[-1], _PIECE_SAMPLES):
            piece = signal[:, start : start + _PIECE_SAMPLES].T.numpy()
            try:
                self._file.write(_encode(piece, self._encoding.sample_format))
            except (
                soundfile.LibsndfileError,
                AssertionError,
            ) as error:  # soundfile asserts that all was written
                raise self._failure() from error

    def finish(self) -> None:
        """Close the file and check that it can be opened and has the right length; OutputFailed otherwise."""
        try:
            self._file.close()
            found = soundfile.info(self._temporary).frames
        except soundfile.LibsndfileError as error:
            raise self._failure() from error
        if found != self._samples:
            raise self._failure()

    def publish(self, *, overwrite: bool) -> None:
        """Give the finished file its name. OutputExists if the name is taken and may not be overwritten."""
        if not overwrite and self.target.exists():
            raise OutputExists(exists_message(self.target))
        try:
            os.replace(self._temporary, self.target)
        except OSError as error:
            raise OutputFailed(f"{self.target}: cannot be written: {error.strerror}") from error

    def discard(self) -> None:
        """Remove what is not published."""
        if hasattr(self, "_file"):
            # On a full disk closing fails, too; what could not be flushed is thrown away anyway.
            with contextlib.suppress(soundfile.LibsndfileError):
                self._file.close()
        self._temporary.unlink(missing_ok=True)

    def _failure(self) -> OutputFailed:
        free = shutil.disk_usage(self.target.parent).free
        return OutputFailed(
            f"{self.target}: could not be written in full; {free / 1e6:.1f} MB are free on its disk"
        )


def exists_message(path: Path) -> str:
    """What to say if a file is in the way."""
    return f"{path} already exists; --overwrite replaces it, --resume skips what is done"


def temporary_path(target: Path, token: str) -> Path:
    """The name of a target while it is written: hidden, in the same folder, with the writing process's `token`."""
    return target.with_name(f".{target.name}.{token}.part")


@contextlib.contextmanager
def made_folder(folder: Path) -> Iterator[None]:
    """A folder that exists inside the block; afterwards it, and folders created above it, are removed if empty.

    Raises OutputFailed if it cannot be created.
    """
    missing = missing_folders(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputFailed(f"{folder}: the folder cannot be created: {error.strerror}") from error
    try:
        yield
    finally:
        remove_empty(missing)


def missing_folders(folder: Path) -> list[Path]:
    """Those of the folder and its parents that do not exist, the innermost first."""
    return [path for path in (folder, *folder.parents) if not path.exists()]


def remove_empty(folders: Iterable[Path]) -> None:
    """Remove folders, the innermost first, up to the first that is not empty."""
    for folder in folders:
        try:
            folder.rmdir()
        except OSError:
            return


def _encode(piece: npt.NDArray[np.float32], sample_format: str | None) -> npt.NDArray[Any]:
    """Samples that soundfile writes unchanged; integers are rounded to nearest, and +1 to the highest code."""
    if sample_format == "16":
        return np.minimum(np.rint(piece * np.float64(2**15)), 2**15 - 1).astype(np.int16)
    if sample_format == "24":
        return np.minimum(np.rint(piece * np.float64(2**23)), 2**23 - 1).astype(np.int32) << 8
    return piece
