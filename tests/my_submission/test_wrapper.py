"""A copy of my_submission/ in a folder of the starter kit's layout, under a loop like the organisers'."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from my_submission import aicrowd_wrapper
from my_submission.aicrowd_wrapper import AIcrowdWrapper
from my_submission.ensemble.preset_reader import load_preset

ROOT = Path(__file__).parents[2]

LOOP = """
import os, sys
sys.path.insert(0, sys.argv[1])
from my_submission.aicrowd_wrapper import AIcrowdWrapper
wrapper = AIcrowdWrapper(predictions_dir="predictions", dataset_dir="data")
for folder in sorted(os.listdir(wrapper.dataset_dir)):
    assert wrapper.separate_music_file(folder) is True
print(*wrapper.instruments)
"""


def starter_kit(folder: Path, weights: Path, preset: str) -> Path:
    """The layout of the public kit: my_submission/ with our code, weights/ beside it."""
    kit = folder / "kit"
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "my_submission", kit / "my_submission", ignore=ignore)
    (kit / "weights").mkdir()
    shutil.copy(weights / "manifest.yaml", kit / "weights")
    loaded = load_preset(preset)
    for name in loaded.checkpoints:
        file = loaded.manifest.checkpoints[name].file
        shutil.copy(weights / file, kit / "weights" / file)
    # each network runs over a track once or twice, which is enough
    path = kit / "my_submission" / "presets" / f"{preset}.yaml"
    members, _, _ = path.read_text().partition("\neconomies:")
    path.write_text(re.sub(r"(overlap|shifts): [\d.]+", r"\1: 0", members))
    config = kit / "my_submission" / "user_config.py"
    config.write_text(config.read_text().replace('"mdx-demo"', f'"{preset}"'))
    return kit


def run_loop(kit: Path, work: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    variables = {key: value for key, value in os.environ.items() if not key.startswith(("AICROWD", "SDX"))}
    return subprocess.run(
        [sys.executable, "-c", LOOP, str(kit)],
        cwd=work,
        env={**variables, **environment, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )


def write(path: Path, array: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, array, 44_100)


@pytest.mark.slow
def test_music_kit(tmp_path: Path, small_weights: Path) -> None:
    kit = starter_kit(tmp_path, small_weights, "mdx-c-consistent")
    work = tmp_path / "elsewhere"
    (work / "predictions").mkdir(parents=True)
    mixture = 0.1 * np.random.default_rng(0).standard_normal((3_000, 2))
    write(work / "data" / "song" / "mixture.wav", mixture)
    done = run_loop(kit, work)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["bass", "drums", "other", "vocals"]
    stems = {path.name: soundfile.read(path)[0] for path in (work / "predictions" / "song").iterdir()}
    assert set(stems) == {"bass.wav", "drums.wav", "other.wav", "vocals.wav"}
    assert np.abs(sum(stems.values()) - mixture).max() < 5 / 32768  # four files and the mixture are 16 bit


@pytest.mark.slow
def test_cinematic_kit(tmp_path: Path, small_weights: Path) -> None:
    """One track with one file per channel, one with a single mono file: the organisers' data has both."""
    kit = starter_kit(tmp_path, small_weights, "cdx-b")
    work, shared = tmp_path / "elsewhere", tmp_path / "shared"
    (shared / "predictions").mkdir(parents=True)
    work.mkdir()
    dataset = tmp_path / "hidden"
    left, right = 0.1 * np.random.default_rng(0).standard_normal((2, 3_000))
    write(dataset / "f1" / "f1_mixture_Lt.wav", left)
    write(dataset / "f1" / "f1_mixture_Rt.wav", right)
    write(dataset / "f2" / "mix.wav", left)
    done = run_loop(kit, work, AICROWD_DATASET_DIR=str(dataset), AICROWD_PUBLIC_SHARED_DIR=str(shared))
    assert done.returncode == 0, done.stderr
    for folder, channels in {"f1": (left, right), "f2": (left, left)}.items():
        stems = {path.name: soundfile.read(path)[0] for path in (shared / "predictions" / folder).iterdir()}
        assert set(stems) == {f"{folder}_{stem}.wav" for stem in ("dialog", "effect", "music")}
        assert np.abs(sum(stems.values()) - np.stack(channels, axis=1)).max() < 4 / 32768


class Model:
    """All of a model that the wrapper needs to be constructed."""

    instruments = ("dialog", "effect", "music")


@pytest.mark.parametrize("missing", ["predictions", "data"])
def test_missing_directories_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    for variable in ("AICROWD_DATASET_DIR", "AICROWD_PUBLIC_SHARED_DIR"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(aicrowd_wrapper, "MySeparationModel", Model)
    folders = {name: tmp_path / name for name in ("predictions", "data")}
    for folder in folders.values():
        folder.mkdir()
    folders[missing].rmdir()
    with pytest.raises(AssertionError, match=f"{missing} - No such directory"):
        AIcrowdWrapper(predictions_dir=str(folders["predictions"]), dataset_dir=str(folders["data"]))


def test_stems_of_no_challenge_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Other:
        instruments = ("instrumental", "vocals")

    monkeypatch.setattr(aicrowd_wrapper, "MySeparationModel", Other)
    with pytest.raises(
        AssertionError, match=r"expected \['bass', .*\] or \['dialog', .*\], found \['instrumental'"
    ):
        AIcrowdWrapper(predictions_dir=str(tmp_path), dataset_dir=str(tmp_path))
