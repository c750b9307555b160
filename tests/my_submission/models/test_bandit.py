"""BandIt: equal to the reference package's networks; files of both versions, checked by name and by value."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from my_submission.models.bandit import BanditParameters
from my_submission.models.bandit.bands import bands_covering, musical_bands
from my_submission.models.bandit.gru import BidirectionalGru
from my_submission.models.bandit.network import Bandit
from my_submission.runtime.inference import estimate_track
from my_submission.runtime.pool import load_model
from my_submission.schema import validate
from my_submission.signal.augment import Augmentation
from my_submission.signal.chunking import reader
from my_submission.weights import Checkpoint, UnsafeFile, load_manifest
from tests.lower_precision import CPU, MARGIN_DB, agreement, autocast
from tests.reference_networks import module_of
from tests.small_networks import BANDIT, network_of, published_state, random_network, saved, small_row
from tests.thinned import one_in

pytestmark = pytest.mark.processor

NAMES = ("bandit", "bandit-v2")
PUBLISHED_BANDS = (
    "0-3 1-3 1-3 1-3 1-3 1-3 1-4 1-4 2-4 2-4 2-5 3-5 3-6 3-6 4-7 4-7 5-8 5-9 6-10 7-11 8-12 9-13 10-14 11-15 12-17 "
    "14-19 15-21 17-23 19-26 21-29 24-32 27-35 30-39 33-44 37-48 42-54 47-60 52-67 58-74 65-83 73-92 81-103 91-115 "
    "101-128 113-143 126-159 141-177 158-198 176-221 196-246 219-275 245-306 273-342 305-381 341-425 381-475 425-530 "
    "474-591 530-660 591-736 660-822 737-917 823-1024 918-1025"
)


def both(row: Checkpoint) -> tuple[Bandit, nn.Module]:
    """Our network and theirs, with the same weights, and the spectrum divided by what theirs divides it by."""
    ours, theirs = random_network(row), module_of(row)
    theirs.load_state_dict(published_state(row, ours))
    assert isinstance(ours, Bandit)
    ours.scale = math.sqrt(
        ours.layout.n_fft
    )  # torch.stft's idea of "normalized"; trained ones have torchaudio's
    return ours, theirs


def noise(samples: int, batch: int = 1) -> Tensor:
    return 0.1 * torch.randn(batch, 1, samples, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", one_in(2, NAMES))
@pytest.mark.parametrize("samples", one_in(3, [3_000, 300, 3_072]))
def test_it_is_the_reference_network(name: str, samples: int) -> None:
    ours, theirs = both(small_row(name, Path("x.ckpt")))
    with torch.inference_mode():
        assert agreement(theirs(noise(samples, 2)), ours(noise(samples, 2))) > 120


def test_the_spectrum_is_divided_as_in_training() -> None:
    """By the root of the sum of the squared window: quiet mixtures show it, through the norm of each band."""
    network = random_network(small_row("bandit", Path("x.ckpt")))
    assert isinstance(network, Bandit)
    assert network.scale == pytest.approx(torch.hann_window(512, dtype=torch.float64).square().sum().sqrt())
    quiet = 1e-3 * noise(3_000)
    before = network(quiet)
    network.scale = math.sqrt(512)
    assert agreement(before, network(quiet)) < 60


@pytest.mark.lower_precision
@pytest.mark.parametrize("name", one_in(2, NAMES))
def test_lower_precision_is_as_near_as_autocast(name: str) -> None:
    ours, theirs = both(small_row(name, Path("x.ckpt")))
    mixture = noise(3_000)
    with torch.inference_mode():
        expected = theirs(mixture)
    least = agreement(expected, autocast(theirs, mixture)) - MARGIN_DB
    assert agreement(expected, autocast(ours, mixture)) > least


@pytest.mark.lower_precision
def test_our_loop_is_torchs() -> None:
    torch.manual_seed(0)
    gru = BidirectionalGru(8, 12).eval()
    sequences = torch.randn(20, 5, 8)
    expected = gru(sequences).detach()  # with gradients: torch's own
    with torch.inference_mode():
        assert agreement(expected, gru(sequences)) > 110
    plain = nn.GRU(8, 12, bidirectional=True).eval()
    plain.load_state_dict(gru.state_dict())
    rounded = autocast(lambda inputs: plain(inputs)[0], sequences)
    assert agreement(expected, autocast(gru, sequences)) > agreement(expected, rounded) - MARGIN_DB


@pytest.mark.parametrize("sample_rate", [44_100, 48_000])
def test_bands_are_the_published_ones(sample_rate: int) -> None:
    bands = musical_bands(64, 2_048, sample_rate)
    assert " ".join(f"{band.start}-{band.stop}" for band in bands) == PUBLISHED_BANDS
    assert sum(map(len, bands)) == sum(bands_covering(bands))


@pytest.mark.parametrize("sample_rate", [16_000, 44_100, 48_000])
@pytest.mark.parametrize("n_fft", [64, 512, 2_048, 8_192])
@pytest.mark.parametrize("count", [1, 4, 12, 64])
def test_bands_of_any_size_are_the_reference_packages(count: int, n_fft: int, sample_rate: int) -> None:
    package = pytest.importorskip("pymss_core.modules.bandit.core.model.bsrnn.utils")
    bands = musical_bands(count, n_fft, sample_rate)
    theirs = package.MusicalBandsplitSpecification(nfft=n_fft, fs=sample_rate, n_bands=count)
    assert [(band.start, band.stop) for band in bands] == theirs.get_band_specs()
    assert min(map(len, bands)) > 0
    assert min(bands_covering(bands)) > 0


@pytest.mark.thorough
def test_channels_do_not_hear_each_other(tmp_path: Path) -> None:
    row = small_row("bandit", tmp_path / "x.ckpt")
    model = load_model(row, saved(row), CPU, torch.float32)
    signal = 0.1 * torch.randn(2, 5_000, generator=torch.Generator().manual_seed(0))

    def estimates(of: Tensor) -> Tensor:
        pieces = estimate_track(model, reader(of), of.shape[-1], Augmentation(), 0.5)
        return torch.cat([piece for _, piece in pieces], dim=-1)

    swapped = estimates(signal.flip(0))
    assert agreement(estimates(signal), swapped.flip(1)) > 110
    alone = torch.stack([signal[0], torch.zeros(5_000)])
    assert agreement(estimates(signal)[:, 0], estimates(alone)[:, 0]) > 110


@pytest.mark.thorough
@pytest.mark.parametrize("name", NAMES)
def test_sources_are_found_by_name(name: str, tmp_path: Path) -> None:
    """Whatever their order in the row, and whether it says speech or dialog."""
    row = small_row(name, tmp_path / "x.ckpt")
    path, mixture = saved(row), noise(3_000)
    expected = dict(
        zip(row.sources, load_model(row, path, CPU, torch.float32)(mixture).unbind(1), strict=True)
    )
    for sources in (("effect", "dialog", "music"), ("sfx", "speech", "music")):
        model = load_model(replace(row, sources=sources), path, CPU, torch.float32)
        assert model.sources == sources
        for known, estimate in zip(("effect", "dialog", "music"), model(mixture).unbind(1), strict=True):
            assert torch.equal(estimate, expected[known])


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Checkpoint]:
    """A row of each version, with its file."""
    made = {name: small_row(name, tmp_path_factory.mktemp(name) / "x.ckpt") for name in NAMES}
    for row in made.values():
        saved(row)
    return made


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"version": 2}, "version 2; the file has 1"),
        ({"n_fft": 1_024}, "n_fft 1024; the file has 512"),
        ({"n_bands": 16}, "n_bands 16; the file has 12"),
        ({"emb_dim": 16}, "emb_dim 16; the file has 8"),
        ({"n_sqm_modules": 3}, "n_sqm_modules 3; the file has 2"),
        ({"rnn_dim": 8}, "rnn_dim 8; the file has 12"),
        ({"mlp_dim": 8}, "mlp_dim 8; the file has 16"),
        ({"sources": ("dialog", "music")}, r"sources .*; the file has \('dialog', 'effect', 'music'\)"),
    ],
)
@pytest.mark.parametrize("name", NAMES)
def test_a_row_of_another_network_is_told_what_differs(
    name: str, change: dict[str, Any], complaint: str, rows: dict[str, Checkpoint]
) -> None:
    row = rows[name]
    path = row.path
    assert path is not None
    assert isinstance(row.parameters, BanditParameters)
    if "version" in change and name == "bandit-v2":
        change, complaint = {"version": 1}, "version 1; the file has 2"
    if "sources" in change:
        other = replace(row, **change)
    else:
        other = replace(row, parameters=row.parameters.model_copy(update=change))
    with pytest.raises(UnsafeFile, match=rf"x\.ckpt: its manifest row says {complaint}"):
        load_model(other, path, CPU, torch.float32)


def spoilt(name: str, folder: Path, spoil: Callable[[str, Tensor], bool]) -> Checkpoint:
    """A row whose file has one tensor of other values, the last of those that `spoil` names."""
    row = small_row(name, folder / "x.ckpt")
    state = published_state(row, random_network(row))
    key = [key for key, value in state.items() if spoil(key, value)][-1]
    state[key] = state[key] + 1
    assert row.path is not None
    torch.save(state, row.path)
    return row


@pytest.mark.thorough
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("ending", ["stft.window", "freq_weights/3"])
def test_a_file_of_other_bands_is_refused(name: str, ending: str, tmp_path: Path) -> None:
    row = spoilt(name, tmp_path, lambda key, value: key.endswith(ending))
    assert row.path is not None
    with pytest.raises(UnsafeFile, match=rf"{ending}' is not what n_fft, n_bands and sample_rate .* give"):
        load_model(row, row.path, CPU, torch.float32)


def test_a_window_of_whole_numbers_is_refused(tmp_path: Path) -> None:
    row = small_row("bandit", tmp_path / "x.ckpt")
    state = published_state(row, random_network(row))
    assert row.path is not None
    torch.save({**state, "stft.window": state["stft.window"].long()}, row.path)
    with pytest.raises(UnsafeFile, match=r"stft\.window' is not what n_fft"):
        load_model(row, row.path, CPU, torch.float32)


def test_twins_that_differ_are_refused(tmp_path: Path) -> None:
    row = spoilt("bandit-v2", tmp_path, lambda key, value: ".norm_mlp.3.combined." in key)
    assert row.path is not None
    with pytest.raises(
        UnsafeFile, match=r"tensor '.*\.norm_mlp\.3\..*': expected the same values as its twin's"
    ):
        load_model(row, row.path, CPU, torch.float32)


@pytest.mark.thorough
@pytest.mark.parametrize("name", NAMES)
def test_what_belongs_to_training_is_not_read(name: str, tmp_path: Path) -> None:
    """As a training framework saves it: prefixed, with the state of a loss."""
    row = small_row(name, tmp_path / "x.ckpt")
    network = random_network(row)
    state = {f"model.{key}": value for key, value in published_state(row, network).items()}
    state["loss_handler.loss.stft.window"] = torch.ones(3)
    assert row.path is not None
    torch.save({"state_dict": state, "hyper_parameters": {"lr": 1e-3}}, row.path)
    model = load_model(row, row.path, CPU, torch.float32)
    with torch.inference_mode():
        assert agreement(network(noise(3_000)), model(noise(3_000))) > 120


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"version": 3}, "version: found 3; allowed: 1, 2"),
        ({"n_fft": 511}, "n_fft: expected an even number, 4 or more, found 511"),
        ({"hop": 300}, "hop: expected at most n_fft/2, found 300"),
        ({"n_bands": 258}, "n_bands: expected at most one for each bin, found 258"),
        ({"chunk_samples": 256}, "chunk_samples: expected more than n_fft/2, found 256"),
    ],
)
def test_parameters_that_fit_no_network(change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        validate(BanditParameters, {**BANDIT, **change}, "", ValueError)


@pytest.mark.thorough
@pytest.mark.parametrize(("name", "keys"), [("bandit-plus", 1_794), ("bandit-v2-multi", 2_946)])
def test_published_rows_have_the_published_size(name: str, keys: int) -> None:
    row = load_manifest().checkpoints[name]
    with torch.device("meta"):
        network = network_of(row)
        state = published_state(row, network)
    assert (sum(value.numel() for value in network.parameters()), len(state)) == (37_022_688, keys)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["bandit-plus", "bandit-v2-multi"])
def test_full_size(name: str, tmp_path: Path) -> None:
    """From its file, on half a second, in both precisions; against the reference with its scale, in float32."""
    row = replace(load_manifest().checkpoints[name], path=tmp_path / "x.ckpt")
    (ours, theirs), mixture = (
        both(row),
        noise(22_050),
    )  # that theirs takes our tensors shows their names and shapes
    with torch.inference_mode():
        assert agreement(theirs(mixture), ours(mixture)) > 120
    rounded = agreement(theirs(mixture), autocast(theirs, mixture)) - MARGIN_DB
    path = saved(row)
    exact, lower = (load_model(row, path, CPU, dtype)(mixture) for dtype in (torch.float32, torch.bfloat16))
    for place in range(3):
        assert agreement(exact[:, place], lower[:, place]) > rounded
