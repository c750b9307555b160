"""Demucs checkpoints of all versions as callables on chunks."""

import hashlib
import inspect
import io
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Annotated, Any, Literal, cast

import torch
from demucs.demucs import Demucs
from demucs.htdemucs import HTDemucs
from pydantic import Field, field_validator
from torch import Tensor

from my_submission.models.dconv import fold_dconv
from my_submission.models.demucs_file import (
    CHANNELS,
    RENAMED_SOURCES,
    DemucsParameters,
    Network,
    SegmentSeconds,
    load_torch,
    number_problem,
)
from my_submission.models.demucs_v2 import DemucsV2
from my_submission.models.htdemucs import FastHTDemucs, supported
from my_submission.models.precision import computing
from my_submission.registry import Architecture, register
from my_submission.schema import Name, Record, allowed_text, expecting, problem
from my_submission.signal.audio import MODEL_SAMPLE_RATE
from my_submission.signal.chunking import Geometry
from my_submission.weights import Checkpoint, UnsafeFile
from my_submission.weights.errors import first_sentence
from my_submission.weights.store import is_vouched

_BYTES_PER_SAMPLE_AND_CHANNEL = 45
"""Measured on full-size networks with glibc's allocator: 28 (hdemucs_mmi in bfloat16) to 45 (htdemucs_6s)."""

_TRIED_SAMPLES = 4_410
_MOST_SAMPLES = 10 * MODEL_SAMPLE_RATE
"""That a network may read for so few; released ones read 8,874."""

LEAST_SAMPLES = 5
"""Fewer samples leave one value per channel after the first strided layers, which HDemucs cannot normalise."""


class DemucsModel:
    """A Demucs network of any version in evaluation mode on one device.

    sources: those computed, in the network's own order and the challenge's terms.
    bytes_per_sample: follows from the channels of its first layer.
    geometry: the training segment. An HTDemucs trained with `use_train_segment` takes nothing else, so short chunks
        are read with their surroundings. A network over the waveform alone reads each chunk with as much around it
        as its layers lose; any other network runs at a chunk's own length.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        sources: tuple[str, ...],
        device: torch.device,
        dtype: torch.dtype,
        needed: Collection[str] | None = None,
    ) -> None:
        """Takes over the network: on the CPU, faster modules of the given dtype replace it or parts of it.

        sources: all that the network has. needed: those to compute, by default all.
        """
        kept: Sequence[int] = range(len(sources))
        if needed is not None and _sources_are_apart(network):
            kept = [place for place, source in enumerate(sources) if source in needed]
            _keep_sources(network, kept)
        self.sources = tuple(sources[place] for place in kept)
        fixed = isinstance(network, HTDemucs) and network.use_train_segment
        self.geometry = Geometry(
            chunk_samples=int(MODEL_SAMPLE_RATE * _segment_seconds(network)),
            short_chunk="centre" if fixed else "as_is",
            least_samples=LEAST_SAMPLES,
            valid_length=_valid_length(network),
        )
        self.bytes_per_sample = _BYTES_PER_SAMPLE_AND_CHANNEL * cast("int", network.channels)
        if device.type == "cpu":
            if supported(network):
                network = FastHTDemucs(network, dtype)
            else:
                fold_dconv(network)
                _cast_weights(network, dtype)
        self._autocast = dtype != torch.float32 and not isinstance(network, FastHTDemucs)
        self._network = network.to(device).eval()
        self._device = device
        self._dtype = dtype

    def __call__(self, chunks: Tensor) -> Tensor:
        """(batch, channels, samples) float32 -> (batch, sources, channels, samples) float32 on the device.

        In lower precision the network's layers run in it; its STFT, normalisation statistics and inverse STFT
        stay in float32 (autocast leaves them there).
        """
        with (
            torch.inference_mode(),
            computing(self._device, self._dtype),
            torch.autocast(self._device.type, self._dtype, enabled=self._autocast),
        ):
            estimates: Tensor = self._network(chunks.to(self._device))
        return estimates.float()


def load(
    checkpoint: Checkpoint,
    path: Path,
    device: torch.device,
    dtype: torch.dtype,
    needed: Collection[str] | None = None,
) -> DemucsModel:
    """Open a `.th` or `.safetensors` checkpoint (`registry.Loader`)."""
    network = load_torch(path, checkpoint)
    if not is_vouched(checkpoint, path):
        _check_runs(path, network, checkpoint.sources)
    return DemucsModel(network, checkpoint.sources, device, dtype, needed)


def _check_runs(path: Path, network: Network, sources: tuple[str, ...]) -> None:
    """Refuse a network whose layers do not fit together: neither its constructor nor its tensors' shapes tell."""
    valid_length = _valid_length(network)
    samples = valid_length(_TRIED_SAMPLES) if valid_length else _TRIED_SAMPLES
    if samples > _MOST_SAMPLES:
        raise UnsafeFile(
            f"{path}: its network reads {samples:,} samples at least, expected {_MOST_SAMPLES:,} at most"
        )
    noise = 0.1 * torch.randn(1, CHANNELS, samples, generator=torch.Generator().manual_seed(0))
    expected = (1, len(sources), *noise.shape[1:])
    fixed, network.use_train_segment = getattr(network, "use_train_segment", False), False
    try:
        with torch.inference_mode():
            estimates = network(noise)
    except Exception as error:  # whatever layers raise for arguments that nobody has tried
        raise UnsafeFile(f"{path}: its network cannot run: {first_sentence(error)}") from error
    finally:
        network.use_train_segment = fixed
    if tuple(estimates.shape) != expected or not estimates.isfinite().all():
        raise UnsafeFile(
            f"{path}: its network makes estimates of shape {tuple(estimates.shape)},"
            f" expected finite ones of {expected}"
        )


def piece_of_work(
    checkpoint: Checkpoint, path: Path, device: torch.device, dtype: torch.dtype
) -> Callable[[float], object]:
    """A call that runs a checkpoint's network on noise, over a share of its chunk."""
    network = load_torch(path, checkpoint)
    if isinstance(network, HTDemucs):
        network.use_train_segment = False  # or a share would be padded to a full chunk
    model = DemucsModel(network, checkpoint.sources, device, dtype)
    channels = cast("int", network.audio_channels)

    def run(share: float) -> Tensor:
        samples = max(LEAST_SAMPLES, int(share * model.geometry.chunk_samples))
        return model(0.1 * torch.randn(1, channels, samples, generator=torch.Generator().manual_seed(0)))

    return run


def _valid_length(network: torch.nn.Module) -> Callable[[int], int] | None:
    """What a network over the waveform alone reads for a chunk of so many samples."""
    return network.valid_length if isinstance(network, Demucs | DemucsV2) else None


def _last_layers(network: torch.nn.Module) -> list[torch.nn.Module]:
    """The last layers of the branches, which give each source a spectrogram, a waveform, or both."""
    branches = [cast("torch.nn.ModuleList", network.decoder)]
    if not isinstance(network, Demucs | DemucsV2):
        branches.append(cast("torch.nn.ModuleList", network.tdecoder))
    return [branch[-1] for branch in branches]


def _last_convolution(layer: Any) -> torch.nn.ConvTranspose1d | torch.nn.ConvTranspose2d:
    found = layer[-1] if isinstance(layer, torch.nn.Sequential) else layer.conv_tr
    return cast("torch.nn.ConvTranspose1d | torch.nn.ConvTranspose2d", found)


def _sources_are_apart(network: torch.nn.Module) -> bool:
    """Whether no source's estimate depends on another's: no Wiener filter and no normalisation comes after."""
    if isinstance(network, Demucs | DemucsV2):
        return True
    apart = all(isinstance(layer.norm2, torch.nn.Identity) for layer in _last_layers(network))
    return apart and bool(network.cac)


def _keep_sources(network: torch.nn.Module, kept: Sequence[int]) -> None:
    """Make a network compute only some of its sources, in place, by dropping channels of its last layers."""
    sources = cast("list[str]", network.sources)
    for layer in _last_layers(network):
        convolution = _last_convolution(layer)
        channels = convolution.out_channels // len(sources)
        chosen = torch.tensor([place * channels + i for place in kept for i in range(channels)])
        convolution.weight = torch.nn.Parameter(convolution.weight.detach()[:, chosen])
        assert convolution.bias is not None
        convolution.bias = torch.nn.Parameter(convolution.bias.detach()[chosen])
        convolution.out_channels = len(chosen)
    cast("Any", network).sources = [sources[place] for place in kept]


def _cast_weights(network: torch.nn.Module, dtype: torch.dtype) -> None:
    """Cast in advance what autocast would cast at every call; other layers stay float32."""
    layers = torch.nn.modules.conv._ConvNd, torch.nn.Linear
    for module in network.modules():
        if isinstance(module, layers):
            module.to(dtype)


def _segment_seconds(network: torch.nn.Module) -> Fraction | float:
    return cast("Fraction | float", network.segment)


_GIVEN = {"sources", "segment", "samplerate", "audio_channels"}
_ARGUMENTS = set(inspect.signature(HTDemucs).parameters) - _GIVEN


class HTDemucsSettings(Record):
    """`registry.TrainingSettings` of an HTDemucs: `arguments` are those of `demucs.htdemucs.HTDemucs`."""

    architecture: Literal["htdemucs"] = "htdemucs"
    sources: Annotated[tuple[Name, ...], Field(min_length=1), expecting("a list of at least one name")]
    segment_seconds: SegmentSeconds
    arguments: Mapping[str, Any] = {}

    @field_validator("arguments")
    @classmethod
    def _check_arguments(cls, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
        for key in arguments:
            if key not in _ARGUMENTS:
                raise problem(f"unknown key {key!r}; {allowed_text(key, _ARGUMENTS)}")
            if wrong := number_problem(key, arguments[key]):
                raise problem(wrong, key)
        return arguments

    @field_validator("sources")
    @classmethod
    def _check_sources(cls, sources: tuple[str, ...]) -> tuple[str, ...]:
        for source in sources:
            if source in RENAMED_SOURCES:  # in a file, and so a row of that name would not be the file's
                raise problem(f"found {source!r}, which is called {RENAMED_SOURCES[source]!r} here")
        return sources

    @property
    def example_samples(self) -> int:
        return int(self.segment_seconds * MODEL_SAMPLE_RATE)

    def build(self) -> torch.nn.Module:
        network: torch.nn.Module = HTDemucs(
            list(self.sources),
            samplerate=MODEL_SAMPLE_RATE,
            segment=self.segment_seconds,
            **self.arguments,
        )
        return network

    def parameter_groups(self, network: torch.nn.Module) -> list[dict[str, Any]]:
        return [{"params": list(network.parameters()), "scale": 1.0}]

    def chunk_model(self, network: torch.nn.Module, device: torch.device) -> DemucsModel:
        return DemucsModel(network.eval(), self.sources, device, torch.float32)

    def read_weights(self, path: Path, checkpoint: Checkpoint) -> Mapping[str, Tensor]:
        state: dict[str, Tensor] = load_torch(path, checkpoint).state_dict()
        return state

    def export(
        self, network: torch.nn.Module, folder: Path, name: str, record: Mapping[str, Any]
    ) -> tuple[Path, Mapping[str, Any]]:
        """Write `{klass, args, kwargs, state (fp16), training_args}`.

        The file's name is `<8 digits of the record>-<8 digits of the file>.th` (SHA-256).
        """
        arguments, keywords = cast("Any", network)._init_args_kwargs
        package = {
            "klass": HTDemucs,
            "args": arguments,
            "kwargs": keywords,
            "state": {key: value.half() for key, value in network.state_dict().items()},
            "training_args": dict(record),
        }
        buffer = io.BytesIO()
        torch.save(package, buffer)
        signature = hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()[:8]
        path = folder / f"{signature}-{hashlib.sha256(buffer.getvalue()).hexdigest()[:8]}.th"
        path.write_bytes(buffer.getvalue())
        return path, {}


SUFFIXES = (".th", ".safetensors")
register(
    Architecture(
        "htdemucs", SUFFIXES, load, DemucsParameters, training=HTDemucsSettings, piece_of_work=piece_of_work
    )
)
register(Architecture("hdemucs", SUFFIXES, load, DemucsParameters, piece_of_work=piece_of_work))
# Those over the waveform alone change its rate at their ends, where lower precision would round the waveform itself.
register(Architecture("demucs_v3", SUFFIXES, load, DemucsParameters, lower_precision=False))
register(Architecture("demucs_v2", SUFFIXES, load, DemucsParameters, lower_precision=False))
register(Architecture("demucs_v1", (".th", ".th.gz"), load, DemucsParameters, lower_precision=False))
