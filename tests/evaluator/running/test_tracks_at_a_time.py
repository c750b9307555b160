"""Several tracks at a time: in sessions of their own, which fail alone and end together."""

import json
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from evaluator.isolation.sandbox import Cancelled, Outcome, SandboxError, Status, Workplace
from evaluator.running.evaluation import evaluate
from evaluator.running.job import Observer
from evaluator.runs.documents import ResultError
from evaluator.runs.run_folder import RESULT_FILE
from tests.evaluator.running.fake_runner import FakeRunner, JobMaker, job_maker, write_perfect


@pytest.fixture
def make_job(tmp_path: Path) -> JobMaker:
    return job_maker(tmp_path)


class Meeting:
    """Work that goes on only when `number` tracks are being separated at the same time."""

    def __init__(self, number: int) -> None:
        self._barrier = threading.Barrier(number, timeout=60)

    def __call__(self, workplace: Workplace, name: str) -> Status:
        self._barrier.wait()
        return write_perfect(workplace, name)


def test_tracks_at_a_time_are_in_sessions_of_their_own(make_job: JobMaker, tmp_path: Path) -> None:
    job, runners = make_job(Meeting(2), tracks=4, jobs=2)
    result = evaluate(job, Observer(), resume=False)
    assert [track.name for track in result.tracks] == ["a", "b", "c", "d"]
    assert result.status == "ok"
    assert sorted(runners[0].asked + runners[1].asked) == [
        "a",
        "b",
        "c",
        "close",
        "close",
        "d",
        "start",
        "start",
    ]
    assert [len(runner.asked) for runner in runners] == [4, 4]
    logs = sorted(path.name for path in (tmp_path / "out").glob("*.log"))
    assert logs == ["setup-2.log", "setup.log"]
    assert result.to_json()["jobs"] == 2


def test_no_session_is_started_without_a_track(make_job: JobMaker) -> None:
    _, runners = job = make_job(write_perfect, tracks=2, jobs=5)
    assert evaluate(job[0], Observer(), resume=False).status == "ok"
    assert len(runners) == 2


def test_a_failure_at_a_time_with_others_is_its_own(make_job: JobMaker) -> None:
    meeting = Meeting(2)

    def work(workplace: Workplace, name: str) -> Status:
        return "crashed" if meeting(workplace, name) and name == "b" else "ok"

    job, runners = make_job(work, tracks=4, jobs=2)
    assert [track.status for track in evaluate(job, Observer(), resume=False).tracks] == [
        "ok", "crashed", "ok", "ok",
    ]  # fmt: skip
    (other,) = (runner for runner in runners if "b" in runner.asked)
    assert other.asked.count("start") == 2


def test_what_cannot_be_constructed_twice_is_reported_once(make_job: JobMaker) -> None:
    class Counting(Observer):
        failures = 0

        def setup_failed(self, outcome: Outcome, log: object) -> None:
            self.failures += 1

    class Broken(FakeRunner):
        def start(self) -> Outcome:
            return Outcome("crashed", "no weights", 1.0, 1000, "log\n", None)

    job, _ = make_job(write_perfect, tracks=4, jobs=2)
    counting = Counting()
    result = evaluate(
        replace(job, make_runner=lambda workplace: Broken(workplace, write_perfect)), counting, resume=False
    )
    assert {(track.status, track.reason) for track in result.tracks} == {("crashed", "setup: no weights")}
    assert (len(result.tracks), counting.failures) == (4, 1)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SandboxError])
def test_whatever_ends_one_session_ends_them_all(
    make_job: JobMaker, tmp_path: Path, error: type[BaseException]
) -> None:
    runners: list[FakeRunner] = []

    def work(workplace: Workplace, name: str) -> Status:
        if name == "b":
            raise error
        if name == "a":
            (waiting,) = (runner for runner in runners if "a" in runner.asked)
            assert waiting.cancelled.wait(60)
            raise Cancelled
        return write_perfect(workplace, name)

    job, made = make_job(work, tracks=4, jobs=2)
    runners = made
    with pytest.raises(error):
        evaluate(job, Observer(), resume=False)
    assert [runner.asked[-1] for runner in runners] == ["close", "close"]
    assert not (tmp_path / "out" / "work").exists()
    kept = json.loads((tmp_path / "out" / RESULT_FILE).read_text())
    assert (kept["status"], kept["tracks"]) == ("incomplete", [])


def test_a_run_is_not_resumed_with_more_at_a_time(make_job: JobMaker) -> None:
    evaluate(make_job(write_perfect)[0], Observer(), resume=False)
    with pytest.raises(ResultError, match="jobs: 1, now 2"):
        evaluate(make_job(write_perfect, jobs=2)[0], Observer(), resume=True)


def test_a_result_from_before_jobs_were_recorded_had_one(make_job: JobMaker, tmp_path: Path) -> None:
    job, _ = make_job(write_perfect)
    evaluate(job, Observer(), resume=False)
    file = tmp_path / "out" / RESULT_FILE
    item = json.loads(file.read_text())
    del item["jobs"], item["data"]["only"]
    file.write_text(json.dumps(item))
    assert evaluate(job, Observer(), resume=True).status == "ok"
