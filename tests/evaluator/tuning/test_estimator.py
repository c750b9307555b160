"""Members in the child, and what tune and ablate make of them from start to end."""

from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import soundfile
import torch
import yaml
from numpy.typing import NDArray

from evaluator.__main__ import main
from evaluator.commands import estimator_options
from evaluator.measures import means
from evaluator.measures.sdr import sdr
from evaluator.running import dataset, scoring
from evaluator.running.dataset import Dataset
from evaluator.tuning import ablate, savings, table, tune
from evaluator.tuning.estimator import Cost, Estimator, EstimatorError, PresetInfo
from evaluator.tuning.preset_file import with_runs
from evaluator.tuning.table import Named
from evaluator.tuning.tune import CURRENT, EQUAL, FREE, SINGLE, TUNED, TuneError, tune_step
from evaluator.tuning.variants import FULL, variants
from evaluator.tuning.weighting import Layout, Vector, scorer
from my_submission import MusicSeparationModel
from my_submission.ensemble.preset_reader import load_preset
from my_submission.signal.audio import round_to_16_bits
from sdx.engines.scratch import scratch_folder
from tests.evaluator import audio
from tests.evaluator.small_ensemble import write_ensemble, write_tracks
from tests.thinned import one_in


class Setup:
    """A preset, tracks, and a running child with a cache of its own."""

    def __init__(self, folder: Path, runner: Estimator) -> None:
        self.folder = folder
        self.preset = write_ensemble(folder / "ensemble")
        self.data = dataset.load(write_tracks(folder / "tracks"))
        self.runner = runner

    @property
    def info(self) -> PresetInfo:
        return self.runner.describe(self.preset)


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setup]:
    folder = tmp_path_factory.mktemp("tune")
    with Estimator(folder / "cache", device="cpu", precision="fp32") as runner:
        yield Setup(folder, runner)


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
    track = setup.data.tracks[0]
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


@pytest.mark.parametrize("kind", one_in(2, ["cascade", "refined"]))
def test_the_score_without_audio_is_that_of_remixed_audio_and_of_the_evaluation(
    kind: str, setup: Setup, refined: Path, tmp_path: Path
) -> None:
    preset = refined if kind == "refined" else setup.preset
    for step in setup.runner.describe(preset).steps:
        if not set(step.stems) & set(setup.data.challenge.stems):
            continue  # it makes what only others refine
        layout = tune.layout_of(step, setup.data.challenge.stems)
        weights = np.array([step.members[place].weights[stem] for place, stem in layout.candidates])
        for group in layout.groups():
            weights[group] /= weights[group].sum()
        for track in setup.data.tracks:
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


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("track: music", "track: musik"), "track: found 'musik'"),
        (("manifest.yaml", "nowhere.yaml"), "no such manifest file"),
    ],
)
def test_a_wrong_preset_is_explained_and_the_child_lives_on(
    setup: Setup, change: tuple[str, str], message: str
) -> None:
    wrong = setup.preset.with_name("wrong.yaml")
    wrong.write_text(setup.preset.read_text().replace(*change))
    with pytest.raises(EstimatorError, match=message):
        setup.runner.describe(wrong)
    assert setup.info.instruments == setup.data.challenge.stems


def test_a_child_that_ends_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evaluator.tuning.estimator.sys.executable", "false")
    runner = Estimator(tmp_path / "cache")
    with pytest.raises(EstimatorError, match="ended with exit code 1"):
        runner.__enter__()


@pytest.mark.slow
def test_tune_writes_a_better_preset(setup: Setup, capsys: pytest.CaptureFixture[str]) -> None:
    out = setup.folder / "tuned.yaml"
    arguments = ["tune", str(setup.preset), "--data", str(setup.data.path), "--out", str(out)]
    arguments += ["--cache", str(setup.folder / "cache"), "--device", "cpu", "--precision", "fp32"]
    assert main(arguments) == 0
    printed = capsys.readouterr().out
    assert printed.count("Out of fold (3 folds of 3 tracks), the tuned weights of step") == 2
    text = out.read_text()
    assert "# A preset for tests." in text
    assert "# the first member" in text
    assert "# the others" in text
    assert "# tuned (vocals): by `python -m evaluator tune` on 3 tracks of tracks (" in text
    old, new = load_preset(setup.preset), load_preset(out)
    assert [step.name for step in new.steps] == ["vocals", "instruments"]
    assert mean_sdr(setup, out) >= mean_sdr(setup, setup.preset) - 1e-3
    for before, after in zip(old.steps, new.steps, strict=True):
        assert {(m.model, m.polarity, m.shifts, m.overlap) for m in after.members} <= {
            (m.model, m.polarity, m.shifts, m.overlap) for m in before.members
        }
    assert main(arguments) == 2  # it exists
    assert "exists; choose another name, or give --overwrite" in capsys.readouterr().err
    assert yaml.safe_load(text)["manifest"] == "ensemble/manifest.yaml"


def mean_sdr(setup: Setup, preset: Path) -> float:
    """The mean SDR in dB of a preset on the tracks, in an evaluation."""
    with scratch_folder() as folder:
        scores = []
        for track in setup.data.tracks:
            setup.runner.write_stems(preset, track, folder)
            scores += list(scoring.score_track(track, folder, ["sdr"])["sdr"].values())
    return float(np.mean([score for score in scores if score is not None]))


@pytest.mark.slow
def test_ablate_shares_what_variants_have_in_common(setup: Setup) -> None:
    document = ablate.read_document(setup.preset)
    chosen = {variant.name: variant for variant in variants(document, setup.info)}
    names = [
        FULL,
        "instruments: without residual shares",
        "vocals: without small_inst = vocals: only small_htdemucs",
    ]
    spied = Spy(setup.runner)
    rows = ablate.ablate(cast(Estimator, spied), [chosen[name] for name in names], setup.data)
    costs = list(zip(*[iter(spied.costs)] * 3, strict=True))  # for each track, those of the three variants
    for whole, blended_otherwise, one_member in costs:
        assert whole.computed + whole.reused == 5
        assert blended_otherwise.computed == 0  # the same passes, put together otherwise
        assert one_member.reused >= 2  # both polarities over the mixture
        assert one_member.computed + one_member.reused < 5  # and so it costs less
    whole_row = rows[0]
    for track, scores in zip(setup.data.tracks, whole_row.scores, strict=True):
        with scratch_folder() as folder:
            setup.runner.write_stems(setup.preset, track, folder)
            assert scores == scoring.score_track(track, folder, ["sdr"])["sdr"]
    assert all(row.rtf > 0 for row in rows)
    preset = Named(setup.preset, document, setup.info)
    stems = table.columns([preset], setup.data.path)
    systems = table.systems([preset], stems)
    lines = table.run(setup.runner, systems, setup.data.path, None)
    assert [set(line.scores) - {"mean"} for line in lines] == [set(made) for _, made in systems]
    assert lines[-1].scores == means.total(whole_row.scores, stems)


class Spy:
    """An estimator that notes the cost of all stems written."""

    answers = Estimator.answers

    def __init__(self, runner: Estimator) -> None:
        self.runner = runner
        self.costs: list[Cost] = []

    def require(self, preset: Path) -> None:
        self.runner.require(preset)

    def write_stems(self, preset: Path, track: dataset.Track, folder: Path) -> Cost:
        self.costs.append(self.runner.write_stems(preset, track, folder))
        return self.costs[-1]


@pytest.mark.slow
def test_a_preset_of_other_stems_is_tuned_and_ablated_on_data_that_has_them(setup: Setup) -> None:
    first_step = setup.preset.read_text().split("\n  # the others")[0]
    preset = setup.preset.with_name("two.yaml")
    preset.write_text(first_step.replace("track: music", "stems: [vocals, instrumental]"))
    given = Namespace(preset="two.yaml", only=None, skip_bad=False, data=setup.folder / "stems")
    audio.write_stems(given.data, ("instrumental", "piano", "vocals"))
    info = setup.runner.describe(preset)
    data, _ = estimator_options.load_data(given, info)
    (step,) = info.steps
    tuned = tune.tune_step(setup.runner, preset, step, data)
    assert tuned.scores.layout.outputs == ("vocals", "instrumental")
    rows = ablate.ablate(setup.runner, variants(ablate.read_document(preset), info), data)
    assert [set(scores) for scores in rows[0].scores] == [{"instrumental", "vocals"}] * 2
    whole = np.mean([list(scores.values()) for scores in rows[0].scores])
    assert whole == pytest.approx(tune.objective_db(tuned, CURRENT), abs=1e-3)
    given.data = setup.data.path
    with pytest.raises(
        EstimatorError, match=r"two.yaml is for the stems instrumental, vocals, but .* holds music tr"
    ):
        estimator_options.load_data(given, info)


def without_shifts(setup: Setup) -> Path:
    """The preset without random shifts, whose delays are others where a step has a model more often."""
    preset = setup.folder / "ensemble" / "plain.yaml"
    preset.write_text(setup.preset.read_text().replace("        shifts: 1\n", ""))
    return preset


@pytest.mark.thorough
def test_savings_of_a_real_preset(setup: Setup) -> None:
    """Time adds up to the prediction for the preset, before and after, and what is chosen is a preset."""
    preset = without_shifts(setup)
    found = savings.study(setup.runner, preset, setup.runner.describe(preset), setup.data)
    points = found.walk()
    prediction = setup.runner.predict(preset, setup.data.tracks)
    expected = np.sum([step.sum(axis=0) for step in prediction.seconds], axis=0)
    np.testing.assert_allclose(points[0].seconds, expected, rtol=1e-6)
    text = preset.read_text()
    fastest = min(points, key=lambda point: point.rtf)
    for step, choice in zip(found.steps, fastest.choices, strict=True):
        text = with_runs(text, step.step.name, step.keys(choice))
    written = setup.folder / "ensemble" / "fastest.yaml"
    written.write_text(text)
    info = setup.runner.describe(written)
    assert [len(step.members) for step in info.steps] == [1, 1]
    again = setup.runner.predict(written, setup.data.tracks)
    total = np.sum([step.sum(axis=0) for step in again.seconds], axis=0)
    np.testing.assert_allclose(total, fastest.seconds, rtol=1e-6)


@pytest.mark.thorough
def test_the_score_of_the_study_is_that_of_tuning(setup: Setup) -> None:
    """Without random shifts, the whole step scores in the study what tune finds for it."""
    preset = without_shifts(setup)
    info = setup.runner.describe(preset)
    found = savings.study(setup.runner, preset, info, setup.data)
    for step in found.steps:
        tuned = tune_step(setup.runner, preset, step.step, setup.data)
        expected = tuned.weightings[TUNED].in_sample.mean(axis=0).sum()
        assert step.score(step.whole) == pytest.approx(expected, abs=0.01)


@pytest.mark.thorough
def test_tune_within_a_limit(setup: Setup, capsys: pytest.CaptureFixture[str]) -> None:
    out = setup.folder / "in_time.yaml"
    usual = [
        "tune",
        str(setup.preset),
        "--data",
        str(setup.data.path),
        "--cache",
        str(setup.folder / "cache"),
    ]
    usual += ["--device", "cpu", "--precision", "fp32"]
    assert main([*usual, "--within", "1000", "--out", str(out)]) == 0
    said = capsys.readouterr()
    assert "Score against time" in said.out
    assert "within 1000 with 10% to spare" in said.out
    assert "3 tracks are few" in said.err
    assert "3 tracks are few" in out.read_text().replace("\n    # tuned (vocals):", "")
    load_preset(out)
    assert main([*usual, "--within", "0.0001"]) == 2
    assert "even the least that is left" in capsys.readouterr().err


@pytest.mark.parametrize(
    "options",
    [
        ["--within", "1", "--step", "vocals"],
        ["--within", "1", "--objective", "vocals"],
        ["--objective", "sdr-per-second", "--step", "vocals"],
    ],
)
def test_options_that_do_not_go_together(options: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tune", "mdx-demo", *options]) == 2
    assert "within" in capsys.readouterr().err or "sdr-per-second" in options
