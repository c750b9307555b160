"""Networks of the reference packages: what ours are compared with, and what writes checkpoints with random weights.

    network = reference(load_manifest().checkpoints["polarformer"])   # random weights, full size
    estimates = network(mixtures)                # (batch, 2, samples) -> (batch, sources, 2, samples)
    network.module.state_dict()                  # named and shaped as in the published file

One function per architecture in REFERENCES makes the package's module from a row's parameters. Packages are imported
only when they are needed; a test module that needs one begins with `pytest.importorskip`.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from my_submission.models.roformer.bs import BSRoformerParameters
from my_submission.models.roformer.mel import MelBandRoformerParameters
from my_submission.models.roformer.model import RoformerParameters
from my_submission.weights import Checkpoint


def bs_roformer(parameters: BSRoformerParameters, sources: int) -> nn.Module:
    modules = importlib.import_module("pymss_core.modules.bs_roformer")
    module: nn.Module = modules.BSRoformer(
        **_roformer(parameters, sources),
        freqs_per_bands=parameters.layout().widths,
        use_pope=parameters.pope,
    )
    return module


def mel_band_roformer(parameters: MelBandRoformerParameters, sources: int) -> nn.Module:
    modules = importlib.import_module("pymss_core.modules.bs_roformer")
    module: nn.Module = modules.MelBandRoformer(
        **_roformer(parameters, sources),
        num_bands=parameters.bands,
        mlp_hidden_layers=parameters.mask_estimator_depth,  # without it, one fewer than the published networks
        match_input_audio_length=True,
    )
    return module


def _roformer(parameters: RoformerParameters, sources: int) -> dict[str, Any]:
    return {
        "dim": parameters.dim,
        "depth": parameters.depth,
        "stereo": True,
        "num_stems": sources,
        "time_transformer_depth": parameters.time_transformer_depth,
        "freq_transformer_depth": parameters.freq_transformer_depth,
        "heads": parameters.heads,
        "dim_head": parameters.dim_head,
        "stft_n_fft": parameters.n_fft,
        "stft_win_length": parameters.n_fft,
        "stft_hop_length": parameters.hop,
        "mask_estimator_depth": parameters.mask_estimator_depth,
        "mlp_expansion_factor": parameters.mlp_expansion_factor,
        "zero_dc": parameters.zero_dc,  # the package's own default is false for one of the two
        "skip_connection": parameters.skip_connection,
    }


REFERENCES: dict[str, Callable[[Any, int], nn.Module]] = {
    "bs_roformer": bs_roformer,
    "mel_band_roformer": mel_band_roformer,
}


@dataclass(frozen=True)
class Reference:
    """A package's module, whose output has an axis of sources here even if there is one."""

    module: nn.Module

    def __call__(self, mixtures: Tensor) -> Tensor:
        estimates: Tensor = self.module(mixtures)
        return estimates if estimates.dim() == 4 else estimates[:, None]


def reference(checkpoint: Checkpoint, seed: int = 0) -> Reference:
    """The reference package's network of a row, with random weights, norms included."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module = REFERENCES[checkpoint.architecture](checkpoint.parameters, len(checkpoint.sources))
        with torch.no_grad():
            for name, parameter in module.named_parameters():
                if name.endswith("gamma"):  # ones, as they are made
                    parameter.uniform_(0.5, 1.5)
                elif name.endswith("pope_embed.bias"):  # zeros; what is outside of −2π to 0 counts as its end
                    parameter.uniform_(-7, 1)
    return Reference(module.eval().requires_grad_(False))
