"""Small networks with random weights, of each architecture that takes waveforms and gives waveforms.

row = small_row("scnet", tmp_path / "x.ckpt")       # a manifest row, as if a user had written it
model = load_model(row, saved(row), CPU, torch.float32)
"""

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from my_submission.models.bandit import BanditParameters
from my_submission.models.bandit.network import Bandit
from my_submission.models.bsrnn.port import Bsrnn, BsrnnParameters
from my_submission.models.bsrnn.reproduction import Obsrnn, ObsrnnParameters
from my_submission.models.mdx23c.layout import Mdx23cParameters
from my_submission.models.mdx23c.network import Mdx23c
from my_submission.models.roformer.model import RoformerParameters
from my_submission.models.roformer.network import Roformer
from my_submission.models.scnet.layout import ScNetLayout
from my_submission.models.scnet.network import ScNet
from my_submission.models.zero_shot import ZeroShotParameters
from my_submission.models.zero_shot.network import Queried, Separator
from my_submission.models.zero_shot.query import write_query
from my_submission.registry import find_architecture
from my_submission.schema import validate
from my_submission.weights import Checkpoint, ManifestError

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
BANDIT = {
    "version": 1,
    "sample_rate": 44_100,
    "n_fft": 512,
    "hop": 128,
    "n_bands": 12,
    "emb_dim": 8,
    "n_sqm_modules": 2,
    "rnn_dim": 12,
    "mlp_dim": 16,
    "chunk_samples": 3_000,
    "fade_samples": 300,
}
SPLEETER = {"n_fft": 256, "frames": 64, "bins": 64, "width": 1}
ZERO_SHOT = {
    "sample_rate": 32_000,
    "n_fft": 256,
    "hop": 64,
    "channels": 2,
    "query_size": 64,
    "queries": {"drums": "drums.safetensors", "bass": "bass.safetensors"},
    "chunk_samples": 3_000,
    "fade_samples": 0,
}
BSRNN: dict[str, Any] = {
    "n_fft": 512,
    "hop": 128,
    "bandsplits": [[1_000, 250], [8_000, 1_000], [20_000, 4_000]],
    "fc_dim": 8,
    "rnn_dim": 12,
    "num_layers": 2,
    "mlp_dim": 16,
    "transposed": True,
    "chunk_samples": 3_072,
    "fade_samples": 0,
}
OBSRNN: dict[str, Any] = {
    "n_fft": 512,
    "hop": 128,
    "bandsplits": [[1_000, 250], [8_000, 1_000], [20_000, 4_000]],
    "feature_dim": 8,
    "num_repeat": 2,
    "fac_sep": 2,
    "fac_mask": 3,
    "fac_tac": 3,
    "n_att_head": 2,
    "attn_enc_dim": 3,
    "chunk_samples": 3_000,
    "fade_samples": 300,
}
_ROFORMER: dict[str, Any] = {
    "dim": 24,
    "depth": 2,
    "time_transformer_depth": 1,
    "freq_transformer_depth": 1,
    "heads": 2,
    "dim_head": 16,
    "mask_estimator_depth": 2,
    "mlp_expansion_factor": 2,
    "skip_connection": False,
    "n_fft": 256,
    "hop": 64,
    "zero_dc": True,
    "chunk_samples": 3_200,
    "fade_samples": 320,
}
BS_ROFORMER = {**_ROFORMER, "band_widths": [8] * 4 + [16] * 2 + [32, 33], "pope": False}
MEL_BAND_ROFORMER = {**_ROFORMER, "bands": 12}
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
    "bandit": ("bandit", ("dialog", "music", "effect"), BANDIT),
    "zero-shot": ("zero_shot", ("drums", "bass"), ZERO_SHOT),
    "bandit-v2": ("bandit", ("dialog", "music", "effect"), {**BANDIT, "version": 2, "sample_rate": 48_000}),
    "bsrnn": ("bsrnn", ("vocals",), BSRNN),
    "bsrnn-crlandsc": ("bsrnn", ("bass",), {**BSRNN, "transposed": False}),
    "obsrnn-simo": ("obsrnn", MUSIC, OBSRNN),
    "obsrnn": ("obsrnn", ("drums",), {**OBSRNN, "fac_tac": 0, "n_att_head": 0, "attn_enc_dim": 0}),
}
"""Name -> architecture, sources, parameters."""


_KINDS: dict[str, dict[str, Any]] = {
    "scnet": SCNET,
    "mdx23c": MDX23C,
    "bandit": BANDIT,
    "spleeter": SPLEETER,
    "bsrnn": BSRNN,
    "obsrnn": OBSRNN,
    "bs_roformer": BS_ROFORMER,
    "mel_band_roformer": MEL_BAND_ROFORMER,
}
_OTHERWISE = (
    *("version", "sample_rate", "pope", "masked", "normalise", "transposed"),
    *("activation", "softmax", "extension", "instrument"),
)


def smaller(architecture: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of a small network of a row's kind; those of an architecture not listed here as they are."""
    kind = _KINDS.get(architecture)
    if kind is None:
        return dict(parameters)
    return {**kind, **{key: parameters[key] for key in _OTHERWISE if key in parameters}}


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
        manifest=path.parent / "rows.yaml",
        path=path,
    )


def network_of(row: Checkpoint) -> nn.Module:
    """Our network of a row, as it is made."""
    parameters, sources = row.parameters, len(row.sources)
    if isinstance(parameters, ScNetLayout):
        return ScNet(parameters, sources)
    if isinstance(parameters, Mdx23cParameters):
        return Mdx23c(parameters, sources)
    if isinstance(parameters, RoformerParameters):
        return Roformer(parameters.config(sources))
    if isinstance(parameters, ZeroShotParameters):
        size = parameters.query_size
        separator = Separator(parameters.n_fft, parameters.hop, parameters.channels, size)
        return Queried(separator, torch.stack([random_query(source, size) for source in row.sources]))
    if isinstance(parameters, BsrnnParameters):
        return Bsrnn(parameters)
    if isinstance(parameters, ObsrnnParameters):
        return Obsrnn(parameters, sources)
    assert isinstance(parameters, BanditParameters)
    return Bandit(parameters, row.sources)


def random_query(source: str, size: int) -> Tensor:
    """What stands for a source: (size,), always the same."""
    return torch.randn(size, generator=torch.Generator().manual_seed(sum(source.encode())))


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


def published_state(row: Checkpoint, network: nn.Module) -> dict[str, Tensor]:
    """A network's tensors as a published file has them: BandIt's have other names, and more; those of a separator by
    query are without the queries, and with the transform and some of the encoder that it was trained with."""
    if isinstance(network, Queried):
        others = {
            name: torch.zeros(2, 2) for name in ("stft.conv_real.weight", "at_model.sed_model.norm.weight")
        }
        return dict(network.separator.state_dict()) | others
    """A network's tensors as a published file has them: BandIt's have other names, and more; oBSRNN's windows."""
    state = dict(network.state_dict())
    if isinstance(row.parameters, BanditParameters):
        return _published_bandit(row.parameters, state)
    if isinstance(row.parameters, ObsrnnParameters):
        window = torch.hann_window(row.parameters.n_fft)
        return {"stft.transf.window": window, "istft.transf.window": window.clone(), **state}
    return state


_BANDIT_STEMS = {
    1: {"dialog": "speech", "effect": "effects"},
    2: {"dialog": "speech", "effect": "sfx"},
}


def _published_bandit(parameters: BanditParameters, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Version 1 has a prefix; version 2 has other numbers and names, and layers twice."""
    bands = parameters.bands()
    covering = torch.zeros(bands[-1].stop, dtype=torch.float64)
    for band in bands:
        covering[band.start : band.stop] += 1
    window = torch.hann_window(parameters.n_fft)
    published = {"stft.window": window, "istft.window": window.clone()}
    prefix = "bsrnn." if parameters.version == 1 else ""
    stems = _BANDIT_STEMS[parameters.version]
    sources = {name.split(".")[1] for name in state if name.startswith("mask_estim.")}
    for source, (place, band) in itertools.product(sources, enumerate(bands)):
        key = f"{prefix}mask_estim.{stems.get(source, source)}.freq_weights/{place}"
        published[key] = 1 / covering[band.start : band.stop]
    for name, value in state.items():
        parts = name.split(".")
        if parts[0] == "mask_estim":
            parts[1] = stems.get(parts[1], parts[1])
        if parameters.version == 2:
            if parts[0] == "tf_model":
                parts[2] = str(2 * int(parts[2]))
            elif parts[0] == "band_split":
                parts[3] = {"norm": "combined.0", "fc": "combined.1"}[parts[3]]
            else:
                layer = {"norm": "0", "hidden": "1", "output": "2"}[parts[4]]
                published[".".join([*parts[:4], "combined", layer, *parts[5:]])] = value
        published[prefix + ".".join(parts)] = value
    return published


def saved(row: Checkpoint) -> Path:
    """The file of a row, with `random_network`'s weights."""
    assert row.path is not None
    return save_network(row, row.path)


def write_beside(row: Checkpoint) -> None:
    """Write the files that a row's parameters name: the queries of `random_network`."""
    if isinstance(row.parameters, ZeroShotParameters):
        for source, file in row.parameters.queries.items():
            write_query(row.folder / file, random_query(source, row.parameters.query_size), {})


def save_network(row: Checkpoint, path: Path) -> Path:
    """Write `random_network`'s weights of a row as its published file has them, and what lies beside its manifest."""
    write_beside(row)
    state = published_state(row, random_network(row))
    if path.suffix == ".safetensors":
        save_file({name: value.contiguous() for name, value in state.items()}, path)
    else:
        torch.save(state, path)
    return path
