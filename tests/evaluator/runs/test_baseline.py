"""The gate: what must stop a change, and what must not."""

import json
import sysconfig
from dataclasses import replace
from pathlib import Path

import pytest

from evaluator import __main__
from evaluator.locations import DEMO
from evaluator.runs import baseline, run_scores
from evaluator.runs.documents import ResultError
from evaluator.runs.labels import Label
from evaluator.runs.results import Result
from tests.evaluator import made_results
from tests.evaluator.made_results import Given

STEMS = {"bass": 1.0, "drums": 2.0, "other": 3.0, "vocals": 4.0}
BEFORE: dict[str, Given] = {"a": STEMS, "b": STEMS, "c": "timeout"}


def check(
    now: dict[str, Given], tolerance_db: float = 0.02, before: dict[str, Given] = BEFORE
) -> baseline.Check:
    old = run_scores.of_result(baseline.from_json(baseline.to_json(made_results.result(before))), "old.json")
    return baseline.check(old, run_scores.of_result(made_results.result(now), "this run"), tolerance_db)


def moved(by: float, stem: str = "other") -> dict[str, float]:
    return {**STEMS, stem: STEMS[stem] + by}


def test_the_same_run_passes() -> None:
    found = check(BEFORE)
    assert found.passed
    assert (found.fell, found.rose, found.worse, found.better, found.other) == ((), (), (), (), ())


@pytest.mark.parametrize(("by", "passed"), [(-0.02, True), (-0.0201, False), (0.5, True)])
def test_a_track_may_fall_by_the_tolerance_and_no_more(by: float, passed: bool) -> None:
    assert check({**BEFORE, "a": moved(by)}).passed is passed


def test_a_track_that_fell_stops_the_change_although_another_rose_by_more() -> None:
    found = check({**BEFORE, "a": moved(-0.5), "b": moved(+2.0)})
    assert not found.passed
    assert [(change.where, change.stem) for change in found.fell] == [("a", "other"), ("a", "mean")]
    assert {(change.where, change.stem) for change in found.rose} == {
        ("all tracks", "mean"),
        ("all tracks", "other"),
        ("b", "mean"),
        ("b", "other"),
    }
    text = baseline.describe(found)
    assert "REGRESSION against old.json, tolerance 0.02 dB: 1 track fell." in text
    assert "(-0.500 dB)" in text
    assert "(+2.000 dB)" in text


def test_small_falls_on_every_track_add_up_to_no_more_than_they_are() -> None:
    assert check({**BEFORE, "a": moved(-0.019), "b": moved(-0.019)}).passed


@pytest.mark.parametrize(
    ("before", "now", "kind", "passed"),
    [
        ("ok", "timeout", "worse", False),
        ("ok", "crashed", "worse", False),
        ("timeout", "ok", "better", True),
        ("timeout", "crashed", "other", True),
    ],
)
def test_statuses(before: str, now: str, kind: str, passed: bool) -> None:
    given: dict[str, Given] = {"ok": STEMS, "timeout": "timeout", "crashed": "crashed"}
    found = check({"a": STEMS, "b": given[now]}, before={"a": STEMS, "b": given[before]})
    assert found.passed is passed
    assert [(change.track, change.before, change.after) for change in getattr(found, kind)] == [
        ("b", before, now)
    ]


def test_a_track_that_fails_does_not_move_the_score_of_the_others() -> None:
    found = check({"a": STEMS, "b": "crashed"}, before={"a": STEMS, "b": moved(5.0)})
    assert found.fell == ()
    assert not found.passed


def test_a_track_that_was_not_run_counts_as_worse() -> None:
    old = run_scores.of_result(made_results.result({"a": STEMS, "b": STEMS}), "old")
    now = run_scores.of_result(made_results.result({"a": STEMS}, number=2), "now")
    assert [change.after for change in baseline.check(old, now).worse] == ["missing"]


def test_a_run_of_some_tracks_that_does_not_say_what_each_is_hides_no_failure() -> None:
    """Results of --only from before tracks had hashes, which `report --baseline` still reads."""
    old = run_scores.of_result(made_results.result({"a": STEMS}, only="a"), "old.json")
    found = baseline.check(old, run_scores.of_result(made_results.result({"a": "timeout"}, only="a"), "run"))
    assert [change.track for change in found.worse] == ["a"]

    every = made_results.result({"a": STEMS, "b": STEMS}, data_hash="e" * 64)
    data = replace(every.plan.data, tracks={"a": "a" * 64, "b": "b" * 64})
    whole = run_scores.of_result(replace(every, plan=replace(every.plan, data=data)), "new.json")
    with pytest.raises(ResultError, match="this run does not say what each track's data is"):
        baseline.check(
            whole, run_scores.of_result(made_results.result({"a": "timeout"}, only="a"), "this run")
        )


def test_other_data_cannot_be_compared() -> None:
    old = run_scores.of_result(made_results.result(BEFORE, data_hash="e" * 64), "old.json")
    now = run_scores.of_result(made_results.result(BEFORE), "this run")
    with pytest.raises(ResultError, match="different data"):
        baseline.check(old, now)


def test_a_baseline_says_nothing_of_this_machine() -> None:
    text = json.dumps(baseline.to_json(made_results.result(BEFORE)))
    assert "somewhere" not in text
    assert made_results.COMMIT in text


def test_an_unfinished_run_is_no_baseline() -> None:
    with pytest.raises(ResultError, match="unfinished"):
        baseline.to_json(made_results.result({"a": 1.0}, number=2))


def test_save_show_and_replace(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "baseline.json"
    save(tmp_path, made_results.result({"a": STEMS}), file)
    save(tmp_path, made_results.result({"a": moved(-1.0)}), file)
    assert "REGRESSION against the old one" in capsys.readouterr().out
    assert __main__.main(["baseline", "show", str(file)]) == 0
    shown = capsys.readouterr().out
    assert "2.250" in shown
    assert made_results.COMMIT in shown


def save(folder: Path, run: Result, file: Path) -> None:
    (folder / "result.json").write_text(json.dumps(run.to_json()))
    assert __main__.main(["baseline", "save", str(folder), str(file)]) == 0


def test_a_file_that_is_neither_result_nor_baseline(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "some.json").write_text('{"schema_version": 1}')
    assert __main__.main(["baseline", "show", str(tmp_path / "some.json")]) == 2
    assert "some.json: track: missing (and " in capsys.readouterr().err


def test_every_measure_of_the_baseline_is_checked_and_what_the_run_lacks_is_named() -> None:
    before, lower = (
        {"bleedless": {"a": {**STEMS, "other": value}}, "aura_stft": {"a": STEMS}} for value in (50.0, 49.0)
    )
    old = baseline.from_json(baseline.to_json(made_results.result({"a": STEMS}, measured=before)))
    assert old.plan.metrics == ("sdr", "bleedless", "aura_stft")
    shown = baseline.show(old)
    assert "SDR in dB, higher is better." in shown
    assert "aura_stft: 2.500 on average (0 to 100, higher is better)." in shown
    for measured, passed in ((before, True), (lower, False), ({"aura_stft": before["aura_stft"]}, True)):
        run = made_results.result({"a": STEMS}, measured=measured)
        found = baseline.check(run_scores.of_result(old, "old.json"), run_scores.of_result(run, "this run"))
        assert found.passed is passed
        text = baseline.describe(found)
        assert ("Not checked, since this run was made without: bleedless." in text) == (
            "bleedless" not in measured
        )
        assert ("bleedless (0 to 100, higher is better)" in text) == ("bleedless" in measured)
        assert ("other bleedless fell over all tracks" in text) != passed
    assert "(dB, higher is better)" in text
    first, second = (made_results.result({"a": STEMS}, measured=each) for each in (before, lower))
    fell = baseline.check(run_scores.of_result(first, "x"), run_scores.of_result(second, "y"))
    assert "(-1.000)" in baseline.describe(fell)  # which is no dB


def test_a_baseline_that_contradicts_its_measures_is_refused() -> None:
    item = baseline.to_json(made_results.result({"a": STEMS}, measured={"fullness": {"a": STEMS}}))
    for wrong in (
        {"metrics": ["sdr", "pesq"]},
        {"metrics": ["sdr", "fullness", "bleedless"]},
        {"predictions": 3},
    ):
        with pytest.raises(ResultError):
            baseline.from_json(item | wrong)
    before = {key: value for key, value in item.items() if key not in ("metrics", "predictions")}
    assert baseline.from_json(before).plan.metrics == ("sdr",)  # as they were made


def test_a_baseline_of_given_estimates_names_no_path() -> None:
    run = made_results.result({"a": STEMS}, given=True)
    item = baseline.to_json(run)
    assert "/somewhere" not in json.dumps(item)
    old = baseline.from_json(item)
    assert (old.name, old.plan.submission, old.score()) == (run.name, None, run.score())


def test_by_default_it_is_saved_beside_the_data_or_in_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "sets" / "music").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    run = made_results.result({"a": STEMS})
    gone = replace(run, label=Label("../../odd name: ü"))
    ours = replace(run.plan.data, path=str(tmp_path / "sets" / "music"))
    kits = replace(run.plan.data, path=str(DEMO / "music"))
    for result, expected in (
        (replace(run, plan=replace(run.plan, data=ours)), "sets/music-mdx-demo.baseline.json"),
        (replace(run, plan=replace(run.plan, data=kits)), "here/music-mdx-demo.baseline.json"),
        (gone, "here/music-..-..-odd-name-ü.baseline.json"),
    ):
        (tmp_path / "result.json").write_text(json.dumps(result.to_json()))
        assert __main__.main(["baseline", "save", str(tmp_path)]) == 0
        assert baseline.read(tmp_path / expected).name == result.name


def test_a_name_of_any_length_makes_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = replace(made_results.result({"a": STEMS}), label=Label("日" * 100))
    (tmp_path / "result.json").write_text(json.dumps(run.to_json()))
    assert __main__.main(["baseline", "save", str(tmp_path)]) == 0
    (file,) = tmp_path.glob("*.baseline.json")
    assert file.name.startswith("music-日日")
    assert baseline.read(file).name == run.name


def test_a_working_folder_that_is_gone_is_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "result.json").write_text(json.dumps(made_results.result({"a": STEMS}).to_json()))
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    assert __main__.main(["baseline", "save", str(tmp_path)]) == 2
    assert "the working folder was removed" in capsys.readouterr().err


def test_it_is_never_saved_in_an_installed_package_or_where_nothing_can_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "result.json").write_text(json.dumps(made_results.result({"a": STEMS}).to_json()))
    installed = Path(sysconfig.get_path("purelib")) / "sdx" / "baseline.json"
    (tmp_path / "file").write_text("")
    for place in (installed, tmp_path / "file" / "baseline.json"):
        assert __main__.main(["baseline", "save", str(tmp_path), str(place)]) == 2
        assert f"{place}: " in capsys.readouterr().err
    assert not installed.exists()
