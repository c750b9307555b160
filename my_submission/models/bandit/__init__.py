"""BandIt checkpoints, of both published versions, as callables on chunks."""

import re
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from my_submission.models.bandit.bands import bands_covering
from my_submission.models.bandit.layout import BanditLayout
from my_submission.models.bandit.network import Bandit
from my_submission.models.waveforms import Chunks, WaveformModel, noise_work
from my_submission.registry import Architecture, register
from my_submission.signal.chunking import Geometry
from my_submission.weights import Checkpoint, UnsafeFile
from my_submission.weights.load import PICKLES, build, open_network_state
from my_submission.weights.shapes import State, count, size, told

_BYTES_PER_VALUE, _BYTES_PER_VALUE_IN_GROUPS = 20, 16
"""Of memory while a chunk is computed, for each value of an RNN's input and output; on the CPU, where GRUs get their
sequences in groups, 11 were measured on version 1, 13 with two chunks at a time, and 9 on version 2."""

PUBLISHED_SOURCES = {"speech": "dialog", "sfx": "effect", "effects": "effect"}
"""What files call the challenge's stems."""


class BanditParameters(Chunks, BanditLayout):
    """A network's size, and its chunks."""


def load(
    checkpoint: Checkpoint,
    path: Path,
    device: torch.device,
    dtype: torch.dtype,
    needed: Collection[str] | None = None,
) -> WaveformModel:
    """Open a checkpoint (`registry.Loader`)."""
    parameters = checkpoint.parameters
    assert isinstance(parameters, BanditParameters)
    network = _open(path, parameters, tuple(map(_source, checkpoint.sources)))
    geometry = Geometry(
        parameters.chunk_samples,
        fade_samples=parameters.fade_samples,
        sample_rate=parameters.sample_rate,
        channels=1,
    )
    values = 2 * parameters.n_bands * (parameters.emb_dim + 2 * parameters.rnn_dim)  # a frame of two channels
    bytes_per_value = _BYTES_PER_VALUE_IN_GROUPS if device.type == "cpu" else _BYTES_PER_VALUE
    bytes_per_sample = bytes_per_value * values // parameters.hop
    return WaveformModel(
        network, checkpoint.sources, geometry, bytes_per_sample, device, dtype, needed, sparing=True
    )


def piece_of_work(
    checkpoint: Checkpoint, path: Path, device: torch.device, dtype: torch.dtype
) -> Callable[[float], Tensor]:
    """A call that runs a checkpoint's network on noise, over a share of its chunk."""
    assert isinstance(checkpoint.parameters, BanditParameters)
    return noise_work(load(checkpoint, path, device, dtype), least_samples=checkpoint.parameters.n_fft)


def _open(path: Path, parameters: BanditParameters, sources: tuple[str, ...]) -> Bandit:
    published = open_network_state(path)
    version = _version(published)
    if version not in (None, parameters.version):
        raise UnsafeFile(
            f"{path}: its manifest row says version {parameters.version}; the file has {version}"
        )
    state = _renamed(path, published, parameters.version)
    computed = {name: state.pop(name) for name in list(state) if _IS_COMPUTED.search(name)}
    said = {**parameters.model_dump(), "sources": tuple(sorted(sources))}
    window = size(computed, "stft.window", 0)
    network = build(
        path, lambda: Bandit(parameters, sources), state, said, lambda found: told_by(found, window)
    )
    _check_computed(path, computed, parameters, sources)
    return network


def _version(state: State) -> int | None:
    """Whose names these are."""
    bands = [name for name in state if "norm_fc_modules." in name]
    if not bands:
        return None
    return 2 if any(".combined." in name for name in bands) else 1


_COMBINED = {
    "norm_fc_modules": ("norm", "fc"),
    "norm_mlp": ("norm", "hidden", "output"),
}
"""Version 2 has these layers of a band one after the other in `combined`; those of a mask also by their own names."""


def _renamed(path: Path, state: State, version: int) -> dict[str, Tensor]:
    """A file's tensors under our names: of version 1, and of the challenge's stems."""

    def layer(match: re.Match[str]) -> str:
        kind, band, place = match.groups()
        return f"{kind}.{band}.{_COMBINED[kind][int(place)]}."

    renamed: dict[str, Tensor] = {}
    for published, value in state.items():
        name = published.removeprefix("bsrnn.")
        name = re.sub(r"^(mask_estim\.)(\w+)", lambda found: found[1] + _source(found[2]), name)
        if version == 2:
            name = re.sub(r"(norm_fc_modules)\.(\d+)\.combined\.([01])\.", layer, name)
            name = re.sub(r"(norm_mlp)\.(\d+)\.combined\.([012])\.", layer, name)
            # Every second one is an exchange of the axes, which has no tensors.
            name = re.sub(
                r"(seqband\.)(\d*[02468])\.", lambda found: f"{found[1]}{int(found[2]) // 2}.", name
            )
        if name in renamed and not torch.equal(renamed[name], value):
            raise UnsafeFile(f"{path}: tensor {published!r}: expected the same values as its twin's")
        renamed[name] = value
    return renamed


def _source(published: str) -> str:
    return PUBLISHED_SOURCES.get(published, published)


_IS_COMPUTED = re.compile(r"^i?stft\.window$|\.freq_weights/\d+$")
"""What published files hold besides parameters: we compute it."""


def _check_computed(path: Path, found: State, parameters: BanditParameters, sources: tuple[str, ...]) -> None:
    """Raise UnsafeFile unless a file, if it says so, has the window and the bands of its row."""
    covering = torch.tensor(bands_covering(parameters.bands()), dtype=torch.float32)
    window = torch.hann_window(parameters.n_fft)
    expected = {"stft.window": window, "istft.window": window}
    for source in sources:
        for place, band in enumerate(parameters.bands()):
            weights = 1 / covering[band.start : band.stop]
            expected[f"mask_estim.{source}.freq_weights/{place}"] = weights
    for name, value in found.items():
        true = expected.get(name, torch.empty(0))
        # within 2e-3, as a float16 file's are, too
        if value.shape != true.shape or not torch.allclose(value.float(), true, atol=2e-3):
            raise UnsafeFile(
                f"{path}: tensor {name!r} is not what n_fft, n_bands and sample_rate of its manifest row give"
            )


def told_by(state: State, window: int | None = None) -> dict[str, Any]:
    """The parameters, and the sources, as far as the shapes and names of a file's tensors tell.

    window: the length of the file's, if it has one.
    """
    sources = sorted({name.split(".")[1] for name in state if name.startswith("mask_estim.")})
    layers = count(state, "tf_model.seqband.")
    return told(
        sources=tuple(sources) or None,
        n_fft=window,
        n_bands=count(state, "band_split.norm_fc_modules."),
        emb_dim=size(state, "band_split.norm_fc_modules.0.fc.weight", 0),
        n_sqm_modules=layers and layers // 2,
        rnn_dim=size(state, "tf_model.seqband.0.rnn.weight_hh_l0", 1),
        mlp_dim=size(state, f"mask_estim.{''.join(sources[:1])}.norm_mlp.0.hidden.0.weight", 0),
    )


register(
    Architecture("bandit", (*PICKLES, ".safetensors"), load, BanditParameters, piece_of_work=piece_of_work)
)
