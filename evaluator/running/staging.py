"""Mixtures, and mixtures only, put where the organisers' wrapper reads them."""

from pathlib import Path

import soundfile

from evaluator.challenge import Challenge
from evaluator.running.dataset import BLOCK_FRAMES, Track


def stage_mixture(track: Track, challenge: Challenge, root: Path) -> Path:
    """Write the mixture of `track` where the organisers' wrapper expects it below `root`; return its folder.

    The written file holds exactly the samples of the data set's: integers stay integers of the same width,
    floats stay floats. A mono mixture goes to both channels if the challenge has one file per channel.
    """
    folder = root / track.folder
    folder.mkdir(parents=True)
    targets = challenge.mixture_paths(folder)
    if len(track.mixtures) == len(targets):
        for source, target in zip(track.mixtures, targets, strict=True):
            _copy_as_wav(source, target, channel=None)
    else:
        (source,) = track.mixtures
        channels = soundfile.info(source).channels
        for index, target in enumerate(targets):
            _copy_as_wav(source, target, channel=min(index, channels - 1))
    return folder


def _copy_as_wav(source: Path, target: Path, channel: int | None) -> None:
    """Copy the samples of `source`, or of one channel of it, to the .wav file `target`, bit for bit."""
    with soundfile.SoundFile(source) as reader:
        subtype, dtype = {"FLOAT": ("FLOAT", "float32"), "DOUBLE": ("DOUBLE", "float64")}.get(
            reader.subtype, (reader.subtype, "int32")
        )
        if subtype in ("PCM_S8", "PCM_U8"):  # wav has no signed 8-bit samples; 16 bits hold the same values
            subtype = "PCM_16"
        channels = reader.channels if channel is None else 1
        with soundfile.SoundFile(
            target, "w", reader.samplerate, channels, subtype=subtype, format="WAV"
        ) as writer:
            for block in reader.blocks(blocksize=BLOCK_FRAMES, dtype=dtype, always_2d=True):
                writer.write(block if channel is None else block[:, channel])
