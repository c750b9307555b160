"""Small networks with random weights, of each architecture that takes waveforms and gives waveforms.

row = small_row("scnet", tmp_path / "x.ckpt")       # a manifest row, as if a user had written it
model = load_model(row, saved(row), CPU, torch.float32)
"""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from my_submission.models.mdx23c import Mdx23c, Mdx23cParameters
from my_submission.models.scnet.layout import ScNetLayout
from my_submission.models.scnet.network import ScNet
from my_submission.registry import find_architecture
from my_submission.schema import validate
from my_submission.weights import Checkpoint, ManifestError
from my_submission.weights.manifest import MANIFEST

MUSIC = ("drums", "bass", "other", "vocals")
SCNET = {
    "n_fft": 512,
    "hop": 128,
    "dims": (4, 8, 16),
    "band_shares": (0.225, 0.372, 0.403),
    "band_strides": (1, 4, 16),
    "band_kernels": (3, 4, 16),
    "conv_depths": (3, 2, 1),
    "compress": 4,
    "conv_kernel": 3,
    "num_dplayer": 2,
    "expand": 1,
    "masked": False,
    "normalise": False,
    "chunk_samples": 3_000,
    "fade_samples": 300,
}
MDX23C = {
    "n_fft": 512,
    "hop": 128,
    "dim_f": 256,
    "num_subbands": 4,
    "num_scales": 2,
    "num_blocks_per_scale": 2,
    "num_channels": 8,
    "growth": 8,
    "bottleneck_factor": 4,
    "chunk_samples": 3_000,
    "fade_samples": 300,
}
NETWORKS: dict[str, tuple[str, tuple[str, ...], dict[str, Any]]] = {
    "scnet": ("scnet", MUSIC, SCNET),
    "scnet-ihf": (
        "scnet",
        ("vocals", "other"),
        {
            **SCNET,
            "dims": (4, 4, 8, 16),
            "band_strides": (1, 4, 4),
            "band_kernels": (3, 4, 4),
            "conv_depths": (1, 1, 2),
            "expand": 2,
            "num_dplayer": 4,
        },
    ),
    "scnet-masked": ("scnet", MUSIC, {**SCNET, "masked": True}),
    "scnet-normalised": ("scnet", MUSIC, {**SCNET, "normalise": True}),
    "mdx23c": ("mdx23c", ("vocals", "instrumental"), MDX23C),
    "mdx23c-one": (
        "mdx23c",
        ("vocals",),
        {**MDX23C, "num_subbands": 2, "dim_f": 192, "num_scales": 3, "num_blocks_per_scale": 1, "growth": 4},
    ),
}
"""Name -> architecture, sources, parameters."""


def small_row(name: str, path: Path) -> Checkpoint:
    """A manifest row of one of NETWORKS, whose file is `path`."""
    architecture, sources, parameters = NETWORKS[name]
    return Checkpoint(
        name=name,
        architecture=architecture,
        sources=sources,
        parameters=validate(find_architecture(architecture).parameters, parameters, name, ManifestError),
        file=path.name,
        bytes=None,
        about_bytes=None,
        sha256=None,
        origins=(),
        licence=None,
        manifest=MANIFEST,
        path=path,
    )


def network_of(row: Checkpoint) -> nn.Module:
    """Our network of a row, as it is made."""
    parameters, sources = row.parameters, len(row.sources)
    if isinstance(parameters, ScNetLayout):
        return ScNet(parameters, sources)
    assert isinstance(parameters, Mdx23cParameters)
    return Mdx23c(parameters, sources)


def random_network(row: Checkpoint) -> nn.Module:
    """Our network of a row, in evaluation mode, with random weights that follow from the row's name; also in norms,
    which are made with ones and zeros."""
    with torch.random.fork_rng():
        torch.manual_seed(sum(row.name.encode()))
        network = network_of(row)
        with torch.no_grad():
            for parameter in network.parameters():
                if parameter.dim() == 1:
                    parameter.add_(0.2 * torch.randn_like(parameter))
    return network.requires_grad_(False).eval()


def saved(row: Checkpoint) -> Path:
    """The file of a row, with `random_network`'s weights."""
    assert row.path is not None
    torch.save(random_network(row).state_dict(), row.path)
    return row.path
