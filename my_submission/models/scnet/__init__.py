"""SCNet checkpoints as callables on chunks, and how SCNet is trained."""

import json
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, model_validator
from safetensors.torch import save
from torch import Tensor

from my_submission.models.scnet.layout import STEREO_PARTS, ScNetLayout
from my_submission.models.scnet.network import ScNet
from my_submission.models.waveforms import Chunks, WaveformModel, noise_work
from my_submission.registry import Architecture, register
from my_submission.schema import Name, Positive, expecting, problem
from my_submission.signal.audio import MODEL_SAMPLE_RATE
from my_submission.signal.chunking import Geometry
from my_submission.weights import Checkpoint
from my_submission.weights.load import PICKLES, build, open_network_state
from my_submission.weights.shapes import State, count, size, told

_BYTES_PER_VALUE, _BYTES_PER_VALUE_IN_GROUPS = 24, 20
"""Of memory while a chunk is computed, for each value of the grids between the encoder's blocks; on the CPU, where
LSTMs get their sequences in groups, 13 were measured, and 17 with two chunks at a time."""


class ScNetParameters(Chunks, ScNetLayout):
    """A network's size, and the chunks that it is given."""


def chunk_model(
    network: ScNet,
    sources: tuple[str, ...],
    parameters: ScNetParameters,
    device: torch.device,
    dtype: torch.dtype,
    needed: Collection[str] | None = None,
) -> WaveformModel:
    """A network as the kit calls it: always with a whole chunk, since its transform of the frames means something
    else for another number of them than it was trained with."""
    geometry = Geometry(parameters.chunk_samples, fade_samples=parameters.fade_samples)
    channels = (STEREO_PARTS * (1 + len(sources)), *parameters.dims[1:])
    values = sum(
        wide * sum(bins) for wide, bins in zip(channels, parameters.band_sizes(), strict=True)
    )  # a frame
    bytes_per_value = _BYTES_PER_VALUE_IN_GROUPS if device.type == "cpu" else _BYTES_PER_VALUE
    bytes_per_sample = bytes_per_value * values // parameters.hop
    return WaveformModel(network, sources, geometry, bytes_per_sample, device, dtype, needed, sparing=True)


def load(
    checkpoint: Checkpoint,
    path: Path,
    device: torch.device,
    dtype: torch.dtype,
    needed: Collection[str] | None = None,
) -> WaveformModel:
    """Open a checkpoint (`registry.Loader`)."""
    network, parameters = _open(checkpoint, path)
    return chunk_model(network, checkpoint.sources, parameters, device, dtype, needed)


def piece_of_work(
    checkpoint: Checkpoint, path: Path, device: torch.device, dtype: torch.dtype
) -> Callable[[float], Tensor]:
    """A call that runs a checkpoint's network on noise, over a share of its chunk."""
    model = load(checkpoint, path, device, dtype)
    assert isinstance(checkpoint.parameters, ScNetParameters)
    return noise_work(model, least_samples=checkpoint.parameters.n_fft)


def _open(checkpoint: Checkpoint, path: Path) -> tuple[ScNet, ScNetParameters]:
    parameters = checkpoint.parameters
    assert isinstance(parameters, ScNetParameters)
    sources = len(checkpoint.sources)
    said = {**parameters.model_dump(), "sources": sources}
    network = build(path, lambda: ScNet(parameters, sources), open_network_state(path), said, told_by)
    return network, parameters


def told_by(state: State) -> dict[str, Any]:
    """The parameters, and the number of sources, as far as the shapes of a file's tensors tell."""
    blocks = count(state, "encoder.") or 0
    compression, modules = "encoder.{}.SDlayer.convs.{}.weight", "encoder.0.conv_modules.{}.layers."
    dims = [size(state, compression.format(block, 0), 0) for block in range(blocks)] or [None]
    hidden = size(state, f"{modules.format(0)}0.6.weight", 1)
    outputs = size(state, f"decoder.{blocks - 1}.1.convtrs.0.weight", 1)
    width = size(state, "separation_net.dp_modules.0.linear_layers.0.weight", 1)
    embedded = size(state, "pos_embed_f", 2)
    return told(
        masked=embedded is not None if outputs else None,
        sources=outputs and outputs // STEREO_PARTS,
        dims=(size(state, compression.format(0, 0), 1), *dims),
        n_fft=embedded and 2 * (embedded - 1),
        band_kernels=tuple(size(state, compression.format(0, band), 2) for band in range(3)),
        conv_depths=tuple(count(state, modules.format(band)) for band in range(3)),
        compress=dims[0] // hidden if hidden and dims[0] and dims[0] % hidden == 0 else None,
        conv_kernel=size(state, f"{modules.format(0)}0.1.weight", 2),
        num_dplayer=count(state, "separation_net.dp_modules."),
        expand=width // (2 * dims[-1]) if width and dims[-1] else None,
    )


class ScNetSettings(ScNetLayout):
    """`registry.TrainingSettings` of an SCNet; its authors trained with mixtures of 11 s and `loss: rmse`, whose
    gradient is that of their error of the complex spectrograms."""

    architecture: Literal["scnet"] = "scnet"
    sources: Annotated[tuple[Name, ...], Field(min_length=1), expecting("a list of at least one name")]
    segment_seconds: Positive

    @model_validator(mode="after")
    def _check_segment(self) -> "ScNetSettings":
        if self.example_samples <= self.n_fft // 2:
            raise problem(
                f"expected more than n_fft/2 samples, found {self.segment_seconds}", "segment_seconds"
            )
        return self

    @property
    def parameters(self) -> ScNetParameters:
        layers = {name: getattr(self, name) for name in ScNetLayout.model_fields}
        samples = self.example_samples
        return ScNetParameters(**layers, chunk_samples=samples, fade_samples=samples // 10)

    @property
    def example_samples(self) -> int:
        return int(self.segment_seconds * MODEL_SAMPLE_RATE)

    def build(self) -> torch.nn.Module:
        return ScNet(self, len(self.sources))

    def parameter_groups(self, network: torch.nn.Module) -> list[dict[str, Any]]:
        return [{"params": list(network.parameters()), "scale": 1.0}]

    def chunk_model(self, network: torch.nn.Module, device: torch.device) -> WaveformModel:
        assert isinstance(network, ScNet)
        return chunk_model(network, self.sources, self.parameters, device, torch.float32)

    def read_weights(self, path: Path, checkpoint: Checkpoint) -> Mapping[str, Tensor]:
        return _open(checkpoint, path)[0].state_dict()

    def export(
        self, network: torch.nn.Module, folder: Path, name: str, record: Mapping[str, Any]
    ) -> tuple[Path, Mapping[str, Any]]:
        """Write `name`.safetensors in float16."""
        path = folder / f"{name}.safetensors"
        state = {key: value.half().contiguous() for key, value in network.state_dict().items()}
        path.write_bytes(save(state, {"record": json.dumps(record)}))  # save_file lets nobody else read it
        return path, self.parameters.model_dump(mode="json")


register(
    Architecture(
        "scnet",
        (*PICKLES, ".safetensors"),
        load,
        ScNetParameters,
        training=ScNetSettings,
        piece_of_work=piece_of_work,
    )
)
