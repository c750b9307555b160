"""What a submission left on disk, or anybody gave: copied out of its reach by bytes, and checked before decoding."""

import os
import shutil
import stat
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from evaluator import printable
from evaluator.challenge import StemSet
from evaluator.isolation import decoder
from evaluator.running import audio_header
from evaluator.running.audio_header import Header, HeaderError
from evaluator.running.dataset import Track

COPY_BYTES = 1 << 20
MOST_ENTRIES = 1024  # looked at in the folder of a track
SHOWN_NAMES = 5
HAS_DESCRIPTORS = os.open in os.supports_dir_fd and os.scandir in os.supports_fd
FILE_OVERHEAD_BYTES = 1 << 16
WIDEST_SAMPLE_BYTES = 8

Folder = int | Path
"""An open folder, or the path of one."""


class InvalidOutputError(Exception):
    """The submission finished, but what it wrote cannot be scored; the message is the reason."""


def most_bytes(track: Track, challenge: StemSet) -> int:
    """How much the predictions of a track may take: every stem in the widest samples, and some to spare."""
    samples = track.frames * track.estimate_channels
    return len(challenge.stems) * (samples * WIDEST_SAMPLE_BYTES + FILE_OVERHEAD_BYTES) + (1 << 20)


def collect(predictions: Folder, track: Track, challenge: StemSet, destination: Path) -> None:
    """Copy the samples of the estimates of `track` out of the submission's `predictions` to `destination`/{stem}.wav.

    Only regular files of one name that lie in the track's own folder are taken; links, pipes and folders are refused,
    so that nothing outside is ever read. What is kept has a header of ours and the samples as they were; nothing in
    `predictions` is changed. Raises InvalidOutputError, naming every file at fault; OSError where we cannot write.
    """
    shutil.rmtree(destination, ignore_errors=True)
    expected = {challenge.estimate_path(Path(track.folder), stem).name: stem for stem in challenge.stems}
    problems: list[str] = []
    with opened_folder(predictions, track.folder) as folder:
        destination.mkdir(parents=True)
        for name, stem in expected.items():
            try:
                with opened_file(folder, name) as file:
                    keep(file, track, destination / f"{stem}.wav", [track.estimate_channels])
            except (InvalidOutputError, HeaderError) as error:
                problems.append(f"{stem}: {error}")
        extra = sorted(name for name in _names(folder) if name not in expected and name.endswith(".wav"))
        if extra:
            problems.append(f"extra stem: {', '.join(printable.listed(extra, SHOWN_NAMES))}")
    if problems:
        shutil.rmtree(destination, ignore_errors=True)
        raise InvalidOutputError("; ".join(problems))


@contextmanager
def opened_folder(predictions: Folder, name: str) -> Iterator[Folder]:
    """The folder of a track, which must be one and no link."""
    if not HAS_DESCRIPTORS:
        assert isinstance(predictions, Path)
        if (predictions / name).is_symlink() or not (predictions / name).is_dir():
            raise InvalidOutputError(f"no folder {name} was written")
        yield predictions / name
        return
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        if isinstance(predictions, Path):
            folder = os.open(predictions / name, flags)
        else:
            folder = os.open(name, flags, dir_fd=predictions)
    except FileNotFoundError:
        raise InvalidOutputError(f"no folder {name} was written") from None
    except OSError as error:
        raise InvalidOutputError(
            f"{name} is no folder that can be read, or a link ({error.strerror})"
        ) from None
    try:
        yield folder
    finally:
        os.close(folder)


@contextmanager
def opened_file(folder: Folder, name: str) -> Iterator[BinaryIO]:
    """A file of that folder, opened once without following links or waiting, and looked at through what is open."""
    with _theirs(name):
        status = _status(folder, name)
        if stat.S_ISLNK(status.st_mode):
            raise InvalidOutputError(f"{name} is a link")
        if not stat.S_ISREG(status.st_mode):
            raise InvalidOutputError(f"{name} is not a regular file")
        descriptor = _descriptor(folder, name)
    with os.fdopen(descriptor, "rb") as file:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise InvalidOutputError(f"{name} is not a regular file")
        if status.st_nlink > 1:
            raise InvalidOutputError(f"{name} has another name elsewhere (hard link)")
        yield file


@contextmanager
def _theirs(name: str = "it") -> Iterator[None]:
    """What cannot be opened or read inside is the submission's fault; what we cannot write is none of it."""
    try:
        yield
    except FileNotFoundError:
        raise InvalidOutputError(f"stem missing, no file {name}") from None
    except OSError as error:
        raise InvalidOutputError(f"{name} cannot be read ({os.strerror(error.errno or 0)})") from None


def _descriptor(folder: Folder, name: str) -> int:
    flags = (
        os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    )
    if isinstance(folder, Path):
        return os.open(folder / name, flags)
    return os.open(name, flags | os.O_CLOEXEC, dir_fd=folder)


def _status(folder: Folder, name: str) -> os.stat_result:
    if isinstance(folder, Path):
        return os.lstat(folder / name)
    return os.stat(name, dir_fd=folder, follow_symlinks=False)


def _names(folder: Folder) -> Iterator[str]:
    """Names of what is in a folder, up to a number beyond which nobody looks; in a form that can be printed."""
    with os.scandir(folder) as entries:
        for _, entry in zip(range(MOST_ENTRIES), entries, strict=False):
            yield entry.name.encode(errors="backslashreplace").decode()


def check_header(file: BinaryIO, track: Track, channels: Collection[int]) -> Header:
    """What an open file states; InvalidOutputError with all that differs from the track, HeaderError for other files.

    channels: how many it may have.
    """
    with _theirs():
        header = audio_header.read(file)
    wrong = [
        f"{what} {found}, expected {' or '.join(map(str, expected))}"
        for what, expected, found in (
            ("sample rate", [track.rate_hz], header.rate_hz),
            ("channels", sorted(channels), header.channels),
            ("length in samples", [track.frames], header.frames),
        )
        if found not in expected
    ]
    if wrong:
        raise InvalidOutputError("; ".join(wrong))
    return header


def keep(file: BinaryIO, track: Track, target: Path, channels: Collection[int]) -> None:
    """Check a file's header against the track, and copy its samples to `target`, with a header of ours."""
    header = check_header(file, track, channels)
    kept_as, blocks = _samples(file, header)
    with target.open("wb") as kept:
        kept.write(audio_header.wav(kept_as))
        written = 0
        try:
            for block in blocks:
                kept.write(block)
                written += len(block)
        except decoder.DecodingError as error:
            raise InvalidOutputError(f"unreadable ({error})") from None
        if written != kept_as.data_bytes:
            raise InvalidOutputError(f"cut short, {written} of {kept_as.data_bytes} bytes of samples")
        kept.write(b"\0" * (written % 2))


def _samples(file: BinaryIO, header: Header) -> tuple[Header, Iterator[bytes]]:
    """The samples of a file as those of a WAV file, and what that says of them."""
    if header.container == "FLAC":
        bits = 16 if int(header.subtype.removeprefix("PCM_")) <= 16 else 32
        kept_as = replace(
            header, container="WAV", subtype=f"PCM_{bits}", frame_bytes=header.channels * bits // 8
        )
        return kept_as, decoder.samples(file, bits, kept_as.data_bytes)
    return header, _copied(file, header)


def _copied(file: BinaryIO, header: Header) -> Iterator[bytes]:
    file.seek(header.data_offset)
    left = header.data_bytes
    while left:
        with _theirs():
            block = file.read(min(left, COPY_BYTES))
        if not block:
            return  # cut short since its header was read
        yield block
        left -= len(block)
