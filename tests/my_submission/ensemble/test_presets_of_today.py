"""The ensembles of 2026 compute what they say; they and their single models run, whole and within a time limit."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor

from my_submission import SeparationModel
from my_submission.ensemble import costs
from my_submission.ensemble.engine import Ensemble
from my_submission.ensemble.preset import CHALLENGES
from my_submission.ensemble.preset_reader import load_preset
from my_submission.models import ChunkModel
from my_submission.runtime.pool import ModelPool
from tests.my_submission.ensemble.stubs import Gains, Pool
from tests.random_checkpoints import write_small_kit

ENSEMBLES = ("music-2026", "vocals-2026", "cinematic-2026")
SINGLE = (
    "scnet-xl-ihf", "scnet-xl", "bsroformer-musdb", "melband-kim", "polarformer", "mdx23c-vocals", "bandit-plus",
    "bandit-v2-multi",
)  # fmt: skip
LARGE = pytest.param("music-2026", marks=pytest.mark.slow)
EVERY_DAY = ("scnet-xl-ihf", "polarformer")
"""Of single models: any network's laws are in `test_waveform_networks.py` and `test_roformer.py`."""
RARELY = [pytest.param(name, marks=pytest.mark.slow) for name in SINGLE if name not in EVERY_DAY]
FOUR = ("drums", "bass", "other", "vocals")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Every checkpoint of these presets, small, and for this module the manifest that describes them so."""
    folder = write_small_kit(tmp_path_factory.mktemp("today"), (*ENSEMBLES, *SINGLE))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("my_submission.weights.manifest.MANIFEST", folder / "manifest.yaml")
        yield folder


def opened(weights: Path, preset: str, **options: Any) -> SeparationModel:
    return SeparationModel(preset=preset, weights_dir=weights, device="cpu", precision="fp32", **options)


def separated(model: SeparationModel, mixture: Any) -> dict[str, Any]:
    arrays, _ = model.separate_music_file(mixture, 44_100)
    return arrays


@pytest.fixture(scope="module")
def mixture() -> Any:
    """A fifth of a second of stereo noise, (samples, channels): several chunks of every small network."""
    return 0.1 * np.random.default_rng(7).standard_normal((8_820, 2)).astype(np.float32)


@pytest.mark.slow
@pytest.mark.parametrize("name", [LARGE, *ENSEMBLES[1:], *EVERY_DAY, *RARELY])
def test_a_preset_runs_whole_and_with_all_its_economies(name: str, weights: Path, mixture: Any) -> None:
    preset = load_preset(name)
    whole = opened(weights, name)
    fast = opened(weights, name, fast=True)
    assert whole.provenance()["economies"] == []
    assert fast.provenance()["economies"] == [str(economy) for economy in preset.economies]
    for model in (whole, fast):
        stems = separated(model, mixture)
        assert tuple(stems) == preset.instruments
        for stem in stems.values():
            assert stem.shape == mixture.shape
            assert np.isfinite(stem).all()
            assert np.abs(stem).max() > 0
        if preset.mixture_consistent:
            assert np.abs(sum(stems.values()) - mixture).max() < 1e-6


@pytest.mark.slow
@pytest.mark.parametrize("name", [LARGE, "cinematic-2026"])
def test_a_time_limit_takes_what_it_needs(
    name: str, weights: Path, mixture: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """None where there is time. Where there is none, everything that an economy can still save."""
    monkeypatch.setattr(costs, "MEASURED_SECONDS", 0.0)
    expected = separated(opened(weights, name), mixture)
    generous = opened(weights, name, time_limit_factor=1e6)
    for stem, array in separated(generous, mixture).items():
        np.testing.assert_allclose(array, expected[stem], atol=1e-5)
    assert generous.provenance()["economies"] == []
    assert "tracks will be late" not in caplog.text
    hopeless = opened(weights, name, time_limit_factor=1e-3)
    assert "tracks will be late" in caplog.text
    stems = separated(hopeless, mixture)
    assert np.abs(sum(stems.values()) - mixture).max() < 1e-6
    dropped = [str(economy) for economy in load_preset(name).economies if economy.drop]
    assert set(dropped) <= set(hopeless.provenance()["economies"])


def made_by_gains(preset: str, gains: dict[str, dict[str, float]], noise: Tensor) -> dict[str, Tensor]:
    """A preset's stems with networks that give known fractions of their input."""
    models: dict[str, ChunkModel] = {model: Gains(one) for model, one in gains.items()}
    return Ensemble(load_preset(preset), cast(ModelPool, Pool(models))).separate(noise[:, :4_000])


def test_music_2026_is_a_cascade_whose_stems_add_up(noise: Tensor) -> None:
    gains = {
        "melband-kim": {"vocals": 0.5},
        "polarformer": {"vocals": 0.4},
        "mdx23c-vocals": {"vocals": 0.3, "instrumental": 0.9},
        "scnet-xl-ihf": dict.fromkeys(FOUR, 0.3),
        "bsroformer-musdb": dict.fromkeys(FOUR, 0.2),
        **{f"htdemucs_ft_{stem}": dict.fromkeys(FOUR, 0.1) for stem in FOUR[:3]},
    }
    stems = made_by_gains("music-2026", gains, noise)
    noise = noise[:, :4_000]
    vocals = (3 * 0.5 + 3 * 0.4 + 0.3) / 7 * noise
    rest = noise - vocals
    means = {
        "bass": (4 * 0.3 + 2 * 0.2 + 4 * 0.1) / 10 * rest,
        "drums": (4 * 0.3 + 3 * 0.2 + 3 * 0.1) / 10 * rest,
        "other": (4 * 0.3 + 3 * 0.2 + 2 * 0.1) / 9 * rest,
    }
    left = rest - means["bass"] - means["drums"] - means["other"]
    torch.testing.assert_close(stems["vocals"], vocals, rtol=1e-4, atol=1e-6)
    for stem, mean in means.items():
        torch.testing.assert_close(stems[stem], mean + left / 3, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(torch.stack(list(stems.values())).sum(0), noise, rtol=1e-4, atol=1e-6)


def test_cinematic_2026_takes_the_dialog_first(noise: Tensor) -> None:
    gains = {
        "melband-kim": {"vocals": 0.5},
        "polarformer": {"vocals": 0.4},
        "htdemucs_ft_vocals": dict.fromkeys(FOUR, 0.05),
        "bandit-plus": {"dialog": 0.9, "music": 0.3, "effect": 0.2},
    }
    stems = made_by_gains("cinematic-2026", gains, noise)
    dialog = (7 * 0.5 + 7 * 0.4 + 2 * 0.05) / 16  # 0.4
    rest = (1 - dialog) * noise[:, :4_000]
    torch.testing.assert_close(stems["dialog"], dialog * noise[:, :4_000], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(stems["music"], (0.3 + 0.25) * rest, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(stems["effect"], (0.2 + 0.25) * rest, rtol=1e-4, atol=1e-6)


def test_vocals_2026_is_a_mean_and_the_rest(noise: Tensor) -> None:
    stems = made_by_gains(
        "vocals-2026", {"melband-kim": {"vocals": 0.5}, "polarformer": {"vocals": 0.3}}, noise
    )
    torch.testing.assert_close(stems["vocals"], 0.4 * noise[:, :4_000], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(stems["instrumental"], 0.6 * noise[:, :4_000], rtol=1e-4, atol=1e-6)


def test_what_can_be_submitted_makes_a_challenges_stems() -> None:
    assert load_preset("music-2026").instruments == CHALLENGES["music"]
    assert load_preset("cinematic-2026").instruments == CHALLENGES["cinematic"]
    assert load_preset("vocals-2026").challenge is None


def test_the_only_models_of_vocals_2026_have_a_licence() -> None:
    preset = load_preset("vocals-2026")
    assert all(preset.manifest.checkpoints[name].licence for name in preset.checkpoints)
