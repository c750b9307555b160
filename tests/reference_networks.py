"""Networks of the reference packages: what ours are compared with, and what writes checkpoints with random weights.

    network = reference(load_manifest().checkpoints["polarformer"])   # random weights, full size
    estimates = network(mixtures)                # (batch, 2, samples) -> (batch, sources, 2, samples)
    network.module.state_dict()                  # named and shaped as in the published file

One function per architecture in REFERENCES makes the package's module from a row's parameters. Packages are imported
only when they are needed; a test module that needs one begins with `pytest.importorskip`.
"""

import importlib
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from my_submission.models.bandit import BanditParameters
from my_submission.models.mdx23c.layout import Mdx23cParameters
from my_submission.models.roformer.bs import BSRoformerParameters
from my_submission.models.roformer.mel import MelBandRoformerParameters
from my_submission.models.roformer.model import RoformerParameters
from my_submission.models.scnet import ScNetParameters
from my_submission.weights import Checkpoint


def bs_roformer(parameters: BSRoformerParameters, sources: Sequence[str]) -> nn.Module:
    modules = importlib.import_module("pymss_core.modules.bs_roformer")
    module: nn.Module = modules.BSRoformer(
        **_roformer(parameters, sources),
        freqs_per_bands=parameters.layout().widths,
        use_pope=parameters.pope,
    )
    return module


def mel_band_roformer(parameters: MelBandRoformerParameters, sources: Sequence[str]) -> nn.Module:
    modules = importlib.import_module("pymss_core.modules.bs_roformer")
    module: nn.Module = modules.MelBandRoformer(
        **_roformer(parameters, sources),
        num_bands=parameters.bands,
        mlp_hidden_layers=parameters.mask_estimator_depth,  # without it, one fewer than the published networks
        match_input_audio_length=True,
    )
    return module


def _roformer(parameters: RoformerParameters, sources: Sequence[str]) -> dict[str, Any]:
    return {
        "dim": parameters.dim,
        "depth": parameters.depth,
        "stereo": True,
        "num_stems": len(sources),
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


def scnet(parameters: ScNetParameters, sources: Sequence[str]) -> nn.Module:
    module: nn.Module = importlib.import_module("pymss_core.modules.scnet.scnet").SCNet(
        sources=list(sources),
        dims=list(parameters.dims),
        nfft=parameters.n_fft,
        hop_size=parameters.hop,
        win_size=parameters.n_fft,
        band_SR=list(parameters.band_shares),
        band_stride=list(parameters.band_strides),
        band_kernel=list(parameters.band_kernels),
        conv_depths=list(parameters.conv_depths),
        compress=parameters.compress,
        conv_kernel=parameters.conv_kernel,
        num_dplayer=parameters.num_dplayer,
        expand=parameters.expand,
    )
    return module


def mdx23c(parameters: Mdx23cParameters, sources: Sequence[str]) -> nn.Module:
    sizes = (
        "num_subbands",
        "num_scales",
        "num_blocks_per_scale",
        "num_channels",
        "growth",
        "bottleneck_factor",
    )
    config = Namespace(
        audio=Namespace(
            n_fft=parameters.n_fft, hop_length=parameters.hop, dim_f=parameters.dim_f, num_channels=2
        ),
        model=Namespace(
            norm="InstanceNorm",
            act="gelu",
            scale=[2, 2],
            **{name: getattr(parameters, name) for name in sizes},
        ),
        training=Namespace(target_instrument=None, instruments=list(sources)),
    )
    module: nn.Module = importlib.import_module("pymss_core.modules.mdx23c_tfc_tdf_v3").TFC_TDF_net(config)
    return module


def bandit(parameters: BanditParameters, sources: Sequence[str]) -> nn.Module:
    """Stems come in this order, whatever `sources` says; the spectrum is divided by √n_fft (see test_bandit.py)."""
    options: dict[str, Any] = {
        "stems": ["speech", "music", "effects" if parameters.version == 1 else "sfx"],
        "fs": parameters.sample_rate,
        "n_fft": parameters.n_fft,
        "win_length": parameters.n_fft,
        "hop_length": parameters.hop,
        "n_bands": parameters.n_bands,
        "emb_dim": parameters.emb_dim,
        "n_sqm_modules": parameters.n_sqm_modules,
        "rnn_type": "GRU",
        "rnn_dim": parameters.rnn_dim,
        "mlp_dim": parameters.mlp_dim,
    }
    module: nn.Module
    if parameters.version == 1:
        wrapper = importlib.import_module("pymss_core.modules.bandit.core.model.bsrnn.wrapper")
        module = wrapper.MultiMaskMultiSourceBandSplitRNNSimple(
            in_channel=1, band_specs="musical", pad_mode="constant", **options
        )
    else:
        package = importlib.import_module("pymss_core.modules.bandit_v2.bandit")
        module = package.Bandit(in_channels=1, pad_mode="reflect", **options)
    return module


REFERENCES: dict[str, Callable[[Any, Sequence[str]], nn.Module]] = {
    "bs_roformer": bs_roformer,
    "mel_band_roformer": mel_band_roformer,
    "scnet": scnet,
    "mdx23c": mdx23c,
    "bandit": bandit,
}


@dataclass(frozen=True)
class Reference:
    """A package's module, whose output has an axis of sources here even if there is one."""

    module: nn.Module

    def __call__(self, mixtures: Tensor) -> Tensor:
        estimates: Tensor = self.module(mixtures)
        return estimates if estimates.dim() == 4 else estimates[:, None]


def module_of(checkpoint: Checkpoint) -> nn.Module:
    """The package's module of a row, in evaluation mode, with the weights that it makes itself."""
    module = REFERENCES[checkpoint.architecture](checkpoint.parameters, checkpoint.sources)
    return module.eval().requires_grad_(False)


def reference(checkpoint: Checkpoint, seed: int = 0) -> Reference:
    """The reference package's network of a row, with random weights, norms included."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        module = module_of(checkpoint)
        with torch.no_grad():
            for name, parameter in module.named_parameters():
                if name.endswith("gamma"):  # ones, as they are made
                    parameter.uniform_(0.5, 1.5)
                elif name.endswith("pope_embed.bias"):  # zeros; what is outside of −2π to 0 counts as its end
                    parameter.uniform_(-7, 1)
    return Reference(module)
