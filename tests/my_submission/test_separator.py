"""The challenge's interface: any acceptable input comes back with its own length, channels and rate."""

import importlib
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from torch import Tensor

from my_submission import CinematicSeparationModel, MusicSeparationModel, user_config
from my_submission.ensemble import costs
from my_submission.ensemble.preset import PresetError, checkpoint_rows
from my_submission.ensemble.preset_reader import PRESETS_FOLDER, load_preset
from my_submission.models.demucs_file import load_torch
from my_submission.models.onnx_network import OnnxNetwork
from my_submission.runtime import devices
from my_submission.signal.chunking import reader
from my_submission.weights import Checkpoint, MissingWeights
from my_submission.weights.manifest import MANIFEST
from tests.lower_precision import CPU, MARGIN_DB, agreement, autocast
from tests.my_submission.files_model import write_tiny_preset
from tests.thinned import one_in

pytestmark = pytest.mark.usefixtures("small_manifest")

Array = Any


@pytest.fixture(scope="module")
def music(small_weights: Path, small_manifest: None) -> MusicSeparationModel:
    return MusicSeparationModel(
        preset="mdx-c-consistent", weights_dir=small_weights, verify_weights=False, device="cpu", precision="fp32",
        overlap=0.0, shifts=0,
    )  # fmt: skip


@pytest.fixture(scope="module")
def tiny_preset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For what does not depend on the ensemble; its stems add up to the mixture."""
    return write_tiny_preset(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def one_network(tiny_preset: Path) -> MusicSeparationModel:
    return MusicSeparationModel(preset=tiny_preset, device="cpu", precision="fp32")


@pytest.fixture(scope="module")
def vocals_alone(small_weights: Path, small_manifest: None) -> MusicSeparationModel:
    return MusicSeparationModel(
        preset="mdx-c-consistent", weights_dir=small_weights, verify_weights=False, device="cpu", precision="fp32",
        overlap=0.0, shifts=0, stems=["vocals"],
    )  # fmt: skip


@pytest.fixture
def demo() -> MusicSeparationModel:
    return MusicSeparationModel(device="cpu", precision="fp32")


@pytest.fixture(scope="module")
def cinematic(small_weights: Path, small_manifest: None) -> CinematicSeparationModel:
    return open_cinematic(small_weights)


def open_cinematic(weights: Path) -> CinematicSeparationModel:
    return CinematicSeparationModel(
        preset="cdx-b", weights_dir=weights, verify_weights=False, device="cpu", overlap=0.25
    )


def noise(samples: int, channels: int = 2, seed: int = 0) -> Array:
    return 0.1 * np.random.default_rng(seed).standard_normal((samples, channels))


def total(arrays: dict[str, Array]) -> Array:
    return np.sum([array.astype(np.float64) for array in arrays.values()], axis=0)


@pytest.mark.parametrize(
    ("samples", "rate", "channels"),  # every pair of values
    one_in(
        6,
        [
            (5_000, 44_100, 2),
            (1, 44_100, 1),
            (1, 48_000, 2),
            (2, 48_000, 1),
            (2, 44_100, 2),
            (5_000, 48_000, 1),
        ],
    ),
)
def test_stems_have_the_mixtures_form_and_add_up(
    music: MusicSeparationModel, samples: int, rate: int, channels: int
) -> None:
    mixture = noise(samples, channels)
    arrays, rates = music.separate_music_file(mixture, rate)
    assert list(arrays) == music.instruments == ["bass", "drums", "other", "vocals"]
    assert rates == dict.fromkeys(music.instruments, rate)
    for array in arrays.values():
        assert array.shape == (samples, channels)
        assert array.dtype == np.float32
    assert np.abs(total(arrays) - mixture).max() < 1e-6


@pytest.mark.parametrize("rate", [8_000, 22_050, 96_000, 192_000])
def test_other_rates(one_network: MusicSeparationModel, rate: int) -> None:
    mixture = noise(3_001, seed=rate)
    arrays, _ = one_network.separate_music_file(mixture, rate)
    assert {array.shape for array in arrays.values()} == {(3_001, 2)}
    assert np.abs(total(arrays) - mixture).max() < 1e-6


def test_one_axis_is_mono(one_network: MusicSeparationModel) -> None:
    mixture = noise(2_000, 1)
    flat, _ = one_network.separate_music_file(mixture[:, 0], 44_100)
    column, _ = one_network.separate_music_file(mixture, 44_100)
    for stem, array in flat.items():
        assert array.shape == (2_000, 1)
        assert np.array_equal(array, column[stem])


def test_pcm_gives_what_float_gives(one_network: MusicSeparationModel) -> None:
    pcm = (noise(2_000) * 32768).astype(np.int16)
    as_pcm, _ = one_network.separate_music_file(pcm, 44_100)
    as_float, _ = one_network.separate_music_file(pcm / 32768, 44_100)
    assert all(np.array_equal(as_pcm[stem], as_float[stem]) for stem in as_pcm)


def test_silence_gives_silence(music: MusicSeparationModel, cinematic: CinematicSeparationModel) -> None:
    for model in (music, cinematic):
        arrays, _ = model.separate_music_file(np.zeros((1_000, 2)), 44_100)
        assert all(not array.any() for array in arrays.values())


def test_what_is_submitted_is_what_a_16_bit_file_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tiny_preset: Path
) -> None:
    """`MySeparationModel` rounds to the nearest step; the library class is exact, and its stems add up."""
    monkeypatch.setenv("SDX_PRESET", str(tiny_preset))
    submitted = importlib.reload(user_config).MySeparationModel()
    mixture = noise(5_000)
    arrays, rates = submitted.separate_music_file(mixture, 44_100)
    exact, _ = MusicSeparationModel(preset=tiny_preset).separate_music_file(mixture, 44_100)
    for stem, array in arrays.items():
        soundfile.write(tmp_path / "x.wav", array, rates[stem])
        held, _ = soundfile.read(tmp_path / "x.wav", dtype="float32")
        assert np.array_equal(held, array)
        assert 0 < np.abs(array - exact[stem]).max() <= 0.5 / 32_768 + 1e-7
    silent, _ = submitted.separate_music_file(np.zeros((1_000, 2)), 44_100)
    assert not any(array.any() for array in silent.values())


def test_cinematic_adds_up(cinematic: CinematicSeparationModel) -> None:
    mixture = noise(4_000)
    arrays, _ = cinematic.separate_music_file(mixture, 44_100)
    assert list(arrays) == cinematic.instruments == ["dialog", "effect", "music"]
    assert np.abs(total(arrays) - mixture).max() < 1e-6


@pytest.mark.thorough
def test_the_same_bits_again_whatever_ran_before(
    small_weights: Path, cinematic: CinematicSeparationModel
) -> None:
    mixture = noise(10_000)
    first, _ = open_cinematic(small_weights).separate_music_file(mixture, 44_100)
    cinematic.separate_music_file(noise(7_000, seed=9), 44_100)
    second, _ = cinematic.separate_music_file(mixture, 44_100)
    assert all(np.array_equal(first[stem], second[stem]) for stem in first)


@pytest.mark.parametrize(
    ("array", "rate", "message"),
    [
        (np.zeros((0, 2)), 44_100, "empty array"),
        (np.full((10, 2), np.nan), 44_100, "found nan"),
        (np.zeros((2, 44_100)), 44_100, "transposed"),
        (np.zeros((10, 6)), 44_100, "6 channels"),
        (np.zeros((10, 2)), 4_000, "sample_rate"),
    ],
)
def test_unusable_input(music: MusicSeparationModel, array: Array, rate: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        music.separate_music_file(array, rate)


def test_raise_aicrowd_error(music: MusicSeparationModel) -> None:
    with pytest.raises(NameError, match="a message"):
        music.raise_aicrowd_error("a message")


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (
            {"preset": "cdx-b"},
            PresetError,
            "for the music challenge, .*; this one makes dialog, effect, music",
        ),
        ({"device": "cuda:7"}, RuntimeError, "found 'cuda:7', but torch .* sees 0 GPUs"),
        ({"device": "gpu"}, ValueError, "device: expected auto, cpu, cuda or cuda:N, found 'gpu'"),
        ({"precision": "int8"}, ValueError, "precision: expected one of auto, fp32, bf16, fp16"),
        ({"device": "cpu", "precision": "fp16"}, ValueError, "fp16 needs a GPU"),
        ({"overlap": 1.0}, PresetError, "overlap: expected a fraction"),
        ({"shifts": -1}, PresetError, "shifts: expected a whole number"),
    ],
)
def test_unusable_arguments(
    small_weights: Path, arguments: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        MusicSeparationModel(
            **{"preset": "mdx-c", "weights_dir": small_weights, "verify_weights": False, **arguments}
        )


def test_missing_weights_are_listed_with_the_command_that_fetches_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("my_submission.weights.manifest.MANIFEST", MANIFEST)  # no small ones lie beside it
    with pytest.raises(MissingWeights, match=r"(?s)Kim_Vocal_1.onnx.*weights fetch mdx-c"):
        MusicSeparationModel(preset="mdx-c-consistent", weights_dir=tmp_path)
    own = tmp_path / "of my own.yaml"
    shutil.copyfile(PRESETS_FOLDER / "mdx-c-consistent.yaml", own)
    with pytest.raises(MissingWeights, match=rf"weights fetch '{re.escape(str(own))}'"):
        MusicSeparationModel(preset=own, weights_dir=tmp_path)


def test_provenance_is_json_and_names_every_file(music: MusicSeparationModel) -> None:
    record = json.loads(json.dumps(music.provenance()))
    assert record["preset"] == "mdx-c-consistent"
    assert len(record["weights"]) == 9
    assert all(len(row["sha256"]) == 64 for row in record["weights"])
    assert (record["device"], record["precision"]) == ("cpu", "float32")


@pytest.mark.thorough
@pytest.mark.parametrize(("rate", "channels"), [(32_000, 2), (44_100, 1), (44_100, 2), (96_000, 1)])
def test_a_wanted_stem_is_what_it_is_among_all(
    music: MusicSeparationModel, vocals_alone: MusicSeparationModel, rate: int, channels: int
) -> None:
    """What lies above the models' half rate included, of which each of the four stems has a quarter."""
    assert vocals_alone.instruments == ["vocals"]
    assert len(vocals_alone.provenance()["weights"]) == 3
    mixture = noise(5_000, channels)
    whole, _ = music.separate_music_file(mixture, rate)
    alone, rates = vocals_alone.separate_music_file(mixture, rate)
    assert set(alone) == set(rates) == {"vocals"}
    np.testing.assert_allclose(alone["vocals"], whole["vocals"], atol=1e-6)


def test_networks_compute_only_the_sources_that_the_preset_uses(music: MusicSeparationModel) -> None:
    found = {
        name: set(music._models.get(name).sources) for name in ("htdemucs_ft_bass", "htdemucs", "htdemucs_6s")
    }
    assert found == {
        "htdemucs_ft_bass": {"bass"},
        "htdemucs": {"bass", "drums", "other"},
        "htdemucs_6s": {"bass", "drums", "other", "guitar", "piano"},
    }


@pytest.mark.thorough
def test_once_measured_progress_is_in_seconds(
    demo: MusicSeparationModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(costs, "MEASURED_SECONDS", 0.0)  # one round
    seconds: list[tuple[float, float]] = []
    unmeasured = demo.work(44_100)
    demo.measure()
    for _ in demo.stream(reader(torch.zeros(2, 44_100)), 44_100, lambda *told: seconds.append(told)):
        pass
    assert seconds[-1][0] == pytest.approx(demo.work(44_100)) == pytest.approx(seconds[-1][1])
    assert 0 < demo.work(44_100) < unmeasured
    assert [done for done, _ in seconds] == sorted(done for done, _ in seconds)


def test_fast_takes_all_economies_and_loads_only_what_is_left(small_weights: Path) -> None:
    model = MusicSeparationModel(
        preset="mdx-c-consistent", weights_dir=small_weights, verify_weights=False, device="cpu", fast=True
    )
    record = model.provenance()
    assert [row["name"] for row in record["weights"]] == ["Kim_Vocal_1", "htdemucs"]
    assert record["economies"] == [str(economy) for economy in load_preset("mdx-c-consistent").economies]
    mixture = noise(5_000)
    arrays, _ = model.separate_music_file(mixture, 44_100)
    assert np.abs(total(arrays) - mixture).max() < 1e-6


@pytest.mark.thorough
def test_a_generous_limit_changes_nothing_and_a_hopeless_one_is_kept_to_as_well_as_can_be(
    demo: MusicSeparationModel, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(costs, "MEASURED_SECONDS", 0.0)
    mixture = noise(5_000)
    expected, _ = demo.separate_music_file(mixture, 32_000)
    for factor in (1e6, 1e-3):
        model = MusicSeparationModel(device="cpu", precision="fp32", time_limit_factor=factor)
        assert ("tracks will be late" in caplog.text) == (factor < 1)
        arrays, _ = model.separate_music_file(mixture, 32_000)
        assert np.abs(total(arrays) - mixture).max() < 1e-6
        if factor > 1:
            assert model.provenance()["economies"] == []
            for stem, array in expected.items():
                np.testing.assert_allclose(arrays[stem], array, atol=1e-5)
    assert model.provenance()["time_limit_factor"] == 1e-3
    assert "vocals: without demo-scnet-4stem" in model.provenance()["economies"]


class InAutocast:
    """The reference network of a checkpoint under plain autocast, in the form of our own model of it."""

    def __init__(self, row: Checkpoint, path: Path, model: Any) -> None:
        self.sources, self.geometry = model.sources, model.geometry
        self.bytes_per_sample = model.bytes_per_sample
        self._places = [row.sources.index(source) for source in model.sources]
        self._spectrogram = model._spectrogram if row.architecture == "mdx_net" else None
        network = OnnxNetwork(path, CPU, torch.float32) if self._spectrogram else load_torch(path, row)
        self._network = network.eval()

    def __call__(self, chunks: Tensor) -> Tensor:
        if self._spectrogram is None:
            return autocast(self._network, chunks)[:, self._places]
        spectrograms = autocast(self._network, self._spectrogram.forward(chunks))
        estimates: Tensor = self._spectrogram.inverse(spectrograms)
        return estimates[:, None]


@pytest.mark.slow
@pytest.mark.processor
def test_lower_precision_is_as_near_to_float32_as_autocast_for_every_stem(
    music: MusicSeparationModel, small_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the whole graph, in which errors go from one step to the next."""
    lower = MusicSeparationModel(
        preset="mdx-c-consistent", weights_dir=small_weights, verify_weights=False, device="cpu", overlap=0, shifts=0,
        precision="bf16",
    )  # fmt: skip
    mixture = noise(12_000)
    expected, _ = music.separate_music_file(mixture, 44_100)
    found, _ = lower.separate_music_file(mixture, 44_100)
    rows = {row.name: row for row in checkpoint_rows(load_preset("mdx-c"))}
    for name, model in music._models._models.items():
        theirs = InAutocast(rows[name], music._paths[name], model)
        monkeypatch.setitem(music._models._models, name, theirs)
    rounded, _ = music.separate_music_file(mixture, 44_100)
    for stem, array in expected.items():
        true, ours, plain = (torch.from_numpy(stems[stem]) for stems in (expected, found, rounded))
        assert not np.array_equal(found[stem], array)
        assert agreement(true, ours) > agreement(true, plain) - MARGIN_DB, stem
    assert lower.provenance()["precision"] == "bfloat16"


@pytest.mark.thorough
def test_each_kind_of_network_has_the_precision_in_which_it_is_quicker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And the record says which."""
    monkeypatch.setattr(devices, "_CHOSEN", {})
    monkeypatch.setattr(devices, "_lower_dtype", lambda device: torch.bfloat16)
    ratios = {"scnet": 2.0, "mdx_net": 0.5}
    monkeypatch.setattr(
        devices, "_times_as_quick", lambda trial, lower, clock: ratios[trial.args[0].architecture]
    )
    model = MusicSeparationModel(device="cpu", precision="auto")
    expected = "bfloat16 (demo-scnet-4stem), float32 (demo-mdx-vocals)"
    assert model.provenance()["precision"] == expected
    arrays, _ = model.separate_music_file(noise(5_000), 44_100)
    exact, _ = MusicSeparationModel(device="cpu", precision="fp32").separate_music_file(noise(5_000), 44_100)
    assert not np.array_equal(arrays["drums"], exact["drums"])
