"""The course of an evaluation, with a runner that runs nothing: what is done when, and what is kept."""

import contextlib
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import pytest

from evaluator.isolation.sandbox import Limits, Status, Workplace
from evaluator.running import estimates
from evaluator.running.dataset import Track
from evaluator.running.evaluation import COPIES_AHEAD, Interrupted, evaluate
from evaluator.running.job import Job, Observer
from evaluator.running.predictions import Predictions
from evaluator.runs import results
from evaluator.runs.documents import ResultError
from evaluator.runs.records import GivenEstimates
from evaluator.runs.run_folder import LOCK_FILE, RESULT_FILE
from tests.evaluator.running.fake_runner import PROVENANCE, JobMaker, job_maker, write_perfect


@pytest.fixture
def make_job(tmp_path: Path) -> JobMaker:
    return job_maker(tmp_path)


def test_it_is_constructed_once_and_asked_for_each_track(make_job: JobMaker) -> None:
    job, runners = make_job(write_perfect)
    assert evaluate(job, Observer(), resume=False).status == "ok"
    assert runners[0].asked == ["start", "a", "b", "close"]


@pytest.mark.parametrize("factor", [1.57, None])
def test_a_track_has_the_time_that_its_duration_allows(make_job: JobMaker, factor: float | None) -> None:
    job, runners = make_job(write_perfect)
    result = evaluate(
        replace(job, plan=replace(job.plan, limits=Limits(time_factor=factor))), Observer(), resume=False
    )
    allowed = [None if factor is None else factor * track.seconds for track in job.dataset.tracks]
    assert runners[0].limits == allowed
    assert [track.limit_seconds for track in result.tracks] == allowed


@pytest.mark.parametrize("status", ["timeout", "out_of_memory", "out_of_disk", "crashed", "invalid_output"])
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


def test_each_track_has_room_for_what_it_needs(make_job: JobMaker) -> None:
    job, runners = make_job(write_perfect)
    assert evaluate(job, Observer(), resume=False).status == "ok"
    tracks, challenge = job.dataset.tracks, job.dataset.challenge
    assert runners[0].rooms == [estimates.most_bytes(track, challenge) for track in tracks]


def test_the_kept_estimates_are_those_of_the_moment_of_the_answer(make_job: JobMaker, tmp_path: Path) -> None:
    """What is written later, to what was collected, changes no score."""
    opened: list[BinaryIO] = []

    def keep_open(workplace: Workplace, name: str) -> Status:
        for file in opened:  # the track before is being scored, or has been
            file.seek(44)
            file.write(b"\x55" * 4000)
            file.close()
        opened.clear()
        write_perfect(workplace, name)
        opened.extend(path.open("r+b") for path in (workplace.predictions / name).iterdir())
        return "ok"

    with contextlib.ExitStack() as stack:
        stack.callback(lambda: [file.close() for file in opened])
        result = evaluate(make_job(keep_open)[0], Observer(), resume=False)
    untouched = evaluate(make_job(write_perfect)[0], Observer(), resume=False)
    assert [track.scores for track in result.tracks] == [track.scores for track in untouched.tracks]


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
    with pytest.raises(Interrupted) as interrupted:
        evaluate(job, Interrupting(), resume=False)
    assert interrupted.value.result == results.read(tmp_path / "out" / RESULT_FILE)
    assert runners[0].asked == ["start", "a", "close"]
    assert not (tmp_path / "out" / "work").exists()
    kept = json.loads((tmp_path / "out" / RESULT_FILE).read_text())
    assert (kept["status"], [track["name"] for track in kept["tracks"]]) == ("incomplete", ["a"])

    resumed = evaluate(job, Observer(), resume=True)
    assert resumed.status == "ok"
    assert runners[1].asked == ["start", "b", "close"]


def test_what_a_killed_run_was_writing_is_gone_after_the_next(make_job: JobMaker, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / f".{RESULT_FILE}.12345").write_text('{"tra')
    (out / f".{RESULT_FILE}.mine").touch()
    job, _ = make_job(write_perfect)
    evaluate(job, Observer(), resume=True)
    assert {path.name for path in out.iterdir() if path.name.startswith(".")} == {f".{RESULT_FILE}.mine"}


def test_nothing_is_started_where_nothing_is_left_to_do(make_job: JobMaker) -> None:
    job, runners = make_job(write_perfect)
    first = evaluate(job, Observer(), resume=False)
    assert evaluate(job, Observer(), resume=True).tracks == first.tracks
    assert len(runners) == 1


def test_a_page_of_an_earlier_run_is_removed(make_job: JobMaker, tmp_path: Path) -> None:
    out = tmp_path / "out"
    (out / "report_audio").mkdir(parents=True)
    for name in ("report.html", "report_audio/a.flac", "my own notes"):
        (out / name).touch()
    evaluate(make_job(write_perfect)[0], Observer(), resume=False)
    assert sorted(path.name for path in out.iterdir()) == [
        "estimates", "logs", "my own notes", "result.json", "setup.log",
    ]  # fmt: skip


def test_a_page_stays_where_nothing_is_left_to_do(make_job: JobMaker, tmp_path: Path) -> None:
    job, _ = make_job(write_perfect)
    evaluate(job, Observer(), resume=False)
    (tmp_path / "out" / "report.html").touch()
    evaluate(job, Observer(), resume=True)
    assert (tmp_path / "out" / "report.html").exists()


# Estimates that are there already


class Given(Predictions):
    """Estimates that are perfect: copies of the references; `watch` is called before each track is copied."""

    def __init__(self, watch: Callable[[Track, Path], object]) -> None:
        super().__init__(GivenEstimates("/given", "e" * 64), Path("/given"), {})
        object.__setattr__(self, "watch", watch)

    def collect(self, track: Track, destination: Path) -> None:
        self.watch(track, destination)  # type: ignore[attr-defined]
        destination.mkdir(parents=True)
        for stem, path in track.references.items():
            shutil.copy(str(path), destination / f"{stem}.wav")


def given(job: Job, watch: Callable[[Track, Path], object] = lambda track, destination: None) -> Job:
    """The same job of estimates that are there already."""
    found = Given(watch)
    plan = replace(job.plan, submission=None, predictions=found.identity, runner="none")
    return replace(job, plan=plan, make_runner=None, predictions=found)


def test_given_estimates_are_scored_in_the_data_sets_order_and_nothing_runs(make_job: JobMaker) -> None:
    job, runners = make_job(write_perfect, tracks=4)
    result = evaluate(given(job), Observer(), resume=False)
    assert (result.status, runners) == ("ok", [])
    assert [track.name for track in result.tracks] == ["a", "b", "c", "d"]
    assert {(track.seconds, track.limit_seconds, track.late) for track in result.tracks} == {
        (None, None, False)
    }
    assert result.rtf is None


def test_copies_do_not_run_far_ahead_of_scoring(make_job: JobMaker) -> None:
    most = 0

    def count(track: Track, destination: Path) -> None:
        nonlocal most
        most = max(most, len(list(destination.parent.glob("*"))))

    job = replace(given(make_job(write_perfect, tracks=8)[0], count), keep_estimates=False)
    assert evaluate(job, Observer(), resume=False).status == "ok"
    assert most <= COPIES_AHEAD


def test_an_interruption_keeps_what_is_scored_and_resuming_goes_on_from_there(make_job: JobMaker) -> None:
    job = make_job(write_perfect, tracks=3)[0]
    asked: list[str] = []

    def interrupt(track: Track, destination: Path) -> None:
        asked.append(track.name)
        if track.name == "b" and len(asked) == 2:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted) as caught:
        evaluate(given(job, interrupt), Observer(), resume=False)
    assert [track.name for track in caught.value.result.tracks] == ["a"]
    assert evaluate(given(job, interrupt), Observer(), resume=True).status == "ok"
    assert asked == ["a", "b", "b", "c"]


@pytest.mark.parametrize("resume", [False, True])
def test_a_run_loses_nothing_by_another_in_its_folder(make_job: JobMaker, resume: bool) -> None:
    def meanwhile(workplace: Workplace, name: str) -> Status:
        with pytest.raises(ResultError, match="another run is writing to this folder"):
            evaluate(job, Observer(), resume)
        return write_perfect(workplace, name)

    job, runners = make_job(meanwhile)
    assert evaluate(job, Observer(), resume=False).status == "ok"
    assert runners[0].asked == ["start", "a", "b", "close"]
    assert {path.name for path in (job.out / "estimates").iterdir()} == {"a", "b"}
    assert not (job.out / LOCK_FILE).exists()
