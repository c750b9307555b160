"""Opens published RoFormer files: strictly, and what differs is said in the terms of a manifest row."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from my_submission.models.roformer.bands import mel_bands
from my_submission.models.roformer.network import PolarPositions, Roformer, RoformerConfig, RotaryPositions
from my_submission.models.roformer.spectrum import VALUES_PER_BIN
from my_submission.weights import UnsafeFile
from my_submission.weights.load import build, open_network_state
from my_submission.weights.tensors import check_finite

MEL_FFTS = (256, 512, 1024, 2048, 4096, 8192, 16384)
"""Sizes that the bands of a Mel-Band RoFormer's file are compared with."""


def read_network(path: Path, config: RoformerConfig) -> Roformer:
    """The network of a config with the weights of a file, in float32 on the CPU.

    Raises UnsafeFile, naming the parameters of a manifest row that differ, if the file's tensors are not those of the
    config; WeightsError for another kind of file, FileNotFoundError.
    """
    state = open_network_state(path)
    _share_positions(path, state, config)
    return build(path, lambda: Roformer(config), state, said(config), seen)


def _share_positions(path: Path, state: dict[str, Tensor], config: RoformerConfig) -> None:
    """Give each layer the positions of its axis, in place.

    All layers of an axis share them, so a file may have them once a layer, or once in all (safetensors' own way of
    saving a network leaves out what is shared), and frequencies not at all, since nothing learns them.
    """
    positions = PolarPositions if config.pope else RotaryPositions
    frequencies, *learned = positions.TENSORS
    own = positions(config.heads, config.dim_head).state_dict()[frequencies]
    for axis in (0, 1):
        layer = re.compile(rf"(layers\.\d+\.{axis}\.layers\.\d+\.0\.)to_qkv\.weight")
        layers = [match[1] for match in map(layer.fullmatch, list(state)) if match]
        for tensor in (frequencies, *learned):
            names = [f"{prefix}{positions.NAME}.{tensor}" for prefix in layers]
            held = [name for name in names if name in state]
            for name in held:
                if not torch.equal(state[name], state[held[0]]):
                    check_finite(path, {name: state[name]})
                    raise UnsafeFile(
                        f"{path}: tensor {name!r}: expected the values of {held[0]!r}, since all layers of an axis"
                        f" share their positions; found others"
                    )
            if held or tensor == frequencies:
                state.update(dict.fromkeys(names, state[held[0]] if held else own))


def positions_told(name: str) -> bool:
    """Whether a tensor holds the frequencies of positions, which a file may leave out."""
    return any(
        name.endswith(f".{positions.NAME}.{positions.TENSORS[0]}")
        for positions in (RotaryPositions, PolarPositions)
    )


def said(config: RoformerConfig) -> dict[str, Any]:
    """A config in the terms of manifest rows, as far as tensors tell."""
    return {
        "architecture": _architecture(config.final_norm),
        "sources": config.stems,
        "dim": config.dim,
        "depth": config.depth,
        "time_transformer_depth": config.time_depth,
        "freq_transformer_depth": config.freq_depth,
        "heads": config.heads,
        "dim_head": config.dim_head,
        "pope": config.pope,
        "mask_estimator_depth": len(config.mask_hidden) + config.final_norm,
        "mlp_expansion_factor": config.mask_hidden[0] // config.dim if config.mask_hidden else None,
        "bands": len(config.bands),
        "n_fft": config.spectrum.n_fft,
        "band_widths": config.bands.widths,
    }


def seen(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """The same of the network that has these tensors: what they tell, and nothing if it is no RoFormer."""
    shapes = {name: tuple(value.shape) for name, value in state.items()}
    norms, linears = (
        [shapes[name] for name in _numbered(shapes, form)]
        for form in (
            r"band_split\.to_features\.(\d+)\.0\.gamma",
            r"mask_estimators\.0\.to_freqs\.0\.0\.(\d+)\.weight",
        )
    )
    first = "layers.0.0.layers.0.0"
    gates, last = (shapes.get(f"{first}.{name}.weight", ()) for name in ("to_gates", "to_out.0"))
    if not (norms and linears and len(gates) == len(last) == len(linears[0]) == 2 and all(gates)):
        return {}
    final_norm = "final_norm.gamma" in shapes
    widths = tuple(int(norm[0]) // VALUES_PER_BIN for norm in norms)
    n_fft = 2 * (sum(widths) - 1) if final_norm else _mel_fft(widths)
    found = {
        "architecture": _architecture(final_norm),
        "sources": _count(shapes, r"mask_estimators\.(\d+)\."),
        "dim": gates[1],
        "depth": _count(shapes, r"layers\.(\d+)\."),
        "time_transformer_depth": _count(shapes, r"layers\.0\.0\.layers\.(\d+)\."),
        "freq_transformer_depth": _count(shapes, r"layers\.0\.1\.layers\.(\d+)\."),
        "heads": gates[0],
        "dim_head": last[1] // gates[0],
        "pope": f"{first}.{PolarPositions.NAME}.bias" in shapes,
        "mask_estimator_depth": len(linears) - 1 + final_norm,
        "mlp_expansion_factor": linears[0][0] // gates[1] if len(linears) > 1 else None,
        "bands": len(widths),
        "n_fft": n_fft,
        "band_widths": widths,
    }
    return {key: value for key, value in found.items() if key != "n_fft" or value}


def _architecture(final_norm: bool) -> str:
    return "bs_roformer" if final_norm else "mel_band_roformer"


def _mel_fft(widths: Sequence[int]) -> int | None:
    """The size of the FFT whose mel bands have these widths."""
    for n_fft in MEL_FFTS:
        try:
            found = mel_bands(len(widths), n_fft)
        except ValueError:  # too many bands for its bins
            continue
        if found.widths == widths:
            return n_fft
    return None


def _numbered(names: Mapping[str, Any], form: str) -> list[str]:
    """The names of this form, in order of the number in it."""
    found = [(int(match[1]), name) for name in names if (match := re.fullmatch(form, name))]
    return [name for _, name in sorted(found)]


def _count(names: Mapping[str, Any], beginning: str) -> int:
    """How many different numbers the names that begin so have."""
    return len({match[1] for name in names if (match := re.match(beginning, name))})
