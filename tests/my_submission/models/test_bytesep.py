"""ByteSep's networks are those of the package `bytesep` 0.1.1, sub-bands and transform included.

In double precision they agree to 130 dB and more. In float32 the package itself is about 66 dB from its own double
precision, since it divides by magnitudes of almost nothing.
"""

import importlib
import importlib.util
import sys
import types
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.io import savemat
from scipy.signal import get_window
from torch import Tensor, nn

from my_submission.models.bytesep import LEVELS, ByteSep, FilterBank, Size, told_by
from my_submission.models.waveforms import WaveformModel
from my_submission.runtime.inference import estimate_track
from my_submission.runtime.pool import load_model
from my_submission.signal.augment import Augmentation
from my_submission.signal.chunking import reader
from my_submission.weights import Checkpoint, WeightsError, load_manifest
from tests.lower_precision import CPU, agreement

pytestmark = pytest.mark.processor

SIZES = [Size(True, (2, 3, 4, 4, 5, 6)), Size(False, (4, 6, 6, 6, 8, 8))]
MOBILE = Size(False, (32, 64, 64, 64, 64, 64))
LARGE = Size(True, (32, 64, 128, 256, 384, 384))


def random(network: nn.Module, seed: int) -> nn.Module:
    """Statistics and offsets of its norms included; sub-bands of noise, too."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in [*network.named_parameters(), *network.named_buffers()]:
        if name.endswith("running_var"):
            value.data.uniform_(0.5, 1.5, generator=generator)
        elif name.startswith(("stft", "istft")) or not value.is_floating_point():
            continue
        elif value.dim() == 1:
            value.data.normal_(0.3, 0.3, generator=generator)
        else:
            value.data.normal_(0, 1 / value[0].numel() ** 0.5, generator=generator)
    return network.eval()


def noise(samples: int) -> Tensor:
    return 0.1 * torch.randn(2, samples, generator=torch.Generator().manual_seed(samples))


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """A function that imports a module of the package, without the package's own beginning, which needs
    Lightning. Filters are random, so that none is fetched; librosa's functions are scipy's or do nothing here."""
    found = importlib.util.find_spec("bytesep")
    if found is None or importlib.util.find_spec("torchlibrosa") is None:
        pytest.skip("the reference packages bytesep and torchlibrosa are not here")
    home = tmp_path_factory.mktemp("home")
    filters = home / "bytesep_data" / "filters"
    filters.mkdir(parents=True)
    for letter in "fh":
        savemat(filters / f"{letter}_4_64.mat", {letter: np.zeros((4, 64))})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        patch.setitem(sys.modules, "librosa", small_librosa())
        root = Path(str((found.submodule_search_locations or [""])[0]))
        for name in ("bytesep", "bytesep.models"):
            module = types.ModuleType(name)
            module.__path__ = [str(root.joinpath(*name.split(".")[1:]))]
            patch.setitem(sys.modules, name, module)
        yield lambda name: importlib.import_module(f"bytesep.{name}")
    for name in [name for name in sys.modules if name.startswith(("bytesep", "torchlibrosa"))]:
        del sys.modules[name]


def small_librosa() -> types.ModuleType:
    librosa: Any = types.ModuleType("librosa")
    librosa.filters = types.SimpleNamespace(
        get_window=lambda name, length, fftbins: get_window(name, length, fftbins)
    )
    librosa.util = types.SimpleNamespace(
        pad_center=lambda window, size: window, normalize=lambda window, norm: window
    )
    return librosa  # type: ignore[no-any-return]


def cut_down(package: Any, of: Size) -> nn.Module:
    """The package's network of that kind, with its own blocks, but other widths."""
    module = package(f"models.{'resunet' if of.residual else 'mobilenet'}_subbandtime")
    kind = module.ResUNet143_Subbandtime if of.residual else module.MobileNet_Subbandtime
    encoder = module.EncoderBlockRes4B if of.residual else module.MobileNetEncoderBlock
    decoder = module.DecoderBlockRes4B if of.residual else module.MobileNetDecoderBlock
    network = kind.__new__(kind)
    nn.Module.__init__(network)
    network.input_channels = network.output_channels = 2
    network.target_sources_num, network.subbands_num, network.K, network.time_downsample_ratio = 1, 4, 4, 32
    network.pqmf = module.PQMF(N=4, M=64, project_root="")
    network.stft = module.STFT(n_fft=512, hop_length=110, win_length=512)
    network.istft = module.ISTFT(n_fft=512, hop_length=110, win_length=512)
    network.bn0 = nn.BatchNorm2d(257)
    widths, rest = (8, *of.widths), {"kernel_size": (3, 3), "activation": "leaky_relu", "momentum": 0.01}
    for level in range(1, LEVELS + 1):
        factors = (1, 2) if level == LEVELS else (2, 2)
        down = encoder(widths[level - 1], widths[level], downsample=factors, **rest)
        setattr(network, f"encoder_block{level}", down)
    for number in range(1, LEVELS + 1):
        outputs = widths[LEVELS + 1 - number]
        inputs = widths[-1] if number == 1 else widths[LEVELS + 2 - number]
        factors = (1, 2) if number == 1 else (2, 2)
        setattr(network, f"decoder_block{number}", decoder(inputs, outputs, upsample=factors, **rest))
    if of.residual:
        for letter in "abcd":
            centre = encoder(widths[-1], widths[-1], downsample=(1, 1), **rest)
            setattr(network, f"conv_block7{letter}", centre)
        network.after_conv_block1 = encoder(widths[1], widths[1], downsample=(1, 1), **rest)
    else:
        network.conv_block7 = module.MobileNetConvBlock(widths[-1], widths[-1], **rest)
        network.after_conv_block1 = module.MobileNetConvBlock(widths[1], widths[1], **rest)
    network.after_conv2 = nn.Conv2d(widths[1], 32, 1)
    return network  # type: ignore[no-any-return]


def without_transform(network: nn.Module) -> dict[str, Tensor]:
    return {
        name: value for name, value in network.state_dict().items() if not name.startswith(("stft", "istft"))
    }


def check(theirs: nn.Module, of: Size, samples: int) -> None:
    random(theirs, seed=1).double()
    state = without_transform(theirs)
    assert told_by(state) == of
    ours = ByteSep(of).double().eval()
    ours.load_state_dict(state)
    tracks = torch.stack([noise(samples), noise(samples + 1)[:, 1:]]).double()
    with torch.inference_mode():
        expected, made = theirs({"waveform": tracks})["waveform"], ours(tracks)
    assert made.shape == (2, 1, 2, samples)
    assert agreement(expected, made[:, 0]) > 120


@pytest.mark.thorough
@pytest.mark.parametrize("of", SIZES, ids=["resunet143", "mobilenet"])
def test_a_small_network_is_the_packages(of: Size, package: Any) -> None:
    check(cut_down(package, of), of, samples=8_000)


@pytest.mark.thorough
def test_a_mobilenet_of_true_size_is_the_packages(package: Any) -> None:
    theirs = package("models.mobilenet_subbandtime").MobileNet_Subbandtime(2, 2, 1)
    assert sum(value.numel() for value in theirs.parameters()) == 1_094_386
    assert len(theirs.state_dict()) == 570
    check(theirs, MOBILE, samples=4_000)


@pytest.mark.slow
def test_a_resunet143_of_true_size_is_the_packages(package: Any) -> None:
    theirs = package("models.resunet_subbandtime").ResUNet143_Subbandtime(2, 2, 1)
    assert sum(value.numel() for value in theirs.parameters()) == 103_360_434
    assert len(theirs.state_dict()) == 888
    check(theirs, LARGE, samples=4_000)


def perfect_filters() -> FilterBank:
    """Of which each band is every fourth sample: so synthesis is exactly the inverse of analysis."""
    bank = FilterBank()
    for filters in (bank.ana_conv_filter, bank.syn_conv_filter):
        filters.weight.data.zero_()
    for band in range(4):
        bank.ana_conv_filter.weight.data[band, 0, 60 + band] = 1
        bank.syn_conv_filter.weight.data[band, band, 0] = 1
    return bank


def test_synthesis_puts_samples_where_analysis_took_them() -> None:
    tracks = torch.stack([noise(400), noise(401)[:, 1:]])
    bank = perfect_filters()
    assert bank.analysis(tracks).shape == (2, 2, 4, 116)
    assert torch.equal(bank.synthesis(bank.analysis(tracks)), tracks)


def opened(folder: Path, network: nn.Module) -> WaveformModel:
    """From a file as it was published: under `model`, with a transform."""
    path = folder / "network.pth"
    torch.save({"model": {**network.state_dict(), "stft.conv_real.weight": torch.zeros(257, 1, 512)}}, path)
    model = load_model(row(path), path, CPU, torch.float32)
    assert isinstance(model, WaveformModel)
    return model


def row(path: Path) -> Checkpoint:
    published = load_manifest().checkpoints["mobilenet_vocals"]
    return replace(published, bytes=None, file=path.name)


def estimate(model: WaveformModel, track: Tensor) -> Tensor:
    pieces = estimate_track(model, reader(track), track.shape[-1], Augmentation(), 0.5)
    return torch.cat([piece[0] for _, piece in pieces], dim=-1)


@pytest.mark.slow
@pytest.mark.parametrize("steps", [0.1, 0.7, 0.9, 1.4, 2.1, 4.3])
def test_a_track_is_what_the_packages_separator_makes_of_it(
    steps: float, package: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With our network, to 90 dB; but not where the track reaches into the last quarter of a segment, as 0.9 does."""
    segment = 8_000
    monkeypatch.setattr("my_submission.models.bytesep.SEGMENT_SAMPLES", segment)
    network = random(ByteSep(SIZES[1]), 2)

    class Theirs(nn.Module):
        def forward(self, given: dict[str, Tensor]) -> dict[str, Tensor]:
            return {"waveform": network(given["waveform"])[:, 0]}

    separator = package("separator").Separator(Theirs(), segment, batch_size=1, device="cpu")
    track = noise(int(steps * segment))
    expected = torch.from_numpy(separator.separate({"waveform": track.numpy()}))
    made = estimate(opened(tmp_path, network), track)
    same = len(track[0]) if steps % 1 <= 0.75 else int((steps // 1 + 0.75) * segment)
    assert agreement(expected[:, :same], made[:, :same]) > 90


@pytest.mark.thorough
@pytest.mark.parametrize("samples", [1, 7_999, 8_001])
def test_tracks_of_any_length_have_estimates(
    samples: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("my_submission.models.bytesep.SEGMENT_SAMPLES", 8_000)
    made = estimate(opened(tmp_path, random(ByteSep(SIZES[1]), 2)), noise(samples))
    assert made.shape == (2, samples)
    assert made.isfinite().all()
    assert made.any()


@pytest.mark.thorough
def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        WeightsError, match=r"expected a network of bytesep \(resunet143 or mobilenet, sub-band\)"
    ):
        opened(tmp_path, nn.Linear(2, 2))
    broken = random(ByteSep(SIZES[0]), 3)
    broken.after_conv2 = nn.Conv2d(2, 8, 1)
    with pytest.raises(WeightsError, match=r"after_conv2.*describe shape \(32,\), found \(8,\)"):
        opened(tmp_path, broken)
