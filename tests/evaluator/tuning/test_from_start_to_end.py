"""What tune and ablate make of members in the child, from start to end."""

from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import yaml

from evaluator.__main__ import main
from evaluator.commands import estimator_options
from evaluator.measures import means
from evaluator.running import dataset, scoring
from evaluator.tuning import ablate, savings, table, tune
from evaluator.tuning.estimator import Cost, Estimator, EstimatorError
from evaluator.tuning.preset_file import with_runs
from evaluator.tuning.table import Named
from evaluator.tuning.tune import CURRENT, TUNED, tune_step
from evaluator.tuning.variants import FULL, variants
from my_submission.ensemble.preset_reader import load_preset
from sdx.engines.scratch import scratch_folder
from tests.evaluator import audio
from tests.evaluator.tuning.child_setup import Setup, running


@pytest.fixture(scope="module")
def setup(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Setup]:
    with running(tmp_path_factory.mktemp("tune")) as setup:
        yield setup


@pytest.mark.thorough
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
