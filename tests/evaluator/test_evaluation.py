"""The course of an evaluation, with a runner that runs nothing: what is done when, and what is kept."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import soundfile

from evaluator import dataset, evaluation
from evaluator.dataset import Track
from evaluator.evaluation import Job, Observer, evaluate
from evaluator.results import DataInfo, Plan
from evaluator.sandbox import Isolation, Limits, Outcome, Status, Workplace
from evaluator.submission import Identity
from tests.evaluator import audio

PROVENANCE = {"preset": "mdx-c", "weights": [{"name": "a", "file": "a.th", "sha256": "ff"}]}


class FakeRunner:
    """Answers as a submission would that does `work` with a track's folder name, and notes what it is asked."""

    def __init__(self, workplace: Workplace, work: Callable[[Workplace, str], Status]) -> None:
        self._workplace = workplace
        self._work = work
        self.asked: list[str] = []

    @property
    def isolation(self) -> Isolation | None:
        return Isolation("fake", True, True, True, True, None, None, None)

    def start(self) -> Outcome:
        self.asked.append("start")
        return self._outcome("ok", PROVENANCE)

    def separate(self, folder: str, limit_seconds: float | None) -> Outcome:
        self.asked.append(folder)
        return self._outcome(self._work(self._workplace, folder), {**PROVENANCE, "economies": [folder]})

    def close(self) -> None:
        self.asked.append("close")

    @staticmethod
    def _outcome(status: Status, provenance: Mapping[str, Any]) -> Outcome:
        return Outcome(status, None if status == "ok" else "because", 1.0, 1000, "log\n", provenance)


def write_perfect(workplace: Workplace, folder: str) -> Status:
    """Write a quarter of the mixture for every stem, which is the truth."""
    mixture, rate = soundfile.read(workplace.mixtures / folder / "mixture.wav")
    (workplace.predictions / folder).mkdir()
    for stem in ("bass", "drums", "other", "vocals"):
        soundfile.write(workplace.predictions / folder / f"{stem}.wav", mixture / 4, rate)
    return "ok"


@pytest.fixture
def make_job(tmp_path: Path) -> Callable[[Callable[[Workplace, str], Status]], tuple[Job, list[FakeRunner]]]:
    """Makes a job on two tracks, a and b, and the list into which its runner goes."""
    data = dataset.load(audio.write_music(tmp_path / "data", {"a": 1000, "b": 1000}))
    plan = Plan(
        "music",
        Identity(str(tmp_path), None, None, "", None),
        DataInfo(str(data.path), 2, ""),
        Limits(),
        ("sdr",),
        "fake",
    )

    def make(work: Callable[[Workplace, str], Status]) -> tuple[Job, list[FakeRunner]]:
        runners: list[FakeRunner] = []

        def make_runner(workplace: Workplace) -> FakeRunner:
            runners.append(FakeRunner(workplace, work))
            return runners[-1]

        return Job(plan, data, tmp_path / "out", True, make_runner), runners

    return make


JobMaker = Callable[[Callable[[Workplace, str], Status]], tuple[Job, list[FakeRunner]]]


def test_it_is_constructed_once_and_asked_for_each_track(make_job: JobMaker) -> None:
    job, runners = make_job(write_perfect)
    assert evaluate(job, Observer(), resume=False).status == "ok"
    assert runners[0].asked == ["start", "a", "b", "close"]


@pytest.mark.parametrize("status", ["timeout", "out_of_memory", "crashed", "invalid_output"])
def test_it_is_constructed_again_after_any_failure(make_job: JobMaker, status: Status) -> None:
    job, runners = make_job(lambda workplace, name: status if name == "a" else write_perfect(workplace, name))
    result = evaluate(job, Observer(), resume=False)
    assert [track.status for track in result.tracks] == [status, "ok"]
    assert runners[0].asked == ["start", "a", "close", "start", "b", "close"]


def test_it_sees_one_mixture_at_a_time_and_nothing_else(make_job: JobMaker) -> None:
    seen: list[list[str]] = []

    def look(workplace: Workplace, name: str) -> Status:
        files = [path for path in workplace.root.rglob("*") if path.is_file()]
        seen.append([str(path.relative_to(workplace.root)) for path in files])
        return write_perfect(workplace, name)

    evaluate(make_job(look)[0], Observer(), resume=False)
    assert seen == [["mixtures/a/mixture.wav"], ["mixtures/b/mixture.wav"]]


def test_what_is_written_for_another_track_is_not_taken(make_job: JobMaker) -> None:
    def write_ahead(workplace: Workplace, name: str) -> Status:
        if name == "a":
            write_perfect(workplace, "a")
            (workplace.predictions / "b").mkdir()
            for path in (workplace.predictions / "a").iterdir():
                (workplace.predictions / "b" / path.name).write_bytes(path.read_bytes())
        return "ok"

    result = evaluate(make_job(write_ahead)[0], Observer(), resume=False)
    assert [track.status for track in result.tracks] == ["ok", "invalid_output"]
    assert result.tracks[1].reason == "no folder b was written"


def test_what_the_submission_says_of_itself_is_in_the_result(make_job: JobMaker) -> None:
    item = evaluate(make_job(write_perfect)[0], Observer(), resume=False).to_json()
    assert item["submission"]["preset"] == "mdx-c"
    assert item["submission"]["weights"] == PROVENANCE["weights"]
    assert [track["economies"] for track in item["tracks"]] == [["a"], ["b"]]


def test_an_interruption_closes_the_runner_and_keeps_what_is_done(make_job: JobMaker, tmp_path: Path) -> None:
    class Interrupting(Observer):
        def separating(self, track: Track, limit_seconds: float | None) -> None:
            if track.name == "b":
                raise KeyboardInterrupt

    job, runners = make_job(write_perfect)
    with pytest.raises(KeyboardInterrupt):
        evaluate(job, Interrupting(), resume=False)
    assert runners[0].asked == ["start", "a", "close"]
    assert not (tmp_path / "out" / "work").exists()
    kept = json.loads((tmp_path / "out" / evaluation.RESULT_FILE).read_text())
    assert (kept["status"], [track["name"] for track in kept["tracks"]]) == ("incomplete", ["a"])

    resumed = evaluate(job, Observer(), resume=True)
    assert resumed.status == "ok"
    assert runners[1].asked == ["start", "b", "close"]


def test_nothing_is_started_where_nothing_is_left_to_do(make_job: JobMaker) -> None:
    job, runners = make_job(write_perfect)
    first = evaluate(job, Observer(), resume=False)
    assert evaluate(job, Observer(), resume=True).tracks == first.tracks
    assert len(runners) == 1
