"""Copies of stems that every browser plays: mp3, at a rate and with channels that mp3 has."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from my_submission.files.errors import OutputFailed, UnreadableAudio
from my_submission.files.formats import Encoding
from my_submission.files.sinks import SinkFailed, open_sink
from my_submission.signal.resampling import StreamResampler, resampled_length
from sdx.decoding import Reading, Undecodable, probe

_ENCODING = Encoding("mp3", bitrate=192)
_RATES = (44_100, 48_000)
_MOST_SECONDS = 40 * 60.0  # ten minutes in four stems


def fits_a_browser(seconds: float, stems: int) -> bool:
    """Whether a browser can hold all stems of a recording in memory, decoded, at 350 kB a second each."""
    return seconds * stems <= _MOST_SECONDS


def write_listening_copy(stem: Path, target: Path, seconds: float) -> None:
    """Write `target` as an mp3 of a stem of so many seconds, cut at full scale, with two channels at most.

    Raises UnreadableAudio or OutputFailed.
    """
    try:
        sound = probe(stem)
        rate = sound.sample_rate if sound.sample_rate in _RATES else _RATES[0]
        channels, samples = min(sound.channels, 2), round(seconds * sound.sample_rate)
        target.touch()
        sink = open_sink(
            target, _ENCODING, rate, channels, resampled_length(samples, sound.sample_rate, rate)
        )
        resampler = None
        if rate != sound.sample_rate:
            resampler = StreamResampler(channels, sound.sample_rate, rate, samples)
        try:
            for block in Reading(sound, fold=sound.channels > 2).blocks():
                signal: Tensor = torch.from_numpy(np.ascontiguousarray(block.T))
                if resampler is not None:
                    signal = resampler.push(signal)
                sink.write(signal.clamp(-1, 1))
        finally:
            sink.close()
    except Undecodable as error:
        raise UnreadableAudio(str(error)) from error
    except (SinkFailed, OSError) as error:
        raise OutputFailed(
            f"{target}: cannot be written: {getattr(error, 'strerror', None) or error}"
        ) from error
