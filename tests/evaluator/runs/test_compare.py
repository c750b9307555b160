"""Comparison of two runs, where the answer is known in closed form."""

import json
from collections.abc import Sequence
from dataclasses import replace
from math import comb
from pathlib import Path

import pytest

from evaluator import __main__
from evaluator.runs import baseline, compare, run_scores
from evaluator.runs.compare import Comparison, LeftOut
from evaluator.runs.documents import ResultError
from evaluator.runs.run_scores import RunScores
from tests.evaluator import made_results
from tests.evaluator.made_results import Given

pytestmark = pytest.mark.quick

LEVELS = [3.0, -1.0, 7.0, 4.0, 2.5, 6.0, 0.0, 5.5]


def compared(a: Sequence[Given], b: Sequence[Given]) -> Comparison:
    runs = [made_results.result({f"track {i}": given for i, given in enumerate(run)}) for run in (a, b)]
    return compare.compare(run_scores.of_result(runs[0], "A"), run_scores.of_result(runs[1], "B"))


def test_identical_runs_are_equal() -> None:
    found = compared(LEVELS, LEVELS)
    assert found.verdict == "equal"
    assert found.moved == ()
    for paired in found.stems:
        assert (paired.difference, paired.low, paired.high, paired.p_value) == (0, 0, 0, 1)
        assert paired.ties == len(LEVELS)


@pytest.mark.parametrize(("shift", "verdict"), [(0.25, "better"), (-0.25, "worse")])
def test_a_constant_shift_is_the_interval_itself(shift: float, verdict: str) -> None:
    found = compared(LEVELS, [level + shift for level in LEVELS])
    assert found.verdict == verdict
    assert [paired.stem for paired in found.stems] == ["mean", "bass", "drums", "other", "vocals"]
    for paired in found.stems:
        assert [paired.difference, paired.low, paired.high] == pytest.approx([shift] * 3)
        assert paired.p_value == 2 / 2 ** len(LEVELS)
        assert paired.mean_b - paired.mean_a == pytest.approx(shift)


def test_one_track_tells_nothing() -> None:
    found = compared([1.0], [3.0])
    assert found.verdict == "not distinguishable"
    assert found.stems[0].p_value == 1
    assert "1 track cannot tell" in found.sentence


def test_differences_of_both_signs_are_not_distinguishable() -> None:
    found = compared(LEVELS, [level + (-1) ** i for i, level in enumerate(LEVELS)])
    assert found.verdict == "not distinguishable"
    assert found.stems[0].low < 0 < found.stems[0].high
    assert (found.stems[0].higher, found.stems[0].lower) == (4, 4)


def test_the_same_seed_gives_the_same_interval_and_swapping_mirrors_the_signs() -> None:
    b = [
        level + shift for level, shift in zip(LEVELS, [0.1, 0.5, -0.2, 0.3, 0.9, 0.0, 0.4, 0.2], strict=True)
    ]
    one, two, mirrored = compared(LEVELS, b), compared(LEVELS, b), compared(b, LEVELS)
    assert one.stems == two.stems
    for paired, other in zip(one.stems, mirrored.stems, strict=True):
        assert (paired.difference, paired.low, paired.high) == pytest.approx(
            (-other.difference, -other.high, -other.low)
        )
        assert (paired.higher, paired.p_value) == (other.lower, other.p_value)


@pytest.mark.parametrize("number", [1, 2, 5, 9, 30])
def test_the_sign_test_is_the_sum_over_the_binomial_law(number: int) -> None:
    for higher in range(number + 1):
        as_uneven = [k for k in range(number + 1) if abs(2 * k - number) >= abs(2 * higher - number)]
        expected = sum(comb(number, k) for k in as_uneven) / 2**number
        assert compare.sign_test(higher, number - higher) == pytest.approx(expected)
    assert compare.sign_test(0, 0) == 1


def test_the_tracks_that_moved_most_come_first() -> None:
    found = compared(LEVELS, [level + shift for level, shift in zip(LEVELS, range(8), strict=True)])
    assert [moved.name for moved in found.moved] == [f"track {i}" for i in (7, 6, 5, 4, 3)]
    assert found.moved[0].differences["vocals"] == pytest.approx(7)


def test_failed_tracks_are_left_out_and_named() -> None:
    found = compared([*LEVELS, "timeout", 1.0], [*LEVELS, 1.0, "crashed"])
    assert found.verdict == "equal"
    assert found.left_out == (LeftOut("track 8", "timeout", "ok"), LeftOut("track 9", "ok", "crashed"))
    assert "Nothing can be said" in compared(["timeout"], [1.0]).sentence


def test_other_data_cannot_be_compared() -> None:
    a = run_scores.of_result(made_results.result({"a": 1.0}), "A")
    b = run_scores.of_result(made_results.result({"a": 1.0}, data_hash="e" * 64), "B")
    with pytest.raises(ResultError, match="different data"):
        compare.compare(a, b)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name, shift in (("a.json", 0.0), ("b.json", 0.5)):
        run = made_results.result({f"t{i}": level + shift for i, level in enumerate(LEVELS)})
        (tmp_path / name).write_text(json.dumps(run.to_json()))
    files = [str(tmp_path / "a.json"), str(tmp_path / "b.json")]
    assert __main__.main(["compare", *files]) == 0
    assert "B is better than A on this data: +0.500 dB" in capsys.readouterr().out
    assert __main__.main(["compare", *files, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["verdict"] == "better"
    assert found["measure"] == {"name": "sdr", "unit": "dB", "better": "higher"}
    assert __main__.main(["compare", *files, "--metric", "bleedless"]) == 2
    assert "has no bleedless" in capsys.readouterr().err
    assert __main__.main(["compare", files[0], "nothing"]) == 2


def test_a_baseline_can_be_compared_with_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = made_results.result({f"t{i}": level for i, level in enumerate(LEVELS)})
    (tmp_path / "run.json").write_text(json.dumps(run.to_json()))
    (tmp_path / "baseline.json").write_text(json.dumps(baseline.to_json(run)))
    assert __main__.main(["compare", str(tmp_path / "baseline.json"), str(tmp_path / "run.json")]) == 0
    assert "The two runs are equal" in capsys.readouterr().out


def measured(shift: float, undefined: tuple[str, ...] = ()) -> RunScores:
    stems = ("bass", "drums", "other", "vocals")
    values = {
        f"t{i}": {stem: None if stem in undefined and i == 0 else level + shift for stem in stems}
        for i, level in enumerate(LEVELS)
    }
    run = made_results.result({f"t{i}": 1.0 for i in range(len(LEVELS))}, measured={"bss_eval_sdr": values})
    return run_scores.of_result(run, f"shifted by {shift}")


def test_runs_are_compared_by_any_measure_that_both_have() -> None:
    a, b = measured(0.0), measured(0.5)
    assert compare.compare(a, b).verdict == "equal"  # by SDR
    found = compare.compare(a, b, measure="bss_eval_sdr")
    assert found.verdict == "better"
    assert found.stems[0].difference == pytest.approx(0.5)
    assert "measure: bss_eval_sdr (dB, higher is better)" in compare.describe(found)
    with pytest.raises(
        ResultError, match="shifted by 0.0 has no fullness, only sdr, bss_eval_sdr; evaluate it with"
    ):
        compare.compare(a, b, measure="fullness")


def test_a_stem_that_one_run_has_no_value_of_counts_in_neither() -> None:
    a, b = measured(0.0, undefined=("vocals",)), measured(0.5, undefined=("bass",))
    found = compare.compare(a, b, measure="bss_eval_sdr")
    counts = {paired.stem: paired.higher for paired in found.stems}
    assert counts == {"mean": 8, "bass": 7, "drums": 8, "other": 8, "vocals": 7}
    assert all(paired.difference == pytest.approx(0.5) for paired in found.stems)
    nothing = compare.compare(measured(0.0, ("bass", "drums", "other", "vocals")), b, measure="bss_eval_sdr")
    assert nothing.tracks == tuple(f"t{i}" for i in range(1, 8))


def test_where_lower_is_better_a_fall_is_better() -> None:
    found = compared(LEVELS, [level - 0.25 for level in LEVELS])
    assert replace(found, measure=replace(found.measure, higher_is_better=False)).verdict == "better"
