"""BS- and Mel-Band RoFormers: equal to the reference package's, strict with files, indifferent to how chunks come."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from my_submission.models import ChunkModel
from my_submission.models.roformer.checkpoint import read_network
from my_submission.models.roformer.model import RoformerModel, RoformerParameters
from my_submission.models.roformer.network import Roformer
from my_submission.registry import find_architecture
from my_submission.runtime.inference import estimate_track
from my_submission.runtime.pool import load_model
from my_submission.runtime.schedule import SEQUENTIAL, Schedule
from my_submission.signal.augment import Augmentation
from my_submission.signal.chunking import fading_window, reader
from tests.lower_precision import CPU, MARGIN_DB, agreement, autocast
from tests.my_submission.models.roformers import BOTH, CHUNK, ROWS, assert_near, noise, row, saved
from tests.reference_networks import Reference
from tests.thinned import one_in

pytest.importorskip("pymss_core")
pytestmark = pytest.mark.processor

VARIANTS: list[tuple[str, int, dict[str, Any]]] = [
    ("bs_roformer", 2, {"freq_transformer_depth": 2}),
    ("bs_roformer", 1, {"pope": True, "dim_head": 8}),
    ("bs_roformer", 6, {"skip_connection": True, "depth": 3, "mask_estimator_depth": 3}),
    ("bs_roformer", 1, {"zero_dc": False, "mask_estimator_depth": 1, "time_transformer_depth": 3}),
    ("bs_roformer", 1, {"band_widths": [1] * 10 + [4] * 20 + [39], "mlp_expansion_factor": 1}),
    ("bs_roformer", 1, {"band_widths": None, "bands": 62, "n_fft": 2048, "hop": 441, "depth": 1}),
    ("mel_band_roformer", 2, {}),
    ("mel_band_roformer", 1, {"skip_connection": True, "depth": 3}),
    ("mel_band_roformer", 1, {"bands": 60, "n_fft": 4096, "hop": 320, "chunk_samples": 6_400, "depth": 1}),
    (
        "mel_band_roformer",
        3,
        {"bands": 40, "n_fft": 1024, "zero_dc": False, "mask_estimator_depth": 1, "depth": 1},
    ),
    ("mel_band_roformer", 1, {"time_transformer_depth": 2, "mask_estimator_depth": 3, "bands": 7}),
]


@pytest.mark.lower_precision
@pytest.mark.parametrize(("architecture", "sources", "changes"), one_in(6, VARIANTS))
def test_it_is_the_reference_network(
    architecture: str, sources: int, changes: dict[str, Any], tmp_path: Path
) -> None:
    """As published, for inference in float32, and in lower precision as near as autocast of the published form."""
    checkpoint = row(architecture, sources, **changes)
    theirs, path = saved(checkpoint, tmp_path)
    parameters = checkpoint.parameters
    assert isinstance(parameters, RoformerParameters)
    plain = read_network(path, parameters.config(sources))
    assert plain.state_dict().keys() == theirs.module.state_dict().keys()
    for samples in (parameters.chunk_samples, parameters.n_fft + 17):
        mixtures = noise(samples, batch=2)
        with torch.inference_mode():
            expected = theirs(mixtures)
            assert_near(expected, plain(mixtures))
        assert_near(expected, load_model(checkpoint, path, CPU, torch.float32)(mixtures))
    lower = load_model(checkpoint, path, CPU, torch.bfloat16)(mixtures)
    least = agreement(expected, autocast(plain, mixtures)) - MARGIN_DB
    for source in range(sources):
        assert not lower[:, source].equal(expected[:, source])
    assert_near(expected, lower, least)


@pytest.mark.parametrize("architecture", BOTH)
def test_a_network_can_be_trained(architecture: str) -> None:
    parameters = row(architecture).parameters
    assert isinstance(parameters, RoformerParameters)
    network = Roformer(parameters.config(1))
    network(noise(CHUNK)).square().sum().backward()
    learned = [parameter for parameter in network.parameters() if parameter.requires_grad]
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in learned)


def test_polar_positions_matter(tmp_path: Path) -> None:
    """Or the tests above would show nothing of them."""
    theirs, _ = saved(row("bs_roformer", pope=True), tmp_path)
    with torch.inference_mode():
        expected = theirs(noise(CHUNK))
        theirs.module.get_parameter("layers.0.0.layers.0.0.pope_embed.bias").zero_()
        assert agreement(expected, theirs(noise(CHUNK))) < 60


@pytest.mark.thorough
@pytest.mark.parametrize(("architecture", "sources", "changes"), [VARIANTS[2], VARIANTS[6]])
def test_sources_that_are_not_needed_are_not_computed(
    architecture: str, sources: int, changes: dict[str, Any], tmp_path: Path
) -> None:
    checkpoint = row(architecture, sources, **changes)
    _, path = saved(checkpoint, tmp_path)
    whole = load_model(checkpoint, path, CPU, torch.float32)
    part = load_model(checkpoint, path, CPU, torch.float32, {"source1"})
    assert part.sources == ("source1",)
    assert part.bytes_per_sample < whole.bytes_per_sample
    assert_near(whole(noise(CHUNK))[:, 1:2], part(noise(CHUNK)))


@pytest.fixture(
    scope="module",
    params=[
        ("bs_roformer", {"pope": False}),
        pytest.param(("bs_roformer", {"pope": True}), marks=pytest.mark.thorough),
        pytest.param(("mel_band_roformer", {}), marks=pytest.mark.thorough),
    ],
)
def pair(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Reference, ChunkModel]:
    """A reference network and our model with its weights."""
    architecture, changes = request.param
    checkpoint = row(architecture, 2, **changes)
    theirs, path = saved(checkpoint, tmp_path_factory.mktemp("pair"))
    return theirs, load_model(checkpoint, path, CPU, torch.float32)


def estimates(model: ChunkModel, signal: Tensor, overlap: float, schedule: Schedule = SEQUENTIAL) -> Tensor:
    pieces = estimate_track(model, reader(signal), signal.shape[-1], Augmentation(), overlap, schedule)
    return torch.cat([piece for _, piece in pieces], dim=-1)


@pytest.mark.thorough
@pytest.mark.parametrize("samples", [1, CHUNK + 1, 9_001])
def test_a_track_of_any_length_is_the_reference_network_on_its_chunks(
    samples: int, pair: tuple[Reference, ChunkModel]
) -> None:
    """Each chunk has its window, and a short one its surroundings: zeros beyond the track."""
    theirs, ours = pair
    signal = noise(samples)[0]
    window = fading_window(CHUNK, CHUNK // 10)
    total, weights = torch.zeros(2, 2, samples), torch.zeros(samples)
    padded = torch.nn.functional.pad(signal, (CHUNK, CHUNK))
    for offset in range(0, samples, CHUNK // 2):
        length = min(CHUNK, samples - offset)
        before = (CHUNK - length) // 2
        start = CHUNK + offset - before
        with torch.inference_mode():
            output = theirs(padded[None, :, start : start + CHUNK])[0, ..., before : before + length]
        total[..., offset : offset + length] += window[:length] * output
        weights[offset : offset + length] += window[:length]
    least = 100  # a single sample has its share of rounding
    assert_near(total / weights, estimates(ours, signal, 0.5), least)


@pytest.mark.thorough
def test_the_batch_size_changes_nothing(pair: tuple[Reference, ChunkModel]) -> None:
    signal = noise(4 * CHUNK)[0]
    one = estimates(pair[1], signal, 0.5)
    for schedule in (Schedule(batch_size=3), Schedule(batch_size=64), Schedule(workers=2)):
        assert_near(one, estimates(pair[1], signal, 0.5, schedule))


def test_constant_and_quiet_mixtures(pair: tuple[Reference, ChunkModel]) -> None:
    theirs, ours = pair
    mixtures = {
        "constant": torch.full((1, 2, CHUNK), 0.5),
        "quiet": noise(CHUNK, level=1e-6),
        "nearly silent": noise(CHUNK, level=1e-15),  # below where a norm still divides by itself
        "one channel": torch.cat([noise(CHUNK)[:, :1], torch.zeros(1, 1, CHUNK)], dim=1),
        "mostly silent": torch.nn.functional.pad(noise(CHUNK // 4), (0, CHUNK - CHUNK // 4)),
        "silent": torch.zeros(1, 2, CHUNK),
    }
    batch = torch.cat([*mixtures.values()])
    with torch.inference_mode():
        expected = theirs(batch)
    found = ours(batch)
    assert found.isfinite().all()
    # Of a constant, bin 0 is left out: what remains is window and reflection, with its own share of rounding.
    errors = (found - expected).flatten(1).abs().amax(1)
    for name, error, mixture in zip(mixtures, errors, batch, strict=True):
        assert error <= 1e-6 * mixture.abs().max(), name


@pytest.mark.thorough
def test_a_row_says_whether_bin_0_of_estimates_is_zero(tmp_path: Path) -> None:
    """Of a constant mixture, bin 0 is a constant."""
    found = {}
    for zero in (True, False):
        checkpoint = row("bs_roformer", zero_dc=zero)
        _, path = saved(checkpoint, tmp_path)
        found[zero] = load_model(checkpoint, path, CPU, torch.float32)(torch.full((1, 2, CHUNK), 0.5))
    bin_0 = (found[False] - found[True])[..., CHUNK // 4 : -CHUNK // 4]
    assert bin_0.std(dim=-1).max() < 1e-5 < bin_0.abs().min()


@pytest.mark.thorough
@pytest.mark.parametrize("architecture", BOTH)
def test_a_piece_of_work_is_about_so_much_of_a_chunk(architecture: str, tmp_path: Path) -> None:
    checkpoint = row(architecture, 3)
    _, path = saved(checkpoint, tmp_path)
    piece_of_work = find_architecture(architecture).piece_of_work
    assert piece_of_work is not None
    for dtype in (torch.float32, torch.bfloat16):
        work = piece_of_work(checkpoint, path, CPU, dtype)
        assert work is not None
        shapes = [work(share).shape for share in (1 / 100, 1 / 4, 1.0)]  # type: ignore[attr-defined]
        assert shapes == [(1, 1, 2, samples) for samples in (256, CHUNK // 4, CHUNK)]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["polarformer", "melband-kim"])
def test_full_size_networks_are_the_reference_networks(name: str, tmp_path: Path) -> None:
    checkpoint = ROWS[name]
    theirs, path = saved(checkpoint, tmp_path)
    mixture = noise(44_100)
    with torch.inference_mode():
        expected = theirs(mixture)
    exact = load_model(checkpoint, path, CPU, torch.float32)
    assert isinstance(exact, RoformerModel)
    assert_near(expected, exact(mixture))
    del exact
    rounded = autocast(theirs, mixture)
    least = agreement(expected, rounded) - MARGIN_DB
    assert_near(expected, load_model(checkpoint, path, CPU, torch.bfloat16)(mixture), least)
