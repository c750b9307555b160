"""Results of others: refused as a whole, in one sentence, if anything in them cannot be."""

import json
import os
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from evaluator import __main__
from evaluator.isolation.sandbox import Isolation
from evaluator.measures import sdr
from evaluator.measures.catalogue import MEASURES
from evaluator.reporting import display, run_words
from evaluator.running import dataset
from evaluator.runs import baseline, documents, entries
from evaluator.runs.documents import ResultError
from evaluator.runs.leaderboard import Store
from evaluator.runs.records import SetupResult
from evaluator.runs.results import Result
from tests.evaluator import audio, made_results

ANY_RESULT = replace(
    made_results.result({"a": 1.0, "test/b": 2.0, "c": "timeout"}),
    setup=SetupResult("ok", None, 2.0, 900.0, "submission"),
    isolation=Isolation("process", True, True, True, True, "cgroup v2", 4, 100, not_in_force=("a gap",)),
)


def import_(file: Path) -> int:
    return __main__.main(["leaderboard", "import", str(file)])


def result_with(*path: str | int, value: object) -> dict[str, Any]:
    """A good result but for one value."""
    item = deepcopy(ANY_RESULT.to_json())
    inner: Any = item
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    return item


HUGE, LONG = 10**25, "x" * 5000
ODD_NAMES = (
    "",
    ".",
    "..",
    "/a",
    "a/",
    "a//b",
    "../a",
    "a/../b",
    "a\x1b[31m",
    "a\nb",
    "a\u202eb",
    "a\u2028",
    LONG,
    1,
    None,
)
WRONG: dict[tuple[str | int, ...], tuple[object, ...]] = {
    ("schema_version",): (0, 2, "1", None, 1.5),
    ("status",): ("done", "", 1, None),
    ("track",): ("film", "Music", "", "music\n", "../bass", 3, None, "bass," * 1000),
    ("score",): ({"mean": 1.0}, 5.0, []),
    ("worked", "tracks"): (3, "2", None, -1),
    ("worked", "mean"): (99.0, None, "1.5"),
    ("worked", "bass"): (99.0,),
    ("worked",): ({}, None, []),
    ("extra_metrics",): ({"si_sdr": {"mean": 9.0}}, None),
    ("metrics",): ([], ["si_sdr"], ["sdr", "sdr"], ["sdr", "pesq"], "sdr", None, [1]),
    ("runner",): ("", "Process", "a b", "\x1b", 1, None),
    ("jobs",): (0, -1, 1.5, "1", None, HUGE),
    ("duration_seconds",): (-1, -0.001, 1e300, "1", None, HUGE),
    ("start",): (
        *("", "now", "2026-01-01", "0001-01-01T00:00:00+00:00", "1999-12-31T23:59:59+00:00", 1767225600, None),
        *("2100-01-01T00:00:00+00:00", "9999-12-31T23:59:59+00:00", "2024-02-31T00:00:00+00:00"),
        *("2024-01-01T00:00:00", "2024-01-01T00:00:00+01:00", "2024-01-01T00:00:00+00:00\n"),
        *("2024-01-01T25:00:00+00:00", "٢٠٢٤-01-01T00:00:00+00:00"),
    ),
    ("data", "number"): (0, -1, 2, 1.5, "3", None, HUGE),
    ("data", "hash"): ("", "d", "D" * 64, "g" * 64, "d" * 65, "d" * 64 + "\n", 1, None),
    ("data", "path"): ("a\x1bb", "a\nb", "a\u202eb", LONG, 1, None),
    ("data", "only"): ("\x07", LONG, 1),
    ("limits", "cpus"): (-1, "4", 1.5, HUGE * -1),
    ("limits", "time_factor"): (-1.0, "1"),
    ("limits", "memory_bytes"): (-1, "1", 0.5),
    ("submission", "path"): ("\x00", "a\rb", LONG, None, 3),
    ("submission", "commit"): ("", "abc", "A" * 40, "0" * 41, "--upload-pack=x", "HEAD", "; rm -rf ~", 1),
    ("submission", "dirty"): (0, "yes"),
    ("submission", "files_sha256"): ("", "f", "$(x)", None, 1),
    ("submission", "requested_preset"): ("\x1b[2J", LONG, 1),
    ("submission", "requested_time_factor"): (0, -1, "1"),
    ("submission", "provenance"): ([], "text", 1),
    ("machine",): ([], None, {"cores": 0}, {"cores": "4"}, {"memory_bytes": "x"}, {"memory_bytes": -1}, {"gpus": 1}),
    ("machine", "gpus"): ([1], "abc"),
    ("versions",): ([], None, {"python": 3}, {"a\x1b": "1"}, {"": "1"}),
    ("isolation", "not_in_force"): ("text", [1], None),
    ("isolation", "network_off"): ("yes", None, 1),
    ("setup", "status"): ("fine", None),
    ("setup", "seconds"): (-1, None, 1e12),
    ("setup", "limit_seconds"): (-1, "900"),
    ("tracks",): (None, {}, [], [1], [None]),
    ("tracks", 0): (None, 1, [], {}),
    ("tracks", 1, "name"): ODD_NAMES,
    ("tracks", 0, "status"): ("fine", "OK", None, 1, "timeout"),
    ("tracks", 0, "seconds"): (-1, -1e-9, 1e12, "1", HUGE),
    ("tracks", 0, "limit_seconds"): (0, -1, "1"),
    ("tracks", 0, "audio_seconds"): (0, -1, 1e12, None, "10"),
    ("tracks", 0, "peak_memory_bytes"): (-1, 1.5, "1", HUGE),
    ("tracks", 0, "economies"): (None, "text", 1, {}),
    ("tracks", 0, "reason"): (1, []),
    ("tracks", 0, "mean"): (1.1, 99, None, "1"),
    ("tracks", 2, "mean"): (1.0,),
    ("tracks", 0, "sdr"): (None, {}, [], {"bass": 1.0}, dict.fromkeys("abcd", 1.0), 1.0, "x"),
    ("tracks", 2, "sdr"): (dict.fromkeys(("bass", "drums", "other", "vocals"), 1.0), [1]),
    ("tracks", 0, "sdr", "bass"): (None, "1", True, 300.1, -300.1, 1e9, 1e308, HUGE, [], {}),
    ("tracks", 0, "sdr", "piano"): (1.0,),
}  # fmt: skip


WRONG_RESULTS = [
    pytest.param(path, value, id=f"{'.'.join(map(str, path))}={value!r}"[:60])
    for path, values in WRONG.items()
    for value in values
]


@pytest.mark.parametrize(("path", "value"), WRONG_RESULTS)
def test_whatever_cannot_be_is_refused_in_one_sentence(path: tuple[str | int, ...], value: object) -> None:
    Result.from_json(ANY_RESULT.to_json())
    with pytest.raises(ResultError) as caught:
        Result.from_json(result_with(*path, value=value), "some.json")
    said = str(caught.value)
    assert said.startswith("some.json: ")
    assert said.isprintable()
    assert len(said) < 500


TEXTS: dict[str, Callable[[str], str | bytes]] = {
    "NaN": lambda text: text.replace('"bass":1.0', '"bass":NaN'),
    "infinity": lambda text: text.replace('"bass":1.0', '"bass":Infinity'),
    "beyond float64": lambda text: text.replace('"bass":1.0', '"bass":1e999'),
    "5,000 digits": lambda text: text.replace('"bass":1.0', f'"bass":{"1" * 5000}'),
    "a key twice": lambda text: text.replace('"bass":1.0', '"bass":1.0,"bass":1.0', 1),
    "half a pair": lambda text: text.replace('"device":"cpu"', '"device":"\\udc00"'),
    "half a pair as a key": lambda text: text.replace('"device"', '"\\ud83d"'),
    "deep": lambda text: text.replace('"device":"cpu"', f'"device":{"[" * 200}{"]" * 200}'),
    "very deep": lambda text: text.replace('"device":"cpu"', f'"device":{"[" * 500_000}'),
    "cut short": lambda text: text[:-100],
    "nothing": lambda text: "",
    "another encoding": lambda text: text.encode("utf-16"),
    "no text": lambda text: os.urandom(1000),
    "two": lambda text: text + text,
    "a list": lambda text: f"[{text}]",
    "an escape": lambda text: text.replace('"name":"a"', '"name":"a\\u001b[31m"'),
}


@pytest.mark.parametrize("name", TEXTS)
def test_an_odd_file_is_refused_and_nothing_is_appended(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = entries.canonical(ANY_RESULT.to_json())
    good, odd = tmp_path / "good.json", tmp_path / "odd.json"
    good.write_text(entries.canonical(made_results.result({"a": 1.0}).to_json()))
    changed = TEXTS[name](text)
    assert changed != text
    odd.write_bytes(changed if isinstance(changed, bytes) else changed.encode())
    assert __main__.main(["leaderboard", "import", str(good), str(odd)]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"error: {odd}: ")
    assert said.err.count("\n") == 1
    assert said.err[:-1].isprintable()
    assert Store().entries() == []


@pytest.mark.thorough
def test_a_file_that_is_none_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "result.json")
    with (tmp_path / "large.json").open("wb") as file:
        file.truncate(1 << 40)
    for file_, problem in (
        (tmp_path, "not a regular file"),
        (tmp_path / "large.json", "larger than 256 MiB"),
    ):
        assert import_(file_) == 2
        assert problem in capsys.readouterr().err


def test_a_track_that_stands_twice(tmp_path: Path) -> None:
    item = ANY_RESULT.to_json()
    item["tracks"][1]["name"] = "a"
    with pytest.raises(ResultError, match="some.json: tracks: found 'a' twice, expected each track once"):
        Result.from_json(item, "some.json")


def test_more_tracks_than_the_data_has() -> None:
    with pytest.raises(ResultError, match="tracks: found 3, expected at most the 2 of the data"):
        Result.from_json(result_with("data", "number", value=2), "some.json")


@pytest.mark.parametrize("part", ["start", "recorded"])
def test_what_is_to_come_cannot_be_imported(
    part: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    soon, later = (datetime.now(UTC) + timedelta(hours=hours) for hours in (12, 48))
    for when, code in ((soon, 0), (later, 2)):
        text = when.isoformat(timespec="seconds")
        run = made_results.result({"a": 1.0}, start=text if part == "start" else "2024-01-02T03:04:05+00:00")
        entry = entries.make_entry(run, None)
        export = entries.to_export([replace(entry, recorded=text if part == "recorded" else entry.recorded)])
        (tmp_path / "runs.json").write_text(json.dumps(export))
        assert import_(tmp_path / "runs.json") == code
    assert f"run 0: {part}: found {text}, which lies in the future" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("kind",), "baseline"),
        (("version",), 2),
        (("runs",), None),
        (("runs", 0, "id"), "0" * 64),
        (("runs", 0, "id"), "\x1b"),
        (("runs", 0, "recorded"), "9999-01-01T00:00:00+00:00"),
        (("runs", 0, "recorded"), "\x1b[31m"),
        (("runs", 0, "result"), {}),
        (("runs", 0, "result"), []),
    ],
)
def test_an_export_that_was_changed_is_refused(
    path: tuple[str | int, ...], value: object, tmp_path: Path
) -> None:
    item = deepcopy(entries.to_export([entries.make_entry(ANY_RESULT, None)]))
    inner: Any = item
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    (tmp_path / "runs.json").write_text(json.dumps(item))
    with pytest.raises(ResultError) as caught:
        entries.read_runs(tmp_path / "runs.json")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("run",), "x"),
        (("score", "mean"), 99.0),
        (("tracks", 0, "mean"), 99.0),
        (("tracks", 0, "sdr", "bass"), 1e6),
        (("tracks", 0, "name"), "a\x1b"),
        (("submission", "commit"), "$(x)"),
        (("data", "hash"), ""),
    ],
)
def test_baselines_are_held_to_the_same(path: tuple[str | int, ...], value: object) -> None:
    item = baseline.to_json(made_results.result({"a": 1.0}), "a" * 64)
    assert baseline.from_json(item).score() == made_results.result({"a": 1.0}).score()
    inner: Any = item
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    with pytest.raises(ResultError):
        baseline.from_json(item)


def test_what_is_only_shown_is_made_visible() -> None:
    evil = "a\x1b[2J\nb\u202e"
    shown = "a\\x1b[2J\\nb\\u202e"
    item = result_with("submission", "provenance", value={evil: [evil, {"preset": evil}], "preset": evil})
    item["tracks"][2]["reason"] = item["setup"]["reason"] = item["versions"]["python"] = evil
    item["machine"] = {"processor": evil, "gpus": [evil], "more": {evil: evil}}
    item["isolation"]["not_in_force"] = [evil]
    item["tracks"][0]["economies"] = [evil, {"x": evil}]
    result = Result.from_json(item)
    assert result.provenance == {shown: [shown, {"preset": shown}], "preset": shown}
    assert result.tracks[2].reason == shown
    assert result.setup is not None
    assert result.setup.reason == result.versions["python"] == shown
    assert result.machine == {"processor": shown, "gpus": [shown], "more": {shown: shown}}
    assert result.isolation is not None
    assert result.isolation.not_in_force == (shown,)
    assert result.tracks[0].economies == (shown, {"x": shown})
    assert "\x1b" not in display.table(result) + run_words.detail(entries.make_entry(result, None))
    assert entries.make_entry(result, None).document.isprintable()


GIVEN = made_results.result({"a": 1.0, "b": 2.0}, given=True)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"submission": ANY_RESULT.to_json()["submission"]}, "found both, expected one of the two"),
        ({"predictions": None}, "found neither, expected one of the two"),
        ({"predictions": {"path": "/x"}}, "predictions.files_sha256: missing"),
        ({"predictions": {"path": "", "files_sha256": "e" * 64}}, "path: 0 characters"),
        ({"predictions": {"path": "a\x1bb", "files_sha256": "e" * 64}}, "which no name may have"),
        ({"predictions": {"path": LONG, "files_sha256": "e" * 64}}, "expected from 1 to"),
        ({"predictions": {"path": "/x", "files_sha256": "E" * 64}}, "expected 64 hexadecimal digits"),
        ({"predictions": "/x"}, "predictions: found"),
    ],
)
def test_given_estimates_are_said_as_strictly(changed: dict[str, object], said: str) -> None:
    item = GIVEN.to_json()
    assert Result.from_json(item) == GIVEN
    with pytest.raises(ResultError, match=said):
        Result.from_json(item | changed)


def test_results_of_before_there_were_given_estimates_are_read() -> None:
    item = ANY_RESULT.to_json()
    del item["predictions"]
    assert Result.from_json(item) == ANY_RESULT


@pytest.mark.parametrize(("measure", "value"), [("bleedless", 100.1), ("l1_freq", -0.1), ("log_wmse", 75.0)])
def test_no_measure_is_beyond_its_own_limits(measure: str, value: float) -> None:
    stems = dict.fromkeys(("bass", "drums", "other", "vocals"), 50.0)
    item = made_results.result({"a": 1.0}, measured={measure: {"a": stems}}).to_json()
    Result.from_json(item)
    item["tracks"][0][measure] = {**stems, "bass": value}
    with pytest.raises(
        ResultError, match=f"{measure}: bass: found {value}, expected from .* as no {measure} lies"
    ):
        Result.from_json(item)


def test_no_signal_has_a_score_beyond_what_is_possible() -> None:
    """A day of stereo at 192 kHz, on the scale of 16-bit integers, at its best and at its worst."""
    most = 86_400 * 192_000 * 2 * (2.0 * 32_768) ** 2
    for energies in (
        sdr.Energies(most, 0.0, 0.0),
        sdr.Energies(0.0, most, 0.0),
        sdr.Energies(most, most, 0.0),
        sdr.Energies(most, most, most),
    ):
        for name, measure in (("sdr", sdr.sdr_from), ("si_sdr", sdr.si_sdr_from)):
            assert MEASURES[name].can_be(measure(energies))
    assert MEASURES["sdr"].can_be(None)
    assert not MEASURES["sdr"].can_be(float("nan"))


def test_the_data_and_the_record_agree_on_names(tmp_path: Path) -> None:
    """What a data set may be called is what a result may hold, so no run is made that cannot be read."""
    names = ("a b", "ü", "می\u200cخواهم", "x" * 200, "a'b\"c", "$(x)", "-x", "a\\b")
    audio.write_music(tmp_path, dict.fromkeys(names, 100))
    tracks = dataset.load(tmp_path).tracks
    assert {track.name for track in tracks} == set(names)
    run = made_results.result({track.name: 1.0 for track in tracks})
    assert Result.from_json(run.to_json()) == run
    assert all(documents.track_name(name) == name for name in names)
