"""Spleeter's presets and `start` on small networks; and when `start` is what separates where nobody has chosen."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from my_submission import SeparationModel
from my_submission.ensemble.preset_reader import load_preset
from my_submission.files import default_preset
from my_submission.files.default_preset import EMBEDDED, START, configured_preset
from my_submission.weights import WeightsError
from tests.random_checkpoints import write_small_kit

PRESETS = ("start", "spleeter-4stems", "spleeter-5stems-16kHz")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The manifest of small networks, and the files of `start` as far as their names go."""
    folder = write_small_kit(tmp_path_factory.mktemp("start"), ())
    for number in (0, 1):
        (folder / f"testcheckpoint{number}.ckpt").write_bytes(b"x")
    return folder


@pytest.fixture
def small_networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every checkpoint of these presets, small, and the manifest that describes them so."""
    folder = write_small_kit(tmp_path, PRESETS)
    monkeypatch.setattr("my_submission.weights.manifest.MANIFEST", folder / "manifest.yaml")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_makes_its_stems_whole_and_with_all_its_economies(name: str, small_networks: Path) -> None:
    preset = load_preset(name)
    mixture = 0.1 * np.random.default_rng(7).standard_normal((20_001, 2)).astype(np.float32)
    for fast in {False, bool(preset.economies)}:
        model = SeparationModel(
            preset=name, weights_dir=small_networks, device="cpu", precision="fp32", fast=fast
        )
        stems, _ = model.separate_music_file(mixture, 44_100)
        assert tuple(stems) == preset.instruments
        for stem in stems.values():
            assert stem.shape == mixture.shape
            assert np.isfinite(stem).all()
            assert np.abs(stem).max() > 0
        if preset.mixture_consistent:
            assert np.abs(sum(stems.values()) - mixture).max() < 1e-6


@pytest.fixture
def unchosen(monkeypatch: pytest.MonkeyPatch, weights: Path, tmp_path: Path) -> pytest.MonkeyPatch:
    """As the kit comes, and no weights in its own places."""
    monkeypatch.delenv("SDX_PRESET", raising=False)
    monkeypatch.setattr("my_submission.user_config.PRESET", EMBEDDED)
    (tmp_path / "kit").mkdir()
    (tmp_path / "kit" / "manifest.yaml").write_bytes((weights / "manifest.yaml").read_bytes())
    monkeypatch.setattr("my_submission.weights.manifest.MANIFEST", tmp_path / "kit" / "manifest.yaml")
    monkeypatch.setattr("my_submission.weights.store.WEIGHTS_FOLDER", tmp_path / "kit")
    return monkeypatch


def test_start_separates_once_all_its_files_are_here(unchosen: Any, weights: Path, tmp_path: Path) -> None:
    assert configured_preset() == EMBEDDED
    assert configured_preset(weights) == START
    first = tmp_path / "kit" / "testcheckpoint0.ckpt"
    first.write_bytes(b"x")
    assert configured_preset() == EMBEDDED, "half of them"
    first.with_name("testcheckpoint1.ckpt").write_bytes(b"x")
    assert configured_preset() == START
    with pytest.raises(WeightsError, match="is not a folder"):
        configured_preset(tmp_path / "nowhere")


def test_spleeters_own_archive_is_as_good(unchosen: Any, tmp_path: Path) -> None:
    (tmp_path / "kit" / "2stems.tar.gz").write_bytes(b"x")
    assert configured_preset() == START


def test_what_somebody_chose_stays(unchosen: pytest.MonkeyPatch, weights: Path) -> None:
    unchosen.setattr("my_submission.user_config.PRESET", "mdx-c")
    assert configured_preset(weights) == "mdx-c"
    unchosen.setattr("my_submission.user_config.PRESET", EMBEDDED)
    unchosen.setenv("SDX_PRESET", str(EMBEDDED))
    assert configured_preset(weights) == EMBEDDED
    assert default_preset.EMBEDDED != default_preset.START
