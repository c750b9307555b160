"""A recording as float32 blocks of tensors, with what this kit asks of it; `sdx.decoding` decodes."""

import contextlib
import logging
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from my_submission.files.channels import Groups, ManyChannels, groups_by_place, groups_in_order
from my_submission.files.errors import UnreadableAudio
from my_submission.signal.arrays import SpooledSignal
from my_submission.signal.audio import check_sample_rate
from sdx.decoding import Reading, Sound, Undecodable
from sdx.decoding import probe as probe_sound

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class AudioInfo:
    """What a file says about its audio before all of it is decoded.

    channels: how many `decode` gives. groups: which of them are separated together.
    downmixed: whether the file has more, which are folded down.
    """

    sound: Sound
    channels: int
    groups: Groups
    downmixed: bool = False

    @property
    def sample_rate(self) -> int:
        return self.sound.sample_rate

    @property
    def seconds(self) -> float | None:
        """The length that the file states, which may be an estimate, or None."""
        return self.sound.seconds


@contextlib.contextmanager
def _unreadable() -> Iterator[None]:
    try:
        yield
    except Undecodable as error:
        raise UnreadableAudio(str(error)) from error


def probe(path: Path, many_channels: ManyChannels = "error", stream: str | None = None) -> AudioInfo:
    """What a file holds.

    many_channels: what to do with more than two. stream: which stream of sound, by number or language.
    Raises UnreadableAudio for a file that cannot be decoded, or that has no audio, no such stream, a rate outside 8
    to 192 kHz, or too many channels; OSError for one that cannot be opened.
    """
    with _unreadable():
        sound = probe_sound(path, stream)
    try:
        check_sample_rate(sound.sample_rate)
    except ValueError as error:
        raise UnreadableAudio(f"{path}: {error}") from error
    if sound.channels <= 2:
        return AudioInfo(sound, sound.channels, groups_in_order(sound.channels))
    if many_channels == "error":
        raise UnreadableAudio(
            f"{path}: expected 1 or 2 channels, found {sound.channels}; --pairs separates left and right in pairs, "
            f"and --downmix folds everything down to two (in the library: many_channels='pairs' or 'downmix')"
        )
    if many_channels == "downmix":
        return AudioInfo(sound, 2, groups_in_order(2), downmixed=True)
    groups = groups_by_place(sound.places) if sound.places else groups_in_order(sound.channels)
    return AudioInfo(sound, sound.channels, groups)


def decode(info: AudioInfo, reading: Reading | None = None, start: int = 0) -> Generator[Tensor]:
    """A file's samples from `start` on as (channels, samples) float32 blocks; integer PCM is scaled to ±1.

    reading: afterwards holds what there is to say of the file.
    Raises UnreadableAudio if decoding fails or a sample is NaN or infinite.
    """
    with _unreadable():
        for block in (reading or Reading(info.sound, fold=info.downmixed)).blocks(start):
            if not np.isfinite(block).all():
                sample, channel = np.argwhere(~np.isfinite(block))[0]
                raise UnreadableAudio(
                    f"{info.sound.path}: expected finite samples, found {block[sample, channel]} at sample "
                    f"{start + sample} ({(start + sample) / info.sample_rate:.2f} s) of channel {channel}; "
                    f"repair the file first"
                )
            start += len(block)
            yield torch.from_numpy(np.ascontiguousarray(block.T))


def read_into(
    info: AudioInfo, signal: SpooledSignal, start: int = 0, samples: int | None = None
) -> tuple[Tensor, tuple[str, ...]]:
    """Decode a file into an empty signal; which channels are not silent, (channels,) bool, and facts worth telling.

    start, samples: which part of what it decodes to; nothing is decoded after it. Where the file ends before, the
    signal is shorter, or empty. What is missing or damaged is logged as a warning. Raises UnreadableAudio if the file
    has no samples at all.
    """
    path = info.sound.path
    reading = Reading(info.sound, fold=info.downmixed)
    sounding = torch.zeros(info.channels, dtype=torch.bool)
    left = samples
    with contextlib.closing(decode(info, reading, start)) as blocks:
        for block in blocks:
            wanted = block if left is None else block[:, :left]
            signal.append(wanted)
            sounding |= wanted.any(dim=1)
            if left is not None:
                left -= wanted.shape[-1]
                if not left:
                    break
    if not signal.samples and not start:
        raise UnreadableAudio(f"{path}: it holds no audio samples")
    for warning in reading.warnings:
        log.warning("%s: %s; what is there is separated", path, warning)
    return sounding, tuple(reading.facts)
