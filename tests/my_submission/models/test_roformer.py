"""BS- and Mel-Band RoFormers: equal to the reference package's, strict with files, indifferent to how chunks come."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file, save_model
from torch import Tensor

from my_submission.ensemble.preset_reader import load_preset
from my_submission.models import ChunkModel
from my_submission.models.roformer.bands import mel_bands
from my_submission.models.roformer.checkpoint import read_network
from my_submission.models.roformer.model import RoformerModel, RoformerParameters
from my_submission.models.roformer.network import Roformer
from my_submission.registry import find_architecture
from my_submission.runtime.inference import estimate_track
from my_submission.runtime.pool import load_model
from my_submission.runtime.schedule import SEQUENTIAL, Schedule
from my_submission.schema import validate
from my_submission.signal.augment import Augmentation
from my_submission.signal.chunking import fading_window, reader
from my_submission.weights import Checkpoint, UnsafeFile, load_manifest
from tests.lower_precision import CPU, MARGIN_DB, agreement, autocast
from tests.reference_networks import Reference, reference
from tests.small_networks import BS_ROFORMER, MEL_BAND_ROFORMER
from tests.thinned import one_in

pytest.importorskip("pymss_core")
pytestmark = pytest.mark.processor

ROWS = {
    name: row for name, row in load_manifest().checkpoints.items() if row.architecture.endswith("_roformer")
}
BOTH = {"bs_roformer": BS_ROFORMER, "mel_band_roformer": MEL_BAND_ROFORMER}
STATED = sorted(BS_ROFORMER.keys() & MEL_BAND_ROFORMER)
HOP, CHUNK = BS_ROFORMER["hop"], BS_ROFORMER["chunk_samples"]


def row(architecture: str, sources: int = 1, **changes: Any) -> Checkpoint:
    """A manifest row of a small network."""
    document = {key: value for key, value in {**BOTH[architecture], **changes}.items() if value is not None}
    parameters = validate(find_architecture(architecture).parameters, document, "", ValueError)
    names = tuple(f"source{place}" for place in range(sources))
    return replace(ROWS["polarformer"], architecture=architecture, parameters=parameters, sources=names)


def saved(checkpoint: Checkpoint, folder: Path) -> tuple[Reference, Path]:
    """A reference network with random weights, and its file."""
    theirs = reference(checkpoint)
    torch.save(theirs.module.state_dict(), folder / "x.ckpt")
    return theirs, folder / "x.ckpt"


def noise(samples: int, batch: int = 1, level: float = 0.1) -> Tensor:
    return level * torch.randn(batch, 2, samples, generator=torch.Generator().manual_seed(samples))


def assert_near(expected: Tensor, found: Tensor, least_db: float = 120) -> None:
    assert found.shape == expected.shape
    assert agreement(expected, found) > least_db


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
    params=[("bs_roformer", {"pope": False}), ("bs_roformer", {"pope": True}), ("mel_band_roformer", {})],
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


def half(state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {key: value.half() for key, value in state.items()}


WRAPPED: dict[str, Callable[[dict[str, Tensor]], Any]] = {
    "x.ckpt": lambda state: state,
    "x.chpt": lambda state: {"state_dict": {f"model.{key}": value for key, value in state.items()}},
    "x.pt": lambda state: {"epoch": 3, "model_state_dict": state, "optimizer": {"lr": 0.1}},
    "x.pth": lambda state: {"ema": {f"module.{key}": value for key, value in half(state).items()}},
    "x.th": half,
}


@pytest.mark.parametrize(
    ("name", "pope"),
    one_in(
        4,
        [
            *((name, place % 2 == 0) for place, name in enumerate(WRAPPED)),
            *(
                (f"{name}.safetensors", pope)
                for name in ("x", "saved once", "without")
                for pope in (False, True)
            ),
        ],
    ),
)
def test_files_of_every_kind(name: str, pope: bool, tmp_path: Path) -> None:
    """Also those that have what layers share only once, or no frequencies at all."""
    checkpoint = row("bs_roformer", 2, pope=pope)
    module = reference(checkpoint).module
    path, state = tmp_path / name, {key: value.clone() for key, value in module.state_dict().items()}
    if name in WRAPPED:
        torch.save(WRAPPED[name](state), path)
    elif name.startswith("saved once"):
        save_model(module, str(path))
        assert len(load_file(path)) < len(state)
    else:
        without = name.startswith("without")
        kept = {key: value for key, value in state.items() if not (without and key.endswith("freqs"))}
        save_file(kept, path)
    if name in ("x.pth", "x.th"):
        module.load_state_dict({key: value.float() for key, value in half(state).items()})
    with torch.inference_mode():
        expected = module(noise(CHUNK))
    assert_near(expected, load_model(checkpoint, path, CPU, torch.float32)(noise(CHUNK)), 110)


DIFFERING: list[tuple[str, dict[str, Any], str]] = [
    ("bs_roformer", {"dim": 32}, "dim 24; the file has 32"),
    ("bs_roformer", {"depth": 3}, "depth 2; the file has 3"),
    ("bs_roformer", {"time_transformer_depth": 2}, "time_transformer_depth 1; the file has 2"),
    ("bs_roformer", {"freq_transformer_depth": 2}, "freq_transformer_depth 1; the file has 2"),
    ("bs_roformer", {"heads": 4}, "heads 2; the file has 4"),
    ("bs_roformer", {"dim_head": 8}, "dim_head 16; the file has 8"),
    ("bs_roformer", {"heads": 4, "dim_head": 8}, "heads 2, dim_head 16; the file has 4, 8"),
    ("bs_roformer", {"mask_estimator_depth": 1}, "mask_estimator_depth 2, .*; the file has 1"),
    ("bs_roformer", {"mask_estimator_depth": 3}, "mask_estimator_depth 2; the file has 3"),
    ("mel_band_roformer", {"mask_estimator_depth": 3}, "mask_estimator_depth 2; the file has 3"),
    ("bs_roformer", {"mlp_expansion_factor": 4}, "mlp_expansion_factor 2; the file has 4"),
    ("bs_roformer", {"pope": True}, "pope False; the file has True"),
    ("bs_roformer", {"band_widths": [8] * 4 + [16] * 3 + [49]}, r"band_widths \(8, .*; the file has \(8, "),
    ("bs_roformer", {"band_widths": [8] * 4 + [97]}, r"bands 8, band_widths \(8, .*; the file has 5, \(8, "),
    ("mel_band_roformer", {"bands": 13}, "bands 12, .*; the file has 13, "),
    ("mel_band_roformer", {"n_fft": 1024}, "n_fft 256, .*; the file has 1024, "),
    ("mel_band_roformer", {"bands": 60, "n_fft": 2048}, "bands 12, n_fft 256, .*; the file has 60, 2048, "),
]


@pytest.mark.parametrize(("architecture", "changes", "complaint"), one_in(4, DIFFERING))
def test_an_error_names_the_parameters_that_differ(
    architecture: str, changes: dict[str, Any], complaint: str, tmp_path: Path
) -> None:
    _, path = saved(row(architecture, **changes), tmp_path)
    with pytest.raises(UnsafeFile, match=rf"x\.ckpt: its manifest row says {complaint}.*; tensor '"):
        load_model(row(architecture), path, CPU, torch.float32)


@pytest.mark.thorough
def test_an_error_names_the_sources_and_the_architecture(tmp_path: Path) -> None:
    _, path = saved(row("bs_roformer", 3), tmp_path)
    with pytest.raises(UnsafeFile, match="its manifest row says sources 2; the file has 3; tensor"):
        load_model(row("bs_roformer", 2), path, CPU, torch.float32)
    _, path = saved(row("mel_band_roformer", 2), tmp_path)
    with pytest.raises(UnsafeFile, match="says architecture bs_roformer, .*; the file has mel_band_roformer"):
        load_model(row("bs_roformer", 2), path, CPU, torch.float32)


@pytest.mark.thorough
def test_files_are_taken_strictly(tmp_path: Path) -> None:
    checkpoint = row("bs_roformer")
    theirs, path = saved(checkpoint, tmp_path)
    state = theirs.module.state_dict()
    first, second = (f"layers.{block}.0.layers.0.0.rotary_embed.freqs" for block in (0, 1))
    for change, complaint in (
        ({"final_norm.extra": torch.ones(1)}, "tensor 'final_norm.extra': .* shape none, found \\(1,\\)"),
        (
            {"final_norm.gamma": torch.ones(3)},
            "tensor 'final_norm.gamma': .* shape \\(24,\\), found \\(3,\\)",
        ),
        (
            {second: state[second] + 1},
            f"tensor '{second}': expected the values of '{first}', since all layers",
        ),
    ):
        torch.save({**state, **change}, path)
        with pytest.raises(UnsafeFile, match=rf"x\.ckpt: {complaint}"):
            load_model(checkpoint, path, CPU, torch.float32)
    torch.save({"weight": torch.ones(2)}, path)
    with pytest.raises(UnsafeFile, match=r"x\.ckpt: tensor "):
        load_model(checkpoint, path, CPU, torch.float32)


@pytest.mark.parametrize(
    ("architecture", "changes", "complaint"),
    [
        *(
            (name, {key: None}, f"the key '{key}' is missing")
            for name in BOTH
            for key in sorted(BS_ROFORMER.keys() & MEL_BAND_ROFORMER)
        ),
        ("bs_roformer", {"pope": None}, "the key 'pope' is missing"),
        ("mel_band_roformer", {"bands": None}, "the key 'bands' is missing"),
        ("mel_band_roformer", {"pope": False}, "unknown key 'pope'"),
        ("bs_roformer", {"band_widths": None}, "give either 'bands'"),
        ("bs_roformer", {"bands": 62}, "give either 'bands'"),
        (
            "bs_roformer",
            {"band_widths": None, "bands": 90},
            "bands: found 90; allowed: 62; list others as band_w",
        ),
        (
            "bs_roformer",
            {"band_widths": [64, 64]},
            r"band_widths: expected widths that add up to .* 129, found 128",
        ),
        ("bs_roformer", {"band_widths": [129, 0]}, "band_widths: expected a list of whole numbers above 0"),
        ("bs_roformer", {"band_widths": None, "bands": 62}, "bands: expected widths .* 129, found 1025"),
        ("mel_band_roformer", {"bands": 90}, "bands: 90 mel bands do not fit 129 bins; expected fewer"),
        (
            "mel_band_roformer",
            {"chunk_samples": 3_201},
            "chunk_samples: expected a multiple of hop, 64, found 3201",
        ),
        ("bs_roformer", {"chunk_samples": 255}, "chunk_samples: expected at least n_fft, 256, found 255"),
        (
            "bs_roformer",
            {"fade_samples": 1_601},
            "fade_samples: expected at most half of chunk_samples, 1600",
        ),
        ("bs_roformer", {"hop": 129}, "hop: expected at most half of n_fft, 128, found 129"),
        ("bs_roformer", {"dim_head": 15}, "dim_head: expected an even number above 0, found 15"),
        ("bs_roformer", {"zero_dc": 1}, "zero_dc: expected true or false, found 1"),
    ],
)
def test_what_is_wrong_in_a_rows_parameters_is_named(
    architecture: str, changes: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(ValueError, match=complaint):
        row(architecture, **changes)


COUNTS = {  # parameters, tensors in a state
    "bsroformer-musdb": (131_704_164, 1355),
    "polarformer": (51_050_444, 723),
    "bsroformer-1297": (159_758_092, 699),
    "bs-resurrection-voc": (51_049_484, 699),
    "bs-resurrection-inst": (51_049_484, 699),
    "melband-kim": (228_202_852, 684),
    "melband-deux": (217_301_916, 1188),
    "mega-53": (681_662_892, 13_595),
}


def counted(parameters: RoformerParameters, sources: int) -> tuple[int, int]:
    with torch.device("meta"):
        network = Roformer(parameters.config(sources))
    return sum(parameter.numel() for parameter in network.parameters()), len(network.state_dict())


@pytest.mark.thorough
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name == "mega-53" else ()) for name in COUNTS]
)
def test_every_row_describes_a_network_of_the_published_size(name: str) -> None:
    checkpoint = ROWS[name]
    parameters = checkpoint.parameters
    assert isinstance(parameters, RoformerParameters)
    found = counted(parameters, len(checkpoint.sources))
    assert found == COUNTS[name]
    assert checkpoint.about_bytes
    size = 2 if name in ("polarformer", "melband-deux", "mega-53") else 4
    assert 300 * found[1] < checkpoint.about_bytes - size * found[0] < 500 * found[1]
    assert ROWS.keys() == COUNTS.keys()


@pytest.mark.slow
def test_files_that_have_no_row_load(tmp_path: Path) -> None:
    """One of the size of BS-RoFormer "SW", six sources; and bands of which only a user has the list."""
    musdb = ROWS["bsroformer-musdb"].parameters
    assert isinstance(musdb, RoformerParameters)
    assert counted(
        musdb.model_copy(update={"dim": 256, "depth": 12, "hop": 512, "mlp_expansion_factor": 4}), 6
    ) == (
        174_656_564,
        1939,
    )
    ninety = [4] * 60 + [20] * 25 + [57] * 5
    checkpoint = row("bs_roformer", 6, n_fft=2048, hop=512, band_widths=ninety, depth=1)
    theirs, path = saved(checkpoint, tmp_path)
    with torch.inference_mode():
        assert_near(theirs(noise(CHUNK)), load_model(checkpoint, path, CPU, torch.float32)(noise(CHUNK)))


MEL_STARTS = [
    0, 4, 7, 10, 13, 16, 19, 22, 25, 28, 31, 34, 37, 40, 43, 46, 49, 53, 56, 60, 65, 69, 74, 79, 84, 90, 97,
    103, 110, 118, 126, 135, 145, 155, 165, 177, 189, 203, 217, 232, 248, 265, 284, 304, 325, 348, 372, 398,
    426, 455, 487, 521, 558, 597, 638, 683, 731, 782, 836, 895,
]  # fmt: skip
MEL_WIDTHS = [
    7, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 6, 7, 7, 7, 9, 9, 9, 10, 10, 11, 13, 13, 13, 15, 16, 17, 19,
    20, 20, 22, 24, 26, 28, 29, 31, 33, 36, 39, 41, 44, 47, 50, 54, 57, 61, 66, 71, 76, 80, 86, 93, 99, 105,
    113, 122, 130,
]  # fmt: skip
MEL_WIDTHS_4096 = [
    13, 12, 12, 12, 12, 12, 12, 12, 12, 12, 13, 13, 12, 12, 12, 13, 14, 15, 17, 17, 18, 20, 21, 23, 25, 26,
    27, 30, 32, 34, 37, 39, 41, 45, 48, 51, 55, 58, 63, 67, 71, 77, 82, 88, 94, 100, 108, 115, 123, 132,
    141, 151, 161, 173, 185, 197, 211, 226, 243, 260,
]  # fmt: skip


def test_bands_of_the_mel_scale() -> None:
    """As librosa's filterbank gives them, which the published networks were made with."""
    bands = mel_bands(60, 2048)
    assert list(bands.starts) == MEL_STARTS
    assert list(bands.widths) == MEL_WIDTHS
    assert list(mel_bands(60, 4096).widths) == MEL_WIDTHS_4096
    for size, count in ((2048, 1025), (4096, 2049)):
        covering = mel_bands(60, size).covering()
        assert (len(covering), set(covering)) == (count, {1, 2})


@pytest.mark.parametrize(
    ("name", "stems"),
    [
        ("bsroformer-musdb", ("bass", "drums", "other", "vocals")),
        ("melband-kim", ("vocals", "instrumental")),
        ("polarformer", ("vocals", "instrumental")),
    ],
)
def test_presets(name: str, stems: tuple[str, ...]) -> None:
    preset = load_preset(name)
    assert preset.instruments == stems
    assert preset.checkpoints == (name,)
    assert preset.challenge == ("music" if len(stems) == 4 else None)
    assert preset.mixture_consistent == (len(stems) == 2)
    assert [member.overlap for step in preset.steps for member in step.members] == [0.5]
    assert ROWS[name].licence


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
