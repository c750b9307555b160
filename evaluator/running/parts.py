"""One part of a track, its mixture or a reference: a sound file, a stream of a file with several, or several files.

Whoever needs the samples reads them here, in blocks, wherever they lie; only what must be exact to the bit, the
copies that a submission gets, opens plain files itself.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import soundfile
from numpy.typing import NDArray

from evaluator.digests import sha256_of_file
from evaluator.running import reference_files
from evaluator.running.reference_files import DamagedFileError
from sdx.writing import written

if TYPE_CHECKING:
    from sdx.decoding import Counted

BLOCK_FRAMES = 1 << 15
FULL_SCALE_16 = np.float32(1 / (1 << 15))  # a power of two, so that nothing is rounded
SETTLED_SECONDS = 2.0  # after which a file that is written to shows it by its time

Block: TypeAlias = NDArray[np.float32]
"""(samples, channels)."""


@dataclass(frozen=True)
class Stream:
    """One stream of sound of a file with several. number: from 1."""

    file: Path
    number: int

    def __str__(self) -> str:
        return f"{self.file}, stream {self.number}"


@dataclass(frozen=True)
class Takes:
    """Files that are added up: takes of one stem. One that ends before the track does is silent from there on.

    of: the track's folder, for messages. whole: the track's length, rate and channels.
    """

    files: tuple[Path, ...]
    of: Path
    whole: "Shape"

    def __str__(self) -> str:
        return f"{self.of} ({len(self.files)} files)"


Part: TypeAlias = Path | Stream | Takes
Piece: TypeAlias = Path | Stream
"""What is decoded, and so checked, as one."""


@dataclass(frozen=True)
class Shape:
    """What a part's headers say of it."""

    frames: int
    samplerate: int  # Hz
    channels: int


def pieces(part: Part) -> tuple[Piece, ...]:
    """What a part consists of."""
    return part.files if isinstance(part, Takes) else (part,)


def files(part: Part) -> tuple[Path, ...]:
    """The files that a part is read from."""
    return tuple(piece.file if isinstance(piece, Stream) else piece for piece in pieces(part))


def shape(part: Part) -> Shape:
    """Length, rate and channels, by headers; DamagedFileError if they are not those of whole files of one kind."""
    if isinstance(part, Stream):
        counted = _counted(part)
        return Shape(counted.samples, counted.sample_rate, counted.channels)
    if isinstance(part, Takes):
        return part.whole
    info = reference_files.read_header(part)
    return Shape(info.frames, info.samplerate, info.channels)


def _counted(stream: Stream) -> "Counted":
    from sdx.decoding import Undecodable  # ffmpeg's libraries, for those who have such files alone

    try:
        status = stream.file.stat()
        every = _streams(stream.file, status.st_size, status.st_mtime_ns)
    except (Undecodable, OSError) as error:
        raise DamagedFileError(f"cannot be read as audio ({error})") from None
    if len(every) < stream.number:
        raise DamagedFileError(f"holds {len(every)} streams of sound, expected {stream.number} or more")
    return every[stream.number - 1]


@lru_cache(512)
def _streams(file: Path, size: int, changed: int) -> "tuple[Counted, ...]":
    """The streams of a file, which are asked for one by one."""
    from sdx.decoding import count_samples

    return count_samples(file)


def whole_of_takes(takes: Sequence[Path], problems: list[str]) -> Shape | None:
    """What all takes of a track make together: the longest one's length, two channels if one has two; else None."""
    before = len(problems)
    shapes: dict[Path, Shape] = {}
    for file in takes:
        try:
            shapes[file] = shape(file)
        except DamagedFileError as error:
            problems.append(f"{file}: {error}")
    for file, found in shapes.items():
        first, expected = next(iter(shapes.items()))
        if found.samplerate != expected.samplerate:
            problems.append(f"{file}: {found.samplerate} Hz, but {first.name} has {expected.samplerate} Hz")
        if found.channels > 2:
            problems.append(f"{file}: {found.channels} channels, expected 1 or 2")
    if len(problems) > before:
        return None
    rate = next(iter(shapes.values())).samplerate
    return Shape(
        max(each.frames for each in shapes.values()), rate, max(each.channels for each in shapes.values())
    )


def check_content(piece: Piece) -> None:
    """DamagedFileError for a piece that does not hold what its headers say: what no header shows."""
    if isinstance(piece, Path):
        reference_files.check_content(piece, soundfile.info(piece).frames)
        return
    from sdx.decoding import Reading, Undecodable, probe

    expected, read = _counted(piece).samples, 0
    reading = None
    try:
        reading = Reading(probe(piece.file, str(piece.number)))
        for block in reading.blocks():
            read += len(block)
            if not np.isfinite(block).all():
                raise DamagedFileError("holds NaN or infinite samples")
    except (Undecodable, OSError) as error:
        raise DamagedFileError(f"cannot be decoded beyond sample {read} ({error})") from None
    if reading.warnings:
        raise DamagedFileError("; ".join(reading.warnings))
    if read != expected:
        raise DamagedFileError(f"decodes to {read} samples, expected {expected} by its packets")


def content_sha256(part: Part) -> str:
    """What a part adds to the hash of its data: the hashes of its files, and which stream of them."""
    if isinstance(part, Path):
        return _sha256(part)
    hashes = "+".join(map(_sha256, files(part)))
    return f"{hashes}#{part.number}" if isinstance(part, Stream) else hashes


def _sha256(file: Path) -> str:
    """The hash of a file, which several parts may be read from, and several questions asked about."""
    status = file.stat()
    if time.time() - status.st_mtime < SETTLED_SECONDS:
        return sha256_of_file(file)  # what is written to it now may leave its time as it is
    return _remembered_sha256(file, status.st_size, status.st_mtime_ns)


@lru_cache(1 << 16)
def _remembered_sha256(file: Path, size_bytes: int, changed_ns: int) -> str:
    return sha256_of_file(file)


def blocks(part: Part, frames: int = BLOCK_FRAMES) -> Iterator[Block]:
    """Yield (samples, channels) blocks of `frames`, the last one shorter; a buffer may be used again for the next."""
    if isinstance(part, Takes):
        return _added(part, frames)
    if isinstance(part, Stream):
        return _of_length(_decoded(part), frames)
    return _of_file(part, frames)


def _of_file(path: Path, frames: int) -> Iterator[Block]:
    with soundfile.SoundFile(path) as file:
        buffer = np.empty((frames, file.channels), np.float32)
        if file.subtype == "PCM_16":
            yield from _of_integers(file, buffer)
            return
        while len(block := file.read(out=buffer)):
            yield block


def _of_integers(file: soundfile.SoundFile, buffer: Block) -> Iterator[Block]:
    """The samples of a file of 16 bits, the same ones in a third of the time that libsndfile takes to scale them."""
    integers = np.empty(buffer.shape, np.int16)
    while found := len(file.read(out=integers)):
        yield np.multiply(integers[:found], FULL_SCALE_16, out=buffer[:found])


def _decoded(stream: Stream) -> Iterator[Block]:
    from sdx.decoding import Reading, probe

    return Reading(probe(stream.file, str(stream.number))).blocks()


def _of_length(found: Iterator[Block], frames: int) -> Iterator[Block]:
    """The same samples in blocks of another length."""
    held: list[Block] = []
    count = 0
    for block in found:
        held.append(block)
        count += len(block)
        if count >= frames:
            joined = np.concatenate(held)
            whole = count // frames * frames
            yield from np.split(joined[:whole], count // frames)
            held, count = [joined[whole:]], count - whole
    if count:
        yield np.concatenate(held)


def _added(takes: Takes, frames: int) -> Iterator[Block]:
    readers = [_of_file(file, frames) for file in takes.files]
    for start in range(0, takes.whole.frames, frames):
        total = np.zeros((min(frames, takes.whole.frames - start), takes.whole.channels), np.float32)
        for reader in readers:
            block = next(reader, None)
            if block is not None:
                total[: len(block)] += block  # one channel goes to both
        yield total


def channels(part: Part) -> int:
    """How many channels a part that was checked has."""
    return int(soundfile.info(part).channels) if isinstance(part, Path) else shape(part).channels


def read(part: Part) -> Block:
    """All samples of a part, (samples, channels)."""
    return np.concatenate([block.copy() for block in blocks(part)])


def write(part: Part, target: Path, channel: int | None = None) -> None:
    """Write the samples of a part as a .wav file of 32-bit floats, which hold all that it decodes to.

    channel: the only one to write.
    """
    found = shape(part)
    number = found.channels if channel is None else 1
    with (
        written(target),
        soundfile.SoundFile(target, "w", found.samplerate, number, subtype="FLOAT", format="WAV") as file,
    ):
        for block in blocks(part):
            file.write(block if channel is None else block[:, channel])


def only_file(part: Part) -> Path:
    """The plain file that a part is; ValueError if it is anything else."""
    if not isinstance(part, Path):
        raise ValueError(f"{part}: no plain file")
    return part


def plain(parts: Sequence[Part], folder: Path) -> list[Path]:
    """Files with the samples of these parts, for a process that reads plain files only; written where needed."""
    found = []
    for number, part in enumerate(parts):
        if isinstance(part, Path):
            found.append(part.resolve())
            continue
        target = folder.resolve() / f"part{number}.wav"
        with suppress(FileExistsError):
            target.parent.mkdir(parents=True)
        write(part, target)
        found.append(target)
    return found
