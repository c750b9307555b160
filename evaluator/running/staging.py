"""Mixtures, and mixtures only, put where the organisers' wrapper reads them."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import soundfile

from evaluator.challenge import StemSet
from evaluator.running import parts
from evaluator.running.dataset import BLOCK_FRAMES, Track
from evaluator.running.parts import Part
from sdx.writing import written


def stage_mixture(track: Track, challenge: StemSet, root: Path) -> Path:
    """Write the mixture of `track` where the organisers' wrapper expects it below `root`; return its folder.

    The written file holds exactly the samples of the data set's: integers stay integers of the same width,
    floats stay floats; what is decoded or added up becomes 32-bit floats.

    A mono mixture goes to both channels if the challenge has one file per channel; a mixture in
    two files becomes one for stems that are no challenge's.
    """
    folder = root / track.folder
    folder.mkdir(parents=True)
    folder.chmod(0o755)  # whatever our umask is: the submission runs as another user
    targets = challenge.mixture_paths(folder)
    if len(track.mixtures) == len(targets):
        for source, target in zip(track.mixtures, targets, strict=True):
            _copy_as_wav(source, target, channel=None)
    elif len(targets) == 1:
        _join_as_wav(track.mixtures, targets[0])
    else:
        (source,) = track.mixtures
        channels = parts.channels(source)
        for index, target in enumerate(targets):
            _copy_as_wav(source, target, channel=min(index, channels - 1))
    for target in targets:
        target.chmod(0o644)
    return folder


def _copy_as_wav(source: Part, target: Path, channel: int | None) -> None:
    """Copy the samples of `source`, or of one channel of it, to the .wav file `target`, bit for bit."""
    if not isinstance(source, Path):
        parts.write(source, target, channel)
        return
    with soundfile.SoundFile(source) as reader:
        subtype, dtype = _sample_types(reader.subtype)
        channels = reader.channels if channel is None else 1
        with (
            written(target),
            soundfile.SoundFile(
                target, "w", reader.samplerate, channels, subtype=subtype, format="WAV"
            ) as writer,
        ):
            for block in reader.blocks(blocksize=BLOCK_FRAMES, dtype=dtype, always_2d=True):
                writer.write(block if channel is None else block[:, channel])


def _join_as_wav(sources: Sequence[Part], target: Path) -> None:
    """The samples of mono files as the channels of one .wav file; DOUBLE holds those of different formats."""
    with ExitStack() as opened:
        readers = [
            opened.enter_context(soundfile.SoundFile(source)) for source in map(parts.only_file, sources)
        ]
        types = {_sample_types(reader.subtype) for reader in readers}
        subtype, dtype = types.pop() if len(types) == 1 else ("DOUBLE", "float64")
        opened.enter_context(written(target))
        writer = opened.enter_context(
            soundfile.SoundFile(
                target, "w", readers[0].samplerate, len(readers), subtype=subtype, format="WAV"
            )
        )
        for blocks in zip(*(reader.blocks(BLOCK_FRAMES, dtype=dtype) for reader in readers), strict=True):
            writer.write(np.stack(blocks, axis=1))


def _sample_types(subtype: str) -> tuple[str, str]:
    """The format of a .wav file that holds the same samples, and the type to read them in, which changes none."""
    if subtype in ("FLOAT", "DOUBLE"):
        return subtype, {"FLOAT": "float32", "DOUBLE": "float64"}[subtype]
    # wav has no signed 8-bit samples; 16 bits hold the same values
    return ("PCM_16" if subtype in ("PCM_S8", "PCM_U8") else subtype), "int32"
