"""The JSON: complete, strict, atomic, and read back as it was."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from evaluator.isolation import machine
from evaluator.isolation.sandbox import Isolation, Limits, effective_memory_bytes
from evaluator.reporting import display, progress
from evaluator.running import dataset
from evaluator.runs import records, results
from evaluator.runs.documents import ResultError
from evaluator.runs.passing import would_pass
from evaluator.runs.records import DataInfo, Identity, Plan, SetupResult, TrackResult
from evaluator.runs.results import Result
from tests.evaluator import audio, made_results

pytestmark = pytest.mark.quick

STEMS = ("bass", "drums", "other", "vocals")
HASH = "4567" * 16
IDENTITY = Identity("/here", "c" * 40, False, "0" * 64, None)
PLAN = Plan(
    challenge="music",
    submission=IDENTITY,
    data=DataInfo("/data", 2, HASH),
    limits=Limits(),
    metrics=("sdr", "bss_eval_sdr"),
    runner="process",
)
GOOD = TrackResult(
    name="a",
    status="ok",
    reason=None,
    seconds=1.5,
    limit_seconds=15.7,
    audio_seconds=10.0,
    peak_memory_bytes=1000,
    economies=(),
    scores={"sdr": dict.fromkeys(STEMS, 6.0), "bss_eval_sdr": {**dict.fromkeys(STEMS, 5.0), "bass": None}},
)
BAD = replace(GOOD, name="b", status="timeout", reason="too slow", scores={})
RESULT = Result(
    plan=PLAN,
    start="2024-01-01T00:00:00+00:00",
    duration_seconds=3.0,
    setup=SetupResult("ok", None, 2.0, 900.0, "submission"),
    provenance={"preset": "mdx-c", "weights": [{"name": "x", "sha256": "ff"}]},
    isolation=Isolation("process", True, True, True, True, "cgroup v2", 4, 100),
    machine={},
    versions={},
    tracks=(GOOD, replace(GOOD, name="b", scores={**GOOD.scores, "sdr": dict.fromkeys(STEMS, 8.0)})),
)


def test_the_score_is_there_only_if_every_track_is_ok() -> None:
    assert RESULT.score() == {"mean": 7.0, **dict.fromkeys(STEMS, 7.0)}
    failed = replace(RESULT, tracks=(GOOD, BAD))
    assert (failed.status, failed.score(), failed.totals("sdr")["mean"]) == ("failed", None, 6.0)
    partial = replace(RESULT, tracks=(GOOD,))
    assert (partial.status, partial.score()) == ("incomplete", None)
    unmeasured = replace(RESULT, tracks=(GOOD, replace(GOOD, name="b", scores={"sdr": GOOD.scores["sdr"]})))
    assert (unmeasured.status, unmeasured.score()) == ("incomplete", None)


def test_json_has_all_that_is_needed_to_repeat_the_run() -> None:
    item = RESULT.to_json()
    assert item["submission"]["preset"] == "mdx-c"
    assert item["submission"]["requested_preset"] is None
    assert item["submission"]["weights"] == [{"name": "x", "sha256": "ff"}]
    assert item["data"] == {
        "path": "/data",
        "number": 2,
        "hash": HASH,
        "only": None,
        "left_out": [],
        "tracks": {},
    }
    assert item["limits"]["time_factor"] == 1.57
    assert item["isolation"]["memory"] == "cgroup v2"
    assert item["tracks"][0]["bss_eval_sdr"]["bass"] is None
    assert item["extra_metrics"]["bss_eval_sdr"] == {"mean": 5.0, **dict.fromkeys(STEMS, 5.0), "bass": None}


FAILED = replace(RESULT, tracks=(GOOD, BAD))
RESULTS = {
    "whole": RESULT,
    "failed": FAILED,
    "begun": replace(RESULT, tracks=(), setup=None, provenance=None, isolation=None),
    "not measured": replace(RESULT, tracks=(replace(GOOD, scores={"sdr": GOOD.scores["sdr"]}),)),
    "without a mean": replace(
        RESULT,
        tracks=(GOOD, replace(GOOD, name="b", scores={**GOOD.scores, "bss_eval_sdr": dict.fromkeys(STEMS)})),
    ),
    "without limits": replace(
        RESULT,
        plan=replace(PLAN, limits=Limits(None, None, None, None), data=DataInfo("/d", 2, HASH, "[ab]")),
    ),
    "other stems": replace(
        RESULT,
        plan=replace(
            PLAN, challenge="instrumental,vocals", metrics=("sdr",), data=DataInfo("/data", 1, HASH)
        ),
        tracks=(replace(GOOD, scores={"sdr": {"instrumental": 6.0, "vocals": 7.0}}),),
    ),
    "a stem alone": replace(
        RESULT,
        plan=replace(PLAN, challenge="music only", metrics=("sdr",), data=DataInfo("/data", 1, HASH)),
        tracks=(replace(GOOD, scores={"sdr": {"music": 6.0}}),),
    ),
    "odd numbers": replace(
        RESULT, duration_seconds=0.1 + 0.2, tracks=(GOOD, replace(GOOD, name="b", audio_seconds=1 / 3))
    ),
    "in force in part": replace(
        RESULT,
        isolation=Isolation(
            *("process", True, True, True, True, None, None, None),
            unprivileged=True,
            frozen=True,
            disk="watched",
            not_in_force=("one gap", "another"),
        ),
        tracks=(replace(GOOD, economies=("vocals: one polarity", {"any": "thing"})),),
    ),
}


@pytest.mark.parametrize("name", RESULTS)
def test_json_is_read_back_as_what_was_written(name: str, tmp_path: Path) -> None:
    item = RESULTS[name].to_json()
    assert Result.from_json(item) == RESULTS[name]
    assert Result.from_json(item).to_json() == item
    results.write(tmp_path / "result.json", item)
    assert results.read(tmp_path / "result.json") == RESULTS[name]


def test_a_file_from_before_some_fields_and_one_with_more_are_read() -> None:
    item = RESULT.to_json()
    del item["jobs"], item["data"]["only"], item["submission"]["requested_time_factor"]
    del item["limits"]["scratch_bytes"]
    for later in ("unprivileged", "calls_filtered", "frozen", "cpu_quota", "disk", "not_in_force"):
        del item["isolation"][later]
    item |= {"later": 1, "limits": {**item["limits"], "later": 2}}
    item["tracks"][0]["later"] = 3
    assert Result.from_json(item) == RESULT


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"schema_version": 2}, "schema_version: found 2, expected 1"),
        ({"track": "film"}, "track: found 'film', expected music or cinematic"),
        ({"track": "vocals,bass"}, "track: found 'vocals,bass', expected music or cinematic"),
        ({"track": "../bass,vocals"}, "track: found '../bass', expected names of letters"),
        ({"track": "bass,vocals"}, "found bass, drums, other, vocals, expected bass, vocals"),
        ({"limits": {**FAILED.to_json()["limits"], "cpus": "4"}}, "limits.cpus: found '4', expected a valid integer"),
        ({"data": {"path": "/", "number": 2}}, "data.hash: missing"),
        ({"metrics": None}, "metrics: found None, expected a valid array"),
        ({"duration_seconds": float("nan")}, "not JSON compliant"),
        ({"status": "ok"}, "status: found 'ok', expected 'failed' by its tracks"),
        ({"score": {"mean": 9.0}}, "score: found .*, expected None by its tracks"),
        ({"start": 1, "runner": 2}, r"start: found 1, expected a valid string \(and 1 more problem\)"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_file_is_one_sentence(change: dict[str, object], problem: str) -> None:
    with pytest.raises(ResultError, match=f"^some.json: .*{problem}"):
        Result.from_json({**FAILED.to_json(), **change}, "some.json")


@pytest.mark.parametrize(
    ("scores", "problem"),
    [
        ({"sdr": {"bass": 1.0}}, "tracks.0.sdr: found bass, expected bass, drums, other, vocals"),
        ({"sdr": {**GOOD.scores["sdr"], "bass": "6"}}, "tracks.0.sdr: bass: found '6', expected a valid number"),
        ({"sdr": {**GOOD.scores["sdr"], "bass": None}}, "tracks.0: the track is ok, but has no SDR for every"),
        ({"sdr": None}, "tracks.0: the track is ok, but has no SDR for every"),
        ({"bss_eval_sdr": [1.0]}, "tracks.0.bss_eval_sdr: found .*, expected a valid dictionary"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_a_track_is_one_sentence(scores: dict[str, object], problem: str) -> None:
    item = RESULT.to_json()
    item["tracks"][0] |= scores
    with pytest.raises(ResultError, match=f"some.json: {problem}"):
        Result.from_json(item, "some.json")


@pytest.mark.parametrize("name", ["mean", "drums"])
def test_a_score_that_its_tracks_do_not_have_is_refused(name: str) -> None:
    item = RESULT.to_json()
    item["score"][name] += 0.01
    with pytest.raises(ResultError, match=rf"score.{name}: found 7.01, expected 7.0 by its tracks"):
        Result.from_json(item)


def test_differences_between_plans_are_named() -> None:
    assert records.differences(PLAN, Result.from_json(RESULT.to_json()).plan) == []
    other = replace(PLAN, limits=Limits(time_factor=2.0), metrics=("sdr",))
    assert records.differences(PLAN, other) == [
        "limits.time_factor: 1.57, now 2.0",
        "metrics: sdr, bss_eval_sdr, now sdr",
    ]
    asked = replace(PLAN, submission=replace(IDENTITY, requested_preset="mdx-c"))
    assert records.differences(PLAN, asked) == ["submission.requested_preset: None, now mdx-c"]


def test_files_that_are_no_results(tmp_path: Path) -> None:
    file = tmp_path / "other.json"
    for text, problem in (
        (None, "not readable as JSON"),
        ("{", "not readable as JSON"),
        ("[]", "found list, expected a JSON object"),
        ('{"kind": "baseline"}', "a baseline, expected a result"),
        ("{}", r"schema_version: missing \(and"),
    ):
        if text is not None:
            file.write_text(text)
        with pytest.raises(ResultError, match=f"^{file}: {problem}"):
            results.read(file)


def test_a_file_is_never_half_written(tmp_path: Path) -> None:
    results.write(tmp_path / "a.json", {"a": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        results.write(tmp_path / "a.json", {"a": float("nan")})
    assert json.loads((tmp_path / "a.json").read_text()) == {"a": 1}


def test_verdicts() -> None:
    assert display.verdict(RESULT) == "This submission would have passed, with a score of 7.000 dB."
    failed = replace(RESULT, tracks=(GOOD, BAD))
    assert display.verdict(failed) == (
        "This submission would NOT have passed: 1 of 2 tracks failed: b (timeout)."
    )
    assert display.verdict(replace(RESULT, tracks=(GOOD,))) == "Incomplete: 1 of 2 tracks were separated."
    unlimited = replace(RESULT, plan=replace(PLAN, limits=Limits(time_factor=None)))
    assert "so this does not show whether the submission would pass: 7.000 dB" in display.verdict(unlimited)
    strict = replace(failed, plan=replace(PLAN, limits=Limits(time_factor=0.1)))
    assert display.verdict(strict) == (
        "This does not show whether the submission would pass under the organisers' own limits: "
        "1 of 2 tracks failed: b (timeout)."
    )


def test_a_late_track_has_its_score_and_would_not_pass() -> None:
    late = replace(RESULT, tracks=(GOOD, replace(RESULT.tracks[1], seconds=47.1)))
    assert [track.late for track in late.tracks] == [False, True]
    assert late.score() == RESULT.score()
    assert would_pass(late) == "no"
    assert display.verdict(late) == (
        "All tracks were scored: 7.000 dB. But 1 of 2 took longer than allowed, up to 3.0 times as long: on this "
        "machine, as busy as it is, the submission would not pass."
    )
    assert [line.split()[:2] for line in display.table(late).splitlines()[2:4]] == [
        ["a", "ok"],
        ["b", "late"],
    ]
    stricter = replace(late, plan=replace(PLAN, limits=Limits(time_factor=0.5)))
    assert would_pass(stricter) == "unknown"
    assert not replace(BAD, seconds=99.0).late
    assert not replace(GOOD, limit_seconds=None).late


def test_the_verdict_says_that_limits_were_shared() -> None:
    shared = replace(RESULT, plan=replace(PLAN, jobs=3))
    assert display.verdict(shared).startswith(display.verdict(RESULT))
    assert display.verdict(shared).endswith(
        " 3 tracks at a time shared the machine and so its limits: confirm the times with --jobs 1."
    )


def test_a_part_of_the_data_is_on_record() -> None:
    part = replace(RESULT, plan=replace(PLAN, data=replace(PLAN.data, only="[ab]")))
    assert (RESULT.to_json()["data"]["only"], part.to_json()["data"]["only"]) == (None, "[ab]")
    assert records.differences(RESULT.plan, part.plan) == ["data.only: None, now [ab]"]


def test_the_bar_shows_what_is_separated_at_a_time(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = dataset.load(audio.write_music(tmp_path, {"a": 44100, "b": 44100, "c": 44100}))
    bar = progress.ProgressBar(data, jobs=2)
    for track in data.tracks[:2]:
        bar.separating(track, 30.0)
    bar.separated(data.tracks[0])
    bar.finished(data.tracks[0], replace(GOOD, seconds=10.0, audio_seconds=1.0), [])
    bar.separating(data.tracks[2], 30.0)
    bar.close()
    shown = capsys.readouterr().err
    assert "a 0 s of 30 allowed (and 1 more) |" in shown
    assert "b 0 s of 30 allowed (and 1 more) |" in shown
    assert "left 00:10" in shown  # 2 s of audio, 10 s each, two at a time


def test_nothing_is_promised_of_a_track_that_is_late(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (track,) = (data := dataset.load(audio.write_music(tmp_path, {"a": 44100}))).tracks
    for limit_seconds, left in ((30.0, "left at most 00:30"), (0.0, "left ?")):
        bar = progress.ProgressBar(data)
        bar.separating(track, limit_seconds)
        bar.close()
        assert left in capsys.readouterr().err


def test_the_footer_says_which_limits_were_not_in_force() -> None:
    nothing = Isolation("process", False, False, False, False, None, None, None)
    gaps = nothing.gaps(PLAN.limits)
    text = display.table(replace(RESULT, isolation=replace(nothing, not_in_force=gaps)))
    assert f"Differs from the organisers' machine: {'; '.join(gaps)}." in text
    for gap in ("the network could not be cut off", "memory is not capped", "references could not be hidden"):
        assert gap in text


def test_a_small_machine_caps_memory_below_the_limit_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "memory_bytes", lambda: 8 << 30)
    capped = Isolation("process", True, True, True, True, "cgroup v2", 4, 100)
    assert effective_memory_bytes(Limits()) == int(0.9 * (8 << 30))
    assert effective_memory_bytes(Limits(memory_bytes=1 << 30)) == 1 << 30
    assert effective_memory_bytes(Limits(memory_bytes=None)) is None
    assert "this machine has memory for 7.2 GiB of the 16 GiB" in capped.gaps(Limits())


def test_time_left() -> None:
    assert progress.time_left(100, 0.5, bound=False) == "left 00:50"
    assert progress.time_left(100, 1.57, bound=True) == "left at most 02:37"
    assert progress.time_left(100, None, bound=True) == "left ?"


def test_a_track_that_failed_or_was_late_says_why_with_the_last_line_and_what_was_left_out() -> None:
    (failed,) = made_results.result({"a": "crashed"}).tracks
    failed = replace(failed, reason="ValueError: no", last_line="Killed", economies=("less overlap",))
    assert failed.why == "ValueError: no; its log ends: Killed; left out to be in time: less overlap"
    assert replace(failed, reason="missing:", economies=()).why == "missing; its log ends: Killed"
    assert replace(failed, last_line="E   ValueError: no", economies=()).why.startswith(
        "ValueError: no; its log"
    )
    assert replace(failed, last_line="ValueError: no", economies=()).why == "ValueError: no"
    (fine,) = made_results.result({"a": 1.0}).tracks
    assert replace(fine, economies=("less overlap",)).why == ""
    late = replace(
        fine,
        seconds=20.0,
        last_line="this track is predicted to be late; less overlap",
        economies=("less overlap",),
    )
    assert late.why == f"took 20.0 s of the 15.7 s allowed; its log ends: {late.last_line}"


def test_a_result_of_before_the_last_line_was_kept_still_reads() -> None:
    item = made_results.result({"a": "crashed", "b": 1.0}).to_json()
    for track in item["tracks"]:
        del track["last_line"]
    assert [track.last_line for track in Result.from_json(item).tracks] == [None, None]
