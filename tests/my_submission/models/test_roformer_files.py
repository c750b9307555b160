"""Files and rows of RoFormers: read strictly, and an error names the parameters that differ."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file, save_model
from torch import Tensor

from my_submission.ensemble.preset_reader import load_preset
from my_submission.models.roformer.bands import mel_bands
from my_submission.models.roformer.checkpoint import read_network
from my_submission.models.roformer.model import RoformerParameters
from my_submission.models.roformer.network import Roformer
from my_submission.runtime.pool import load_model
from my_submission.weights import UnsafeFile
from tests.lower_precision import CPU
from tests.my_submission.models.roformers import BOTH, CHUNK, ROWS, assert_near, noise, row, saved
from tests.reference_networks import reference
from tests.small_networks import BS_ROFORMER, MEL_BAND_ROFORMER
from tests.thinned import one_in

pytest.importorskip("pymss_core")
pytestmark = pytest.mark.processor


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
        6,
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


@pytest.mark.parametrize(("architecture", "changes", "complaint"), one_in(5, DIFFERING))
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
        ({first: math.nan * state[first]}, f"tensor '{first}': expected finite numbers"),
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


@pytest.mark.thorough
def test_a_file_of_53_sources_loads(tmp_path: Path) -> None:
    """Of mega-53's network, which has more layers than any other; they are narrow here."""
    parameters = ROWS["mega-53"].parameters
    assert isinstance(parameters, RoformerParameters)
    narrow = {"dim": 2, "heads": 1, "dim_head": 2, "mlp_expansion_factor": 1}
    config = parameters.model_copy(update=narrow).config(53)
    torch.save(Roformer(config).state_dict(), tmp_path / "x.ckpt")
    assert len(read_network(tmp_path / "x.ckpt", config).mask_estimators) == 53


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
