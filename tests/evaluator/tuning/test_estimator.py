"""Members in the child: what it answers, and what is scored of it without audio."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
import yaml
from numpy.typing import NDArray

from evaluator.measures.sdr import sdr
from evaluator.running import dataset, scoring
from evaluator.running.dataset import Dataset
from evaluator.tuning import tune
from evaluator.tuning.estimator import Estimator, EstimatorError
from evaluator.tuning.tune import CURRENT, EQUAL, FREE, SINGLE, TUNED, TuneError
from evaluator.tuning.variants import FULL, variants
from evaluator.tuning.weighting import Layout, Vector, scorer
from my_submission import MusicSeparationModel
from my_submission.ensemble.preset_reader import load_preset
from my_submission.signal.audio import round_to_16_bits
from tests.evaluator.tuning.child_setup import Setup, WithoutChild, running
from tests.thinned import one_in


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setup]:
    with running(tmp_path_factory.mktemp("tune"), WithoutChild) as setup:
        yield setup


def stems_of(setup: Setup, preset: Path, track: dataset.Track, folder: Path) -> dict[str, NDArray[np.int16]]:
    """16-bit stems, (samples, channels)."""
    folder.mkdir(parents=True)
    setup.runner.write_stems(preset, track, folder)
    return {stem: soundfile.read(folder / f"{stem}.wav", dtype="int16")[0] for stem in track.references}


@pytest.mark.slow
def test_stems_are_those_of_the_submission(setup: Setup, tmp_path: Path) -> None:
    model = MusicSeparationModel(preset=setup.preset, device="cpu", precision="fp32")
    for track in setup.data.tracks:
        ours = stems_of(setup, setup.preset, track, tmp_path / track.name)
        arrays, rates = model.separate_music_file(*soundfile.read(track.mixtures[0]))
        for stem, array in arrays.items():
            soundfile.write(tmp_path / "theirs.wav", round_to_16_bits(array), rates[stem])
            theirs = soundfile.read(tmp_path / "theirs.wav", dtype="int16")[0].astype(int)
            assert np.abs(ours[stem] - theirs).max() <= 1
            reference = soundfile.read(track.references[stem])[0]
            scores = [sdr(reference, signal / 32768) for signal in (ours[stem], theirs)]
            assert scores[0] == pytest.approx(scores[1], abs=1e-5)


def test_cached_and_fresh_are_the_same_to_the_last_bit(setup: Setup, tmp_path: Path) -> None:
    preset = setup.preset.with_name("overlap.yaml")  # so that nothing of it is in the cache
    preset.write_text(
        setup.preset.read_text().replace("residual_shares:", "overlap: 0.3\n    residual_shares:")
    )
    preset.write_text(preset.read_text().replace("residual: inst", "overlap: 0.3\n    residual: inst"))
    track = setup.data.tracks[-1]
    written = []
    for folder in (tmp_path / "fresh", tmp_path / "cached"):
        folder.mkdir()
        cost = setup.runner.write_stems(preset, track, folder)
        assert (cost.computed, cost.reused) == ((5, 0) if folder.name == "fresh" else (0, 5))
        assert cost.model_seconds > 0
        written.append({stem: (folder / f"{stem}.wav").read_bytes() for stem in track.references})
    assert written[0] == written[1]


REFINED = """\
track: music
manifest: refined-rows.yaml
steps:
  - name: networks
    input: mixture
    stems: [b, d, o, v]
    members:
      - model: small_htdemucs
        sources: {b: bass, d: drums, o: other, v: vocals}
  - name: stems
    input: mixture
    stems: [bass, drums, other, vocals]
    mix:
      bass: {bass: 0.9, drums: -0.1, input: 0.05}
      vocals: {vocals: 1.1, other: -1/5}
    residual_shares: {other: 1/3}
    members:
      - model: mixer
        estimates: {bass: b, drums: d, other: o, vocals: v}
        weights: {bass: 0.5, drums: 0.5, other: 0.7, vocals: 0.9}
      - model: small_htdemucs_6s
        weights: {bass: 0.5, drums: 0.5, other: 0.3, vocals: 0.1}
      - wiener: {}
        estimates: {bass: b, drums: d, other: o, vocals: v}
        weights: {bass: 0.2, drums: 0.2, other: 0.2, vocals: 0.2}
"""


@pytest.fixture(scope="module")
def refined(setup: Setup) -> Path:
    """A preset whose second step mixes, and blends a mixer and a filter, which has no file, with another member."""
    folder = setup.preset.parent
    matrix = torch.randn(8, 10, generator=torch.Generator().manual_seed(0)) / 3
    torch.save({"linear.weight": matrix}, folder / "mixer.ckpt")
    document = yaml.safe_load((folder / "manifest.yaml").read_text())
    document["checkpoints"]["mixer"] = {
        "architecture": "mixer", "sources": ["bass", "drums", "other", "vocals"], "file": "mixer.ckpt"
    }  # fmt: skip
    (folder / "refined-rows.yaml").write_text(yaml.safe_dump(document))
    path = folder / "refined.yaml"
    path.write_text(REFINED)
    return path


def test_all_that_an_ablation_takes_from_a_refining_step_is_a_preset(
    setup: Setup, refined: Path, tmp_path: Path
) -> None:
    document = yaml.safe_load(refined.read_text())
    found = {variant.name: variant.document for variant in variants(document, setup.runner.describe(refined))}
    steps = {}
    for name, variant in found.items():
        path = refined.with_name("variant.yaml")
        path.write_text(yaml.safe_dump(variant))
        steps[name] = [step.name for step in load_preset(path).steps]
    assert steps[FULL] == steps["stems: without mix"] == ["networks", "stems"]
    assert steps["stems: only small_htdemucs_6s"] == ["stems"]
    assert steps["stems: only wiener of bass, drums, other, vocals"] == ["networks", "stems"]
    assert steps["stems: without small_htdemucs_6s"] == ["networks", "stems"]
    assert steps["small_htdemucs alone"] == ["all"]
    assert "mixer alone" not in found
    assert "without the step networks" not in found


@pytest.mark.parametrize(("kind", "tracks"), one_in(3, [("cascade", 1), ("cascade", 3), ("refined", 3)]))
def test_the_score_without_audio_is_that_of_remixed_audio_and_of_the_evaluation(
    kind: str, tracks: int, setup: Setup, refined: Path, tmp_path: Path
) -> None:
    preset = refined if kind == "refined" else setup.preset
    for step in setup.runner.describe(preset).steps:
        if not set(step.stems) & set(setup.data.challenge.stems):
            continue  # it makes what only others refine
        layout = tune.layout_of(step, setup.data.challenge.stems)
        weights = np.array([step.members[place].weights[stem] for place, stem in layout.candidates])
        for group in layout.groups():
            weights[group] /= weights[group].sum()
        for track in setup.data.tracks[-tracks:]:
            folder = tmp_path / step.name / track.name
            folder.mkdir(parents=True)
            gram = tune.track_gram(setup.runner, preset, step, layout, track, folder)
            form = scorer(layout, [gram]).sdr(weights)[0]
            stems_of(setup, preset, track, folder / "stems")
            evaluated = scoring.score_track(track, folder / "stems", ["sdr"])["sdr"]
            for value, output in zip(form, layout.outputs, strict=True):
                reference = soundfile.read(track.references[output])[0]
                mixed = remix(folder, layout, output, weights)
                assert value == pytest.approx(sdr(reference, mixed.T), abs=1e-6)
                assert value == pytest.approx(evaluated[output], abs=1e-3)  # clipped, 16 bits


def remix(folder: Path, layout: Layout, output: str, weights: Vector) -> NDArray[np.float32]:
    """An output from the estimates on disk, float32 (channels, samples)."""
    blend = layout.blend[output]
    mixed: Vector = blend["input"] * np.load(folder / "input.npy").astype(np.float64)
    for (place, stem), weight in zip(layout.candidates, weights, strict=True):
        estimate = np.load(folder / f"member{place}.{stem}.npy").astype(np.float64)
        mixed += blend[stem] * weight * estimate
    return mixed.astype(np.float32)


def test_every_way_to_weight_is_scored_in_and_out_of_sample(setup: Setup) -> None:
    instruments = setup.info.steps[1]
    seen: list[str] = []
    tuned = tune.tune_step(
        setup.runner, setup.preset, instruments, setup.data, progress=lambda track: seen.append(track.name)
    )
    assert seen == [track.name for track in setup.data.tracks]
    assert list(tuned.weightings) == [CURRENT, EQUAL, SINGLE, TUNED, FREE]
    means = {name: float(weighting.in_sample.mean()) for name, weighting in tuned.weightings.items()}
    assert means[FREE] >= means[TUNED] >= max(means[CURRENT], means[EQUAL], means[SINGLE]) - 1e-4
    fixed = tuned.weightings[CURRENT]
    assert fixed.out_of_fold is not None
    np.testing.assert_allclose(fixed.out_of_fold, fixed.in_sample)
    assert tuned.number_of_folds == 3
    text = tune.table(tuned)
    for word in (
        "small_htdemucs_6s",
        "best single",
        "no constraints",
        "out of fold",
        "Out of fold (3 folds of 3 tracks)",
    ):
        assert word in text


@pytest.mark.thorough
def test_an_objective_of_one_stem_serves_that_stem(setup: Setup) -> None:
    instruments = setup.info.steps[1]
    for_bass = tune.tune_step(setup.runner, setup.preset, instruments, setup.data, objective="bass")
    for_all = tune.tune_step(setup.runner, setup.preset, instruments, setup.data)
    bass = for_bass.scores.layout.outputs.index("bass")

    def score(tuned: tune.Tuned) -> float:
        return float(tuned.weightings[TUNED].in_sample[:, bass].mean())

    assert score(for_bass) >= score(for_all)


def test_what_cannot_be_tuned_says_why(setup: Setup) -> None:
    vocals = setup.info.steps[0]
    with pytest.raises(TuneError, match="objective drums: expected mean_sdr or vocals for step vocals"):
        tune.tune_step(setup.runner, setup.preset, vocals, setup.data, objective="drums")
    with pytest.raises(TuneError, match="step vocals makes none of dialog"):
        tune.layout_of(vocals, ("dialog",))


@pytest.mark.thorough
def test_one_track_alone_is_not_judged(setup: Setup) -> None:
    one = Dataset(setup.data.path, setup.data.challenge, setup.data.tracks[:1], ())
    tuned = tune.tune_step(setup.runner, setup.preset, setup.info.steps[0], one)
    assert tuned.number_of_folds == 0
    assert "One track cannot tell" in tune.table(tuned)


def test_a_child_that_ends_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evaluator.tuning.estimator.sys.executable", "false")
    runner = Estimator(tmp_path / "cache")
    with pytest.raises(EstimatorError, match="ended with exit code 1"):
        runner.__enter__()
