"""MDX-Net checkpoints (ONNX) as callables on chunks: STFT, network on spectrograms, inverse STFT."""

import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import onnxruntime
import torch
from pydantic import Field, model_validator
from torch import Tensor

from my_submission.models.onnx_file import check_model
from my_submission.models.onnx_network import OnnxNetwork, UnsupportedGraph
from my_submission.models.precision import computing
from my_submission.models.tfc_tdf import TfcTdfConfig, TfcTdfNet, export_onnx
from my_submission.registry import Architecture, register
from my_submission.schema import Fft, Name, Record, Whole, at_most, brief, expecting, one_of, problem
from my_submission.signal.audio import MODEL_SAMPLE_RATE
from my_submission.signal.chunking import Geometry
from my_submission.weights import Checkpoint, WeightsError
from my_submission.weights.errors import first_sentence
from my_submission.weights.store import is_vouched

log = logging.getLogger(__name__)

_BYTES_PER_BIN, _BYTES_PER_BIN_LOWER = 1600, 950
"""Per frame and bin of the spectrogram, measured on Kim_Vocal_1: ONNX Runtime in float32, torch in bfloat16."""

LEAST_FRAMES = 64
"""The published networks halve the frames up to six times, so they need a multiple of this."""

Network = Callable[[Tensor], Tensor]
"""(batch, 4, dim_f, dim_t) float32 -> the target's spectrogram, the same shape."""


@dataclass(frozen=True)
class Spectrogram:
    """The networks' view of audio (kuielab/mdx-net): a centred STFT with a periodic Hann window, the lowest `dim_f`
    bins, and the channels left real, left imaginary, right real, right imaginary."""

    n_fft: int
    dim_f: int
    dim_t: int
    hop: int = 1024

    @property
    def samples(self) -> int:
        """What `dim_t` frames cover."""
        return self.hop * (self.dim_t - 1)

    def forward(self, chunks: Tensor) -> Tensor:
        """(batch, 2, samples) -> (batch, 4, dim_f, dim_t)."""
        batch = chunks.shape[0]
        spectrum = torch.stft(
            chunks.reshape(batch * 2, self.samples),
            self.n_fft,
            self.hop,
            window=torch.hann_window(self.n_fft, device=chunks.device),
            center=True,
            return_complex=True,
        )
        parts = torch.view_as_real(spectrum[:, : self.dim_f])  # (batch · 2, dim_f, dim_t, real and imaginary)
        parts = parts.reshape(batch, 2, self.dim_f, self.dim_t, 2).permute(0, 1, 4, 2, 3)
        return parts.reshape(batch, 4, self.dim_f, self.dim_t)

    def inverse(self, spectrograms: Tensor) -> Tensor:
        """(batch, 4, dim_f, dim_t) -> (batch, 2, samples); the bins from dim_f on are zero."""
        batch = spectrograms.shape[0]
        parts = spectrograms.reshape(batch, 2, 2, self.dim_f, self.dim_t).permute(0, 1, 3, 4, 2)
        spectrum = torch.view_as_complex(parts.reshape(batch * 2, self.dim_f, self.dim_t, 2).contiguous())
        spectrum = torch.nn.functional.pad(spectrum, (0, 0, 0, self.n_fft // 2 + 1 - self.dim_f))
        chunks = torch.istft(
            spectrum,
            self.n_fft,
            self.hop,
            window=torch.hann_window(self.n_fft, device=spectrograms.device),
            center=True,
            length=self.samples,
        )
        return chunks.reshape(batch, 2, self.samples)


@dataclass(frozen=True)
class Treatment:
    """What programs do differently around the same network. The defaults are those of its authors and of the released
    ensembles; Ultimate Vocal Remover zeroes three bins, blends with Hann windows and has a gain for each file.

    compensate: a gain of the estimates. zero_low_bins: how many of the lowest bins the network gets as zeros.
    window: None: n_fft/2 samples at both ends of a chunk are read and discarded. "hann": whole chunks are blended,
        each with a Hann window, the first one beginning n_fft/2 samples before the track; overlap is of whole chunks.
    """

    compensate: float = 1.0
    zero_low_bins: int = 0
    window: Literal["hann"] | None = None


class MdxNetModel:
    """An MDX-Net network with its STFT.

    sources: its one target.
    geometry: a short chunk is read from its start, with the zeros beyond the track (the published scheme: pad, chunk,
        trim, concatenate); the rest is as the treatment says.
    """

    def __init__(
        self,
        network: Network,
        sources: tuple[str, ...],
        spectrogram: Spectrogram,
        device: torch.device,
        dtype: torch.dtype = torch.float32,
        treatment: Treatment = Treatment(),
    ) -> None:
        """dtype: what the network computes in."""
        self.sources = sources
        bytes_per_bin = _BYTES_PER_BIN if dtype == torch.float32 else _BYTES_PER_BIN_LOWER
        self.bytes_per_sample = bytes_per_bin * spectrogram.dim_f // spectrogram.hop
        ends = spectrogram.n_fft // 2
        if treatment.window is None:
            self.geometry = Geometry(spectrogram.samples - 2 * ends, margin_samples=ends, short_chunk="start")
        else:
            self.geometry = Geometry(
                spectrogram.samples, window=treatment.window, lead_samples=ends, short_chunk="start"
            )
        self._network = network
        self._treatment = treatment
        self._spectrogram = spectrogram
        self._device, self._dtype = device, dtype

    def __call__(self, chunks: Tensor) -> Tensor:
        """(batch, 2, samples) float32 -> (batch, 1, 2, samples) float32 on the device."""
        with torch.inference_mode(), computing(self._device, self._dtype):
            spectrograms = self._spectrogram.forward(chunks.to(self._device))
            spectrograms[:, :, : self._treatment.zero_low_bins] = 0
            estimates = self._spectrogram.inverse(self._network(spectrograms))[:, None]
            return estimates * self._treatment.compensate


LARGEST_CHUNK_SAMPLES = 600 * MODEL_SAMPLE_RATE
LARGEST_GAIN = 100.0


class StftSizes(Record):
    """Parameters of the STFT, see `Spectrogram`."""

    n_fft: Fft
    dim_f: Whole
    dim_t: Whole
    hop: Whole

    @model_validator(mode="after")
    def _check_chunk(self) -> "StftSizes":
        if self.dim_f > self.n_fft // 2 + 1:
            raise problem(f"expected at most n_fft/2 + 1, found {brief(self.dim_f)}", "dim_f")
        if self.hop > self.n_fft:
            raise problem(f"expected at most n_fft, found {brief(self.hop)}", "hop")
        samples = self.hop * (self.dim_t - 1)
        if not self.n_fft < samples <= LARGEST_CHUNK_SAMPLES:
            raise problem(
                f"expected a chunk, hop · (dim_t − 1), longer than n_fft and of at most {LARGEST_CHUNK_SAMPLES:,}"
                f" samples, found {brief(samples)}",
                "dim_t",
            )
        return self

    @property
    def spectrogram(self) -> Spectrogram:
        return Spectrogram(self.n_fft, self.dim_f, self.dim_t, self.hop)


class MdxNetParameters(StftSizes):
    """And what is done around the network, see `Treatment`."""

    compensate: Annotated[
        float, Field(gt=0), expecting("a gain, a number above 0"), at_most(LARGEST_GAIN)
    ] = 1.0
    zero_low_bins: Annotated[int, Field(ge=0), expecting("a whole number, 0 or more")] = 0
    window: Annotated[Literal["hann"], one_of(("hann",))] | None = None

    @model_validator(mode="after")
    def _check_bins(self) -> "MdxNetParameters":
        if self.zero_low_bins > self.dim_f:
            raise problem(f"expected at most dim_f, found {brief(self.zero_low_bins)}", "zero_low_bins")
        return self

    @property
    def treatment(self) -> Treatment:
        return Treatment(self.compensate, self.zero_low_bins, self.window)


def load(
    checkpoint: Checkpoint,
    path: Path,
    device: torch.device,
    dtype: torch.dtype,
    needed: Collection[str] | None = None,
) -> MdxNetModel:
    """Open an ONNX checkpoint (`registry.Loader`): in torch; float32 on the CPU in ONNX Runtime, unless Winograd's
    algorithm makes torch the faster one.

    A graph with operators that `onnx_network` does not know runs in ONNX Runtime on any device, in float32.
    needed: has no effect, since an MDX-Net has one source.
    Raises WeightsError if the file is not the network that its row describes, RuntimeError if ONNX Runtime is needed
    on a GPU and cannot use it.
    """
    parameters = checkpoint.parameters
    assert isinstance(parameters, MdxNetParameters)
    if not is_vouched(checkpoint, path):
        check_model(path)
    spectrogram = parameters.spectrogram
    network, shape = _open(path, device, dtype)
    expected = (4, spectrogram.dim_f, spectrogram.dim_t)
    if shape[1:] != expected:
        raise WeightsError(f"{path}: expected an input of shape (batch, {expected}), found {shape}")
    return MdxNetModel(network, checkpoint.sources, spectrogram, device, dtype, parameters.treatment)


def _open(path: Path, device: torch.device, dtype: torch.dtype) -> tuple[Network, tuple[int, ...]]:
    """A network, in what runs it fastest, and its input's shape."""
    plain = device.type == "cpu" and dtype == torch.float32
    try:
        network = OnnxNetwork(path, device, dtype)
    except UnsupportedGraph as reason:
        if not plain:
            log.warning("%s; running it in ONNX Runtime, in float32", reason)
        return _open_session(path, device)
    if plain and not network.fewer_products:
        return _open_session(path, device)
    return network, network.input_shape


def piece_of_work(
    checkpoint: Checkpoint, path: Path, device: torch.device, dtype: torch.dtype
) -> Callable[[float], object] | None:
    """A call that runs a checkpoint's network on noise in torch, over a share of a chunk but at least LEAST_FRAMES
    (ONNX Runtime takes only whole chunks). None for a graph that torch cannot run: it has no lower precision.
    """
    assert isinstance(checkpoint.parameters, MdxNetParameters)
    if not is_vouched(checkpoint, path):
        check_model(path)
    frames = checkpoint.parameters.dim_t
    try:
        network = OnnxNetwork(path, device, dtype)
    except UnsupportedGraph:
        return None

    def run(share: float) -> Tensor:
        count = min(frames, max(LEAST_FRAMES, int(share * frames)))
        noise = torch.randn(1, *network.input_shape[1:3], count, generator=torch.Generator().manual_seed(0))
        with torch.inference_mode(), computing(device, dtype):
            estimates: Tensor = network(noise)
        return estimates

    return run


def _open_session(path: Path, device: torch.device) -> tuple[Network, tuple[int, ...]]:
    """The network in ONNX Runtime, and its input's shape. One thread: chunks run side by side instead."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4  # what goes wrong is raised, and said once
    options.enable_cpu_mem_arena = False  # each session's arena would keep 5 GB (benchmarks/README.md)
    providers: list[Any] = ["CPUExecutionProvider"]
    if device.type == "cuda":
        onnxruntime.preload_dlls()  # the CUDA libraries that torch's wheels bring
        providers = [("CUDAExecutionProvider", {"device_id": device.index or 0, "use_tf32": 0})]
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # ONNX Runtime raises a dozen unrelated classes for an unreadable file
        raise WeightsError(f"{path}: ONNX Runtime cannot open it: {first_sentence(error)}") from error
    if device.type == "cuda" and "CUDAExecutionProvider" not in session.get_providers():
        raise RuntimeError(
            f"{path}: torch runs on {device} but ONNX Runtime {onnxruntime.__version__} got only "
            f"{session.get_providers()}; uninstall `onnxruntime` if it is installed beside `onnxruntime-gpu`, "
            f"and install `onnxruntime-gpu` with the CUDA and cuDNN versions it needs"
        )
    if len(session.get_inputs()) != 1 or len(session.get_outputs()) != 1:
        raise WeightsError(f"{path}: expected one input and one output")
    node, output = session.get_inputs()[0], session.get_outputs()[0]
    if any(
        isinstance(made, int) and made != read
        for made, read in zip(output.shape[1:], node.shape[1:], strict=False)
    ):
        raise WeightsError(
            f"{path}: expected an output of the input's shape {node.shape}, found {output.shape}"
        )

    def run(spectrograms: Tensor) -> Tensor:
        try:
            estimates = session.run([output.name], {node.name: spectrograms.cpu().numpy()})[0]
        except Exception as error:  # as above
            raise WeightsError(f"{path}: ONNX Runtime cannot run it: {first_sentence(error)}") from error
        return torch.from_numpy(estimates).to(device)

    return run, tuple(node.shape)


OUTPUT_SCALE = 8.0
"""Bins of a spectrogram reach hundreds where samples reach 1. So the last layer's weights start this much larger than
the others', and learn this much faster; otherwise it would take thousands of steps to reach that level."""


class MdxNet(torch.nn.Module):
    """The TFC-TDF U-Net between an STFT and its inverse, as it is trained."""

    def __init__(self, settings: "MdxNetSettings") -> None:
        super().__init__()
        self.network = TfcTdfNet(settings.network)
        with torch.no_grad():
            self.network.final.weight.mul_(OUTPUT_SCALE)
        self.spectrogram = settings.parameters.spectrogram

    def forward(self, mixtures: Tensor) -> Tensor:
        """(batch, 2, samples) -> (batch, 1, 2, samples) float32."""
        with torch.autocast(mixtures.device.type, enabled=False):
            spectrograms = self.spectrogram.forward(mixtures)
        estimates = self.network(spectrograms)
        with torch.autocast(mixtures.device.type, enabled=False):
            return self.spectrogram.inverse(estimates.float())[:, None]


class MdxNetSettings(StftSizes):
    """`registry.TrainingSettings` of an MDX-Net: its target, its STFT, its U-Net's size."""

    architecture: Literal["mdx_net"] = "mdx_net"
    target: Name
    hop: Whole = 1024
    blocks: Whole = 11
    convolutions: Whole = 3
    growth: Whole = 48
    bottleneck: Whole = 8

    @model_validator(mode="after")
    def _check_shape(self) -> "MdxNetSettings":
        if self.dim_t % self.network.multiple:
            raise problem(f"expected a multiple of {self.network.multiple}, found {self.dim_t}", "dim_t")
        return self

    @property
    def sources(self) -> tuple[str, ...]:
        return (self.target,)

    @property
    def network(self) -> TfcTdfConfig:
        return TfcTdfConfig(self.dim_f, self.blocks, self.convolutions, self.growth, self.bottleneck)

    @property
    def parameters(self) -> MdxNetParameters:
        return MdxNetParameters(n_fft=self.n_fft, dim_f=self.dim_f, dim_t=self.dim_t, hop=self.hop)

    @property
    def example_samples(self) -> int:
        return self.spectrogram.samples

    def build(self) -> torch.nn.Module:
        return MdxNet(self)

    def parameter_groups(self, network: torch.nn.Module) -> list[dict[str, Any]]:
        assert isinstance(network, MdxNet)
        last = list(network.network.final.parameters())
        others = [value for value in network.parameters() if all(value is not other for other in last)]
        return [{"params": others, "scale": 1.0}, {"params": last, "scale": OUTPUT_SCALE}]

    def chunk_model(self, network: torch.nn.Module, device: torch.device) -> MdxNetModel:
        assert isinstance(network, MdxNet)
        return MdxNetModel(network.eval().network, self.sources, network.spectrogram, device)

    def read_weights(self, path: Path, checkpoint: Checkpoint) -> Mapping[str, Tensor]:
        raise WeightsError(
            f"{path}: an ONNX file has its BatchNorm folded; continue from a run instead (start_run)"
        )

    def export(
        self, network: torch.nn.Module, folder: Path, name: str, record: Mapping[str, Any]
    ) -> tuple[Path, Mapping[str, Any]]:
        """Write `name`.onnx."""
        assert isinstance(network, MdxNet)
        path = folder / f"{name}.onnx"
        export_onnx(network.network, path, self.dim_t)
        return path, self.parameters.model_dump(exclude_unset=True)


register(
    Architecture(
        "mdx_net",
        (".onnx",),
        load,
        MdxNetParameters,
        training=MdxNetSettings,
        sources=1,
        piece_of_work=piece_of_work,
    )
)
