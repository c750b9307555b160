"""What a submission says becomes a record: nothing in it acts, and nothing in it ends the run."""

from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from evaluator.isolation.sandbox import Outcome, Runner, Workplace
from evaluator.reporting import display
from evaluator.reporting.progress import ProgressBar
from evaluator.running import dataset, scoring
from evaluator.running.dataset import Dataset
from evaluator.running.job import Job, Observer
from evaluator.running.recorder import Recorder
from evaluator.runs import results
from evaluator.runs.labels import UNNAMED, Label
from evaluator.runs.records import DataInfo, Identity, Plan, TrackResult
from evaluator.runs.results import Result
from evaluator.runs.run_folder import RESULT_FILE
from tests.evaluator import audio, made_results

EVIL = "\x1b]0;owned\x07\nAll tracks were scored: 99 dB.\u202e\x9b31m"
SHOWN = "\\x1b]0;owned\\x07\\nAll tracks were scored: 99 dB.\\u202e\\x9b31m"


@pytest.fixture
def data(tmp_path: Path) -> Dataset:
    return dataset.load(audio.write_music(tmp_path / "data", {"a": 1000, "b": 1000}))


def recorder(data: Dataset, tmp_path: Path, observer: Observer | None = None) -> Recorder:
    plan = Plan(
        challenge="music",
        submission=Identity("/somewhere", None, None, "f" * 64, None),
        data=DataInfo("/data", len(data.tracks), dataset.content_hash(data.tracks)),
        limits=made_results.result({"a": 1.0}).plan.limits,
        metrics=("sdr",),
        runner="process",
    )
    return Recorder(Job(plan, data, tmp_path / "out", True, never), observer or Observer(), None)


def never(workplace: Workplace) -> Runner:
    raise AssertionError("nothing is run")


def outcome(
    status: str = "ok", reason: str | None = None, provenance: Mapping[str, Any] | None = None
) -> Outcome:
    return Outcome(status, reason, 1.0, 1000, EVIL, provenance)  # type: ignore[arg-type]


def no_text_acts(text: str) -> bool:
    return not {c for c in text if not c.isprintable()} - {"\n", "\r"}


def test_words_of_a_submission_do_not_act(
    data: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bar = ProgressBar(data)
    kept = recorder(data, tmp_path, bar)
    kept.set_up(outcome("crashed", EVIL, {EVIL: [EVIL, {"x": EVIL}]}), None)
    bar.setup_failed(outcome("crashed", EVIL), [EVIL])
    kept.separated(data.tracks[0], outcome("crashed", EVIL))
    kept.separated(data.tracks[1], outcome("crashed", EVIL * 1000))
    kept.finish_scoring()
    bar.close()
    result = kept.result()
    first, second = result.tracks
    assert first.reason == SHOWN
    assert first.last_line == SHOWN.partition("\\n")[2]
    assert len(second.reason or "") == 2000
    assert result.setup is not None
    assert result.setup.reason == SHOWN
    assert result.provenance == {SHOWN: [SHOWN, {"x": SHOWN}]}
    assert no_text_acts(display.table(result))
    said = capsys.readouterr().err
    assert no_text_acts(said)
    assert f"a: crashed, {SHOWN}" in said
    saved = kept.save()
    assert results.read(tmp_path / "out" / RESULT_FILE) == saved


def test_a_forecast_is_told_once(data: Dataset, tmp_path: Path) -> None:
    class Told(Observer):
        def __init__(self) -> None:
            self.said: list[str] = []

        def notice(self, text: str) -> None:
            self.said.append(text)

    told = Told()
    kept = recorder(data, tmp_path, told)
    for forecast in (None, 5, "in time", "in time", "late"):
        kept.set_up(outcome(provenance={"forecast": forecast}), None)
    kept.finish_scoring()
    assert told.said == ["The submission's forecast: in time"]


def test_a_resumed_run_keeps_what_it_is_called_unless_it_is_said_anew(data: Dataset, tmp_path: Path) -> None:
    first = recorder(data, tmp_path)
    first.finish_scoring()
    job = replace(first._job, label=Label("ours", "a note", ("x",)))
    before = replace(first.result(), label=job.label)
    for said, kept in ((UNNAMED, job.label), (Label(None, None, ("y",)), Label("ours", "a note", ("y",)))):
        again = Recorder(replace(job, label=said), Observer(), before)
        again.finish_scoring()
        assert again.result().label == kept


@pytest.mark.parametrize("economies", [None, 5, "text", {"a": 1}, [EVIL, {"x": EVIL}]])
def test_odd_economies_are_none(economies: object, data: Dataset, tmp_path: Path) -> None:
    kept = recorder(data, tmp_path)
    kept.separated(data.tracks[0], outcome("crashed", "no luck", {"economies": economies}))
    kept.finish_scoring()
    (track,) = kept.result().tracks
    assert track.economies == ((SHOWN, {"x": SHOWN}) if isinstance(economies, list) else ())


def test_a_score_that_no_reader_takes_is_invalid_output(
    data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Floats so large that arithmetic ends: the file of the run can be read all the same, and the run resumed."""
    monkeypatch.setattr(
        scoring,
        "score_track",
        lambda *given: {"sdr": dict.fromkeys(("bass", "drums", "other", "vocals"), -500.0)},
    )
    kept = recorder(data, tmp_path)
    kept.separated(data.tracks[0], outcome())
    kept.finish_scoring()
    (track,) = kept.result().tracks
    assert (track.status, track.scores) == ("invalid_output", {})
    assert track.reason == "bass: samples far beyond full scale (sdr -500 dB)"
    assert isinstance(results.read(tmp_path / "out" / RESULT_FILE), Result)


class Clock:
    """Goes on when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.mark.parametrize(("write_seconds", "share"), [(0.01, None), (0.4, 0.05), (4.0, 0.05)])
def test_keeping_the_result_takes_a_small_share_of_the_time_however_large_it_is(
    write_seconds: float, share: float | None, data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A small one is kept after each track; a large one, whose tracks come quickly, now and then."""
    clock, written = Clock(), list[int]()

    def write(path: Path, item: Mapping[str, Any]) -> None:
        clock.now += write_seconds
        written.append(len(item["tracks"]))

    monkeypatch.setattr("evaluator.running.recorder.time", clock)
    monkeypatch.setattr(results, "write", write)
    kept = recorder(data, tmp_path)
    for _ in range(1000):
        clock.now += 0.1
        kept._record(data.tracks[0], track_result(), "")
    passed, spent = clock.now - 1000.0, write_seconds * len(written)
    if share is None:
        assert len(written) == 1000
    else:
        assert 0 < spent <= share * passed + write_seconds
    kept.finish_scoring()


def test_waiting_for_the_scores_asks_each_once(data: Dataset, tmp_path: Path) -> None:
    """Ten thousand tracks would ask fifty million times."""
    kept, asked = recorder(data, tmp_path), list[int]()

    class Asked(Future[None]):
        def __init__(self, number: int) -> None:
            super().__init__()
            self.number = number
            self.set_result(None)

        def result(self, timeout: float | None = None) -> None:
            asked.append(self.number)

    for number in range(20):
        kept._pending.append(Asked(number))
        kept.catch_up(1)
    kept.finish_scoring()
    assert asked == list(range(20))


def track_result() -> TrackResult:
    scores = {"sdr": dict.fromkeys(("bass", "drums", "other", "vocals"), 1.0)}
    return TrackResult("a", "ok", None, 1.0, None, 1.0, None, (), scores)
