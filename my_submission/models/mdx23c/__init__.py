"""MDX23C checkpoints as callables on chunks."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch

from my_submission.models.mdx23c.layout import STEREO_PARTS, Mdx23cParameters
from my_submission.models.mdx23c.network import Mdx23c
from my_submission.models.waveforms import WaveformModel
from my_submission.registry import Architecture, register
from my_submission.signal.chunking import Geometry
from my_submission.weights import Checkpoint
from my_submission.weights.load import PICKLES, build, open_network_state
from my_submission.weights.shapes import State, count, size, told

_BYTES_PER_VALUE, _BYTES_PER_VALUE_LOWER = 80, 45
"""Of memory while a chunk is computed, for each value of the first level's image; measured on the published size
before images were freed as early as now."""
_BYTES_PER_VALUE_IN_PLACE, _BYTES_PER_OUTPUT = 36, 14
"""In float32 on the CPU, for each such value and each of the final layer's outputs. Less was measured: 21 for each
value on the published size, 32 with two chunks at a time, and 27 on small ones, whose images are not convolved in
strips."""


def load(
    checkpoint: Checkpoint,
    path: Path,
    device: torch.device,
    dtype: torch.dtype,
    needed: Collection[str] | None = None,
) -> WaveformModel:
    """Open a checkpoint (`registry.Loader`)."""
    parameters, sources = checkpoint.parameters, len(checkpoint.sources)
    assert isinstance(parameters, Mdx23cParameters)
    said = {**parameters.model_dump(), "sources": sources}
    network = build(path, lambda: Mdx23c(parameters, sources), open_network_state(path), said, told_by)
    geometry = Geometry(parameters.chunk_samples, fade_samples=parameters.fade_samples)
    bytes_per_sample = (
        _bytes_per_bin(parameters, sources, device, dtype) * parameters.bins[0] // parameters.hop
    )
    return WaveformModel(
        network,
        checkpoint.sources,
        geometry,
        bytes_per_sample,
        device,
        dtype,
        needed,
        to_the_bit=True,
        sparing=True,
    )


def _bytes_per_bin(
    parameters: Mdx23cParameters, sources: int, device: torch.device, dtype: torch.dtype
) -> int:
    """Of memory, for each bin of each frame that the first level has."""
    if dtype != torch.float32:
        return _BYTES_PER_VALUE_LOWER * parameters.num_channels
    if device.type != "cpu":
        return _BYTES_PER_VALUE * parameters.num_channels
    outputs = sources * STEREO_PARTS * parameters.num_subbands
    return _BYTES_PER_VALUE_IN_PLACE * parameters.num_channels + _BYTES_PER_OUTPUT * outputs


def told_by(state: State) -> dict[str, Any]:
    """The parameters, and the number of sources, as far as the shapes of a file's tensors tell."""
    channels, parts = (size(state, "first_conv.weight", axis) for axis in (0, 1))
    outputs = size(state, "final_conv.2.weight", 0)
    second = size(state, "encoder_blocks.0.downscale.conv.2.weight", 0)
    hidden, bins = (size(state, "encoder_blocks.0.tfc_tdf.blocks.0.tdf.2.weight", axis) for axis in (0, 1))
    return told(
        sources=outputs // parts if outputs and parts else None,
        num_subbands=parts and parts // STEREO_PARTS,
        num_channels=channels,
        growth=second - channels if second and channels else None,
        num_scales=count(state, "encoder_blocks."),
        num_blocks_per_scale=count(state, "bottleneck_block.blocks."),
        dim_f=bins * (parts // STEREO_PARTS) if bins and parts else None,
        bottleneck_factor=bins // hidden if bins and hidden and bins % hidden == 0 else None,
    )


# No piece of work: with random weights bfloat16 agrees with float32 to 14 to 40 dB, as it does in the published code;
# what it does with trained ones nobody here could see. So "auto" means float32.
register(Architecture("mdx23c", (*PICKLES, ".safetensors"), load, Mdx23cParameters))
