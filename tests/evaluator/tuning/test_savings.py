"""What is done without to save time: scores by mathematics, what is worth least goes first, a limit that holds."""

import functools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import yaml

from evaluator.tuning import savings, tune
from evaluator.tuning.estimator import MemberInfo, Prediction, StepInfo
from evaluator.tuning.gram import blocks_of, gram_matrix
from evaluator.tuning.preset_file import with_runs
from evaluator.tuning.savings import Point, Run, StepStudy, Study
from evaluator.tuning.tune import TuneError
from evaluator.tuning.weighting import Layout, best_weights, equal_weights, scorer

pytestmark = pytest.mark.quick

TRACKS = 3
BOTH, PLAIN = ("plain", "inverted"), ("plain",)


def study_of(errors: list[float], costs: list[float], seed: int = 0, seconds: float = 10.0) -> Study:
    """A step that makes vocals of members with both polarities at overlap 0.5, each with an error and a cost.

    At overlap 0.25 a member has half more error and costs two thirds.
    """
    rng = np.random.default_rng(seed)
    members = tuple(
        MemberInfo(f"model{i}", {"vocals": 1.0}, ("vocals",), "both", 0.5) for i in range(len(errors))
    )
    blend = {"vocals": {"vocals": 1.0}, "rest": {"vocals": -1.0, "input": 1.0}}
    step = StepInfo("vocals", "mixture", ("vocals",), "rest", {}, blend, members)
    runs = tuple(
        (member, polarity, overlap)
        for member in range(len(errors))
        for overlap in (0.5, 0.25)
        for polarity in BOTH
    )
    grams = []
    for _ in range(TRACKS):
        reference = rng.standard_normal((2, 400))
        estimates = [
            reference + errors[member] * (1 if overlap == 0.5 else 1.5) * rng.standard_normal((2, 400))
            for member, _, overlap in runs
        ]
        grams.append(gram_matrix([blocks_of(signal) for signal in (reference, reference, *estimates)]))
    spent = np.array(
        [[costs[member] * (1 if overlap == 0.5 else 2 / 3)] * TRACKS for member, _, overlap in runs]
    )
    candidates = tuple((place, "vocals") for place in range(len(runs)))
    one = StepStudy(step, runs, spent, ("vocals",), candidates, tuple(grams))
    return Study((one,), Prediction((spent,), 0.1, 0.015, 0.2), np.full(TRACKS, seconds))


@functools.cache
def walked() -> tuple[Study, Sequence[Point]]:
    """A study of three members, and every point of its walk: both are only looked at."""
    study = study_of([0.3, 0.4, 0.5], [1.0, 2.0, 3.0])
    return study, study.walk()


def test_a_choice_scores_as_its_own_signals_do() -> None:
    """Both polarities are their mean, and what is left out is not there."""
    study = study_of([0.3, 0.5], [1.0, 1.0])
    (step,) = study.steps
    choice = (Run(BOTH, 0.5), Run(PLAIN, 0.25))
    rows = [
        0,
        1,
        *(2 + step.runs.index(run) for run in ((0, "plain", 0.5), (0, "inverted", 0.5), (1, "plain", 0.25))),
    ]
    mixing = np.array([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0.5, 0], [0, 0, 0.5, 0], [0, 0, 0, 1.0]])
    grams = [mixing.T @ gram[np.ix_(rows, rows)] @ mixing for gram in step.grams]
    layout = Layout(("vocals",), ((0, "vocals"), (1, "vocals")), step.step.blend)
    scores = scorer(layout, grams)
    expected = scores.objective(best_weights(scores, equal_weights(layout)))
    assert step.score(choice) == pytest.approx(expected, abs=1e-6)


def test_time_is_the_sum_of_what_is_run() -> None:
    (step,) = study_of([0.3, 0.5], [1.0, 2.0]).steps
    np.testing.assert_allclose(step.taking(step.whole), 2 * 1.0 + 2 * 2.0)
    np.testing.assert_allclose(step.taking((Run(PLAIN, 0.25), None)), 2 / 3)


def test_what_is_worth_nothing_goes_first() -> None:
    study = study_of([0.2, 30.0], [1.0, 5.0])
    points = study.walk()
    front = savings.pareto(points)
    best = max(points, key=lambda point: (round(point.sdr, 2), -point.rtf))
    assert best.choices[0][1] is None
    assert all(point.choices[0][1] is None for point in front[1:])


def test_the_walk_ends_with_the_least_there_is() -> None:
    _, points = walked()
    fastest = min(points, key=lambda point: point.rtf)
    (choice,) = fastest.choices
    assert [run for run in choice if run] == [Run(PLAIN, 0.25)]


def test_nothing_on_the_front_is_beaten() -> None:
    _, points = walked()
    front = savings.pareto(points)
    assert [point.rtf for point in front] == sorted((point.rtf for point in front), reverse=True)
    for point in front:
        assert not any(
            (other.sdr > point.sdr and other.rtf <= point.rtf)
            or (other.sdr >= point.sdr and other.rtf < point.rtf)
            for other in points
        )


@pytest.mark.parametrize("within", [0.2, 0.5, 0.9, 1.5])
def test_the_chosen_one_is_in_time_with_a_margin_and_the_best_that_is(within: float) -> None:
    study, points = walked()
    chosen = savings.choose(study, points, within, per_second=False)
    assert (chosen.seconds * 1.1 + 0.015 * 10 + 0.2 <= within * 10).all()
    assert all(point.sdr <= chosen.sdr for point in points if study.fits(point, within))


def test_a_limit_that_nothing_keeps_is_an_error() -> None:
    study = study_of([0.3, 0.4], [1.0, 1.0])
    with pytest.raises(TuneError, match="even the least that is left of the preset is predicted to take"):
        savings.choose(study, study.walk(), 0.05, per_second=False)


def test_one_track_that_would_be_late_is_enough() -> None:
    prediction = Prediction((), 0.1, 0.0, 0.0)
    lengths = np.array([10.0, 10.0])
    assert prediction.fits(np.array([9.0, 9.0]), lengths, 1.0)
    assert not prediction.fits(np.array([1.0, 9.5]), lengths, 1.0)


def test_most_for_each_second() -> None:
    study, points = walked()
    chosen = savings.choose(study, points, None, per_second=True)
    assert chosen.per_second == max(point.per_second for point in points)


def test_the_table_marks_one_and_says_what_is_missing() -> None:
    study, points = walked()
    chosen = savings.choose(study, points, 0.5, per_second=False)
    text = savings.table(study, points, chosen, 0.5)
    (marked,) = [line for line in text.splitlines() if line.startswith("*")]
    assert study.words(chosen) in marked
    assert "yes" in marked
    assert any(line.split()[4:5] == ["no"] for line in text.splitlines())


@pytest.mark.parametrize(("tracks", "expected"), [(1, "1 track is few"), (3, "3 tracks are few"), (10, None)])
def test_few_tracks_are_said_to_be_few(tracks: int, expected: str | None) -> None:
    warning = tune.warning_of_few(tracks)
    assert (warning is None) == (expected is None)
    if expected is not None and warning is not None:
        assert warning.startswith(expected)
        assert "overfit" in warning


PRESET = """\
# at the top
steps:
  - name: vocals
    input: mixture
    stems: [vocals]
    members:
      - model: a  # the first
        weight: 3
      - model: b
        overlap: 0.5
      - model: c

economies:
  - {step: vocals, drop: c}
  - {step: other, polarity: plain}
# at the end
"""


def test_how_members_are_run_goes_into_the_file_and_the_rest_stays(tmp_path: Path) -> None:
    text = with_runs(PRESET, "vocals", [{}, {"overlap": 0.25, "polarity": "plain"}, None])
    item = yaml.safe_load(text)
    assert item["steps"][0]["members"] == [
        {"model": "a", "weight": 3},
        {"model": "b", "overlap": 0.25, "polarity": "plain"},
    ]
    assert item["economies"] == [{"step": "other", "polarity": "plain"}]
    for comment in ("# at the top", "# the first", "# at the end"):
        assert comment in text
    assert with_runs(PRESET, "vocals", [{}, {}, {}]) == PRESET
