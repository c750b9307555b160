"""Real submissions that misbehave: each gets its verdict, does no harm, and the next track goes on."""

import contextlib
import os
import socket
import sys
import threading
from collections.abc import Sequence
from dataclasses import replace
from math import log10
from pathlib import Path

import pytest

from evaluator.commands.evaluate import main
from evaluator.isolation import namespaces
from evaluator.isolation.process_runner import ProcessRunner
from evaluator.isolation.sandbox import Limits, SandboxError, Workplace
from evaluator.measures.sdr import DELTA
from evaluator.running import dataset, evaluation
from evaluator.running.dataset import Track
from evaluator.running.job import Observer
from evaluator.running.options import Options
from evaluator.running.preparation import WITHOUT_VARIABLE, prepare
from evaluator.running.staging import stage_mixture
from evaluator.runs.records import TrackResult
from evaluator.runs.results import Result
from tests.evaluator import audio, processes
from tests.evaluator.submissions import write_submission
from tests.thinned import one_in

GENEROUS = Limits(time_factor=1000.0, memory_bytes=400 << 20, grace_seconds=0.3)
TIGHT = Limits(time_factor=2.0, memory_bytes=400 << 20, grace_seconds=0.3)
TRAP_SECONDS = TIGHT.track_seconds(audio.FRAMES["trap"] / audio.RATE_HZ) or 0.0
TOO_LONG = f"track took longer than {TRAP_SECONDS:.1f} s"
WITHOUT = ("", "namespaces", "namespaces,cgroup")
# Submissions that fail on the first of two tracks, and their verdict by either runner.
VERDICTS = [
    ("allocates_without_end", "out_of_memory", "track used more than 0.391 GiB of memory"),
    ("allocates_in_a_child", "out_of_memory", "track used more than 0.391 GiB of memory"),
    ("exits", "crashed", "exited with code 7 during track"),
    ("calls_exit", "crashed", "SystemExit: 0"),
    ("raises", "crashed", "RuntimeError: no such luck"),
    ("segfaults", "crashed", "ended by SIGSEGV during track"),
    ("nan", "invalid_output", "bass: NaN or infinite samples"),
    (
        "wrong_length_rate_and_channels",
        "invalid_output",
        "bass: length in samples 22049, expected 22050; drums: sample rate 48000, expected 44100; "
        "other: channels 1, expected 2",
    ),
    ("missing_stem", "crashed", "AssertionError"),
    ("extra_stem", "crashed", "AssertionError"),
    ("writes_elsewhere", "invalid_output", "bass: bass.wav is a link"),
]
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")


class Recorder(Observer):
    """Keeps the last lines of output of the tracks that failed."""

    def __init__(self) -> None:
        self.logs: dict[str, Sequence[str]] = {}

    def finished(self, track: Track, result: TrackResult, log: Sequence[str]) -> None:
        self.logs[track.name] = log


def evaluate(
    tmp_path: Path, name: str, limits: Limits = GENEROUS, observer: Observer | None = None
) -> Result:
    """Evaluate the submission `name` on the music data of the tests."""
    (tmp_path / "where.txt").write_text(str(tmp_path))
    submission = write_submission(tmp_path, name)
    (submission / "my_submission" / "where.txt").write_text(str(tmp_path))
    options = Options(
        submission=submission,
        data=audio.write_music(tmp_path / "data"),
        limits=limits,
        out=tmp_path / "out",
    )
    return evaluation.evaluate(prepare(options), observer or Observer(), resume=False)


@pytest.fixture
def marker(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """Seconds for `sleep` by which the processes of one test are known."""
    value = f"3600.{abs(hash(request.node.nodeid)) % 10**9}"
    monkeypatch.setenv("SDX_TEST_MARKER", value)
    return value


def test_perfect(tmp_path: Path) -> None:
    result = evaluate(tmp_path, "perfect")
    energy = float((audio.noise(audio.FRAMES["well"], seed=1) ** 2).sum())
    assert result.status == "ok"
    assert result.tracks[1].scores["sdr"]["bass"] == pytest.approx(10 * log10((energy + DELTA) / DELTA), 1e-6)


@pytest.mark.thorough
def test_scaled_mixture_has_the_score_of_the_closed_form(tmp_path: Path) -> None:
    result = evaluate(tmp_path, "scaled_mixture")
    # half of the reference; halves of odd values are floored to 16 bits, hence the tolerance
    assert result.tracks[0].scores["sdr"] == pytest.approx(
        dict.fromkeys(("bass", "drums", "other", "vocals"), 20 * log10(2)), abs=2e-3
    )


@pytest.mark.parametrize(("name", "status", "reason"), one_in(len(VERDICTS), VERDICTS))
def test_failures_have_a_status_and_the_next_track_goes_on(
    tmp_path: Path, name: str, status: str, reason: str
) -> None:
    result = evaluate(tmp_path, name)
    trap, well = result.tracks
    assert trap.status == status
    assert reason in str(trap.reason)
    assert trap.scores == {}
    assert well.status == "ok"
    assert result.score() is None
    assert result.totals("sdr")["mean"] == well.mean("sdr")


@pytest.mark.thorough
def test_a_sleeper_is_ended_after_its_limit(tmp_path: Path) -> None:
    trap, well = evaluate(tmp_path, "sleeps", TIGHT).tracks
    assert (trap.status, trap.reason) == ("timeout", TOO_LONG)
    assert trap.seconds is not None
    assert TRAP_SECONDS <= trap.seconds < 60.0  # it sleeps for an hour, and the machine may be busy
    assert well.status == "ok"


@linux
@pytest.mark.parametrize(
    "without", [WITHOUT[0], *(pytest.param(each, marks=pytest.mark.slow) for each in WITHOUT[1:])]
)
def test_grandchildren_die_too(
    tmp_path: Path, marker: str, without: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(WITHOUT_VARIABLE, without)
    trap, well = evaluate(tmp_path, "sleeps_in_a_grandchild", TIGHT).tracks
    assert trap.status == "timeout"
    assert processes.with_argument(marker) == []
    assert well.status == "ok"


@pytest.mark.slow
@linux
@pytest.mark.parametrize("without", ["", "namespaces,cgroup"])
def test_forking_a_lot_is_no_failure_but_nothing_of_it_is_left(
    tmp_path: Path, marker: str, without: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(WITHOUT_VARIABLE, without)
    result = evaluate(tmp_path, "forks_a_lot")
    assert result.status == "ok", result.tracks
    assert processes.with_argument(marker) == []


@pytest.mark.slow
@linux
@pytest.mark.parametrize("name", ["allocates_without_end", "allocates_in_a_child"])
def test_without_a_control_group_memory_is_watched(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(WITHOUT_VARIABLE, "namespaces,cgroup")
    result = evaluate(tmp_path, name)
    trap, well = result.tracks
    assert trap.status == "out_of_memory"
    assert trap.peak_memory_bytes is not None
    assert trap.peak_memory_bytes < 1 << 30  # ended soon after the 400 MB it may have
    assert well.status == "ok"
    assert result.isolation is not None
    assert "memory is watched rather than capped by the kernel" in result.isolation.gaps(GENEROUS)


@pytest.mark.thorough
@linux
@pytest.mark.parametrize("without", ["", "namespaces"])
@pytest.mark.parametrize("name", ["fills_its_scratch", "fills_its_predictions"])
def test_what_it_may_write_is_limited(
    tmp_path: Path, name: str, without: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though it takes no notice of a full disk."""
    monkeypatch.setenv(WITHOUT_VARIABLE, without)
    result = evaluate(tmp_path, name, replace(GENEROUS, scratch_bytes=24 << 20))
    trap, well = result.tracks
    assert (trap.status, trap.reason) == (
        "out_of_disk",
        "track wrote more than its files may hold (see --scratch)",
    )
    assert well.status == "ok"
    assert sorted(os.listdir(tmp_path / "out")) == ["estimates", "logs", "result.json", "setup.log"]


@pytest.mark.thorough
def test_shared_memory_counts_as_temporary_files(tmp_path: Path) -> None:
    if not namespaces.probe().own_root:
        pytest.skip("this system gives us no namespaces")
    result = evaluate(tmp_path, "fills_its_shared_memory", replace(GENEROUS, scratch_bytes=24 << 20))
    assert [track.status for track in result.tracks] == ["out_of_disk", "ok"]


@pytest.mark.slow
@linux
def test_what_is_watched_cannot_be_hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In folders that are deeper than any path can name."""
    monkeypatch.setenv(WITHOUT_VARIABLE, "namespaces")
    result = evaluate(tmp_path, "hides_what_it_writes", replace(GENEROUS, scratch_bytes=24 << 20))
    assert [track.status for track in result.tracks] == ["out_of_disk", "ok"]
    assert sorted(os.listdir(tmp_path / "out")) == ["estimates", "logs", "result.json", "setup.log"]


@pytest.mark.thorough
def test_temporary_files_within_the_limit_are_nobodys_business(tmp_path: Path) -> None:
    limits = replace(GENEROUS, scratch_bytes=100 << 20)
    assert [track.status for track in evaluate(tmp_path, "fills_its_scratch", limits).tracks] == ["ok", "ok"]


@pytest.mark.thorough
def test_without_anything_of_linux_it_still_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(WITHOUT_VARIABLE, "namespaces,cgroup,subreaper")
    result = evaluate(tmp_path, "sleeps", TIGHT)
    assert [track.status for track in result.tracks] == ["timeout", "ok"]
    assert result.isolation is not None
    gaps = result.isolation.gaps(TIGHT)
    assert "the network could not be cut off" in gaps
    assert "the references could not be hidden from the file system" in gaps


@pytest.mark.thorough
@linux
@pytest.mark.parametrize("without", WITHOUT)
@pytest.mark.parametrize("moment", ["before", "during"])
def test_when_its_supervisor_is_killed_nothing_is_left(
    tmp_path: Path, marker: str, without: str, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither processes nor files; and the work is no success, whoever is said to have failed."""
    submission = write_submission(tmp_path, "sleeps_in_a_grandchild")
    data = dataset.load(audio.write_music(tmp_path / "data"))
    place = Workplace(tmp_path / "work")
    left = tuple(name for name in without.split(",") if name)
    environment = {"SDX_TEST_MARKER": marker}
    runner = ProcessRunner(submission, place, GENEROUS, environment, [data.path], without=left)
    assert runner.start().status == "ok"
    assert runner._session is not None
    supervisor = runner._session._supervisor
    runner.make_room(64 << 20, lambda mixtures: stage_mixture(data.tracks[0], data.challenge, mixtures))

    def kill() -> None:
        assert moment == "before" or processes.wait_until(marker, present=True)
        supervisor.kill()

    killer = threading.Thread(target=kill)
    killer.start()
    if moment == "before":
        killer.join()
    status = "crashed"
    with contextlib.suppress(SandboxError):
        status = runner.separate("trap", None).status
    assert status == "crashed"
    killer.join()
    runner.close()
    assert processes.with_argument(marker) == []
    assert processes.with_argument(str(submission)) == []
    assert not place.root.exists()


@pytest.mark.thorough
def test_output_without_end_is_drained_and_cut(tmp_path: Path) -> None:
    result = evaluate(tmp_path, "prints_a_gigabyte")
    log = (tmp_path / "out" / "logs" / "trap.log").read_text()
    assert result.status == "ok"
    assert len(log) < 1 << 20
    assert "bytes left out" in log
    assert log.endswith("the last line\n")


@pytest.mark.thorough
def test_the_end_of_the_output_of_a_failed_track_is_reported(tmp_path: Path) -> None:
    recorder = Recorder()
    evaluate(tmp_path, "raises", observer=recorder)
    assert recorder.logs["trap"][-1] == "RuntimeError: no such luck"
    assert recorder.logs["well"] == []


@pytest.mark.thorough
def test_network_is_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not namespaces.probe().own_root:
        pytest.skip("this system gives us no namespaces")
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("SDX_TEST_PORT", str(server.getsockname()[1]))
        result = evaluate(tmp_path, "opens_a_socket")
    assert result.status == "ok", result.tracks
    assert result.isolation is not None
    assert result.isolation.network_off


@pytest.mark.thorough
def test_references_are_out_of_reach(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not namespaces.probe().own_root:
        pytest.skip("this system gives us no namespaces")
    monkeypatch.setenv("SOME_VARIABLE", f"{tmp_path}/data/trap")
    result = evaluate(tmp_path, "looks_for_references")
    assert result.status == "ok", result.tracks
    assert result.isolation is not None
    assert result.isolation.references_hidden


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("name", "limits", "status", "reason"),
    [
        (
            "never_constructs",
            Limits(setup_seconds=0.8, grace_seconds=0.3),
            "timeout",
            "setup: setup took longer than 0.8 s",
        ),
        ("raises_at_construction", GENEROUS, "crashed", "setup: FileNotFoundError: weights.th is missing"),
        ("exits_at_import", GENEROUS, "crashed", "setup: exited with code 3 during setup"),
    ],
)
def test_a_submission_that_cannot_be_constructed_fails_every_track(
    tmp_path: Path, name: str, limits: Limits, status: str, reason: str
) -> None:
    result = evaluate(tmp_path, name, limits)
    assert {(track.status, track.reason) for track in result.tracks} == {(status, reason)}
    assert result.setup is not None
    assert result.setup.status == status


@pytest.mark.thorough
@pytest.mark.parametrize("layout", ["challenge", "dnr"])
def test_the_cinematic_track(tmp_path: Path, layout: str) -> None:
    submission = write_submission(tmp_path, "perfect")
    config = submission / "my_submission" / "user_config.py"
    config.write_text(
        config.read_text().replace('"bass", "drums", "other", "vocals"', '"dialog", "effect", "music"')
    )
    data = tmp_path / "data"
    path = audio.write_cinematic(data, ("one",)) if layout == "challenge" else audio.write_dnr(data)
    job = prepare(Options(submission=submission, data=path, limits=GENEROUS, out=tmp_path / "out"))
    result = evaluation.evaluate(job, Observer(), resume=False)
    assert (result.plan.challenge, result.status) == ("cinematic", "ok")
    for stem, score in result.tracks[0].scores["sdr"].items():
        # a quarter of three stems of equal level: 9/16 of the stem is missing, 2/16 are those of the others
        assert score == pytest.approx(10 * log10(16 / 11), abs=0.2), stem


@pytest.mark.thorough
def test_estimates_are_kept_and_nothing_else_of_the_work(tmp_path: Path) -> None:
    evaluate(tmp_path, "perfect")
    out = tmp_path / "out"
    assert sorted(path.name for path in out.iterdir()) == ["estimates", "logs", "result.json", "setup.log"]
    assert sorted(path.name for path in (out / "estimates" / "well").iterdir()) == [
        "bass.wav",
        "drums.wav",
        "other.wav",
        "vocals.wav",
    ]


@pytest.mark.thorough
@linux
def test_isolation_that_is_required_and_cannot_be_had_runs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(WITHOUT_VARIABLE, "namespaces")
    submission, ran = write_submission(tmp_path, "perfect"), tmp_path / "ran"
    (submission / "my_submission" / "user_config.py").write_text(f"open({str(ran)!r}, 'w').close()\n")
    data = audio.write_music(tmp_path / "data")
    arguments = ["--submission", str(submission), "--data", str(data), "--out", str(tmp_path / "out")]
    assert main([*arguments, "--require-isolation"]) == 2
    said = capsys.readouterr().err
    assert (
        "--require-isolation: on this system the network could not be cut off; the references could not"
        in said
    )
    assert not ran.exists()
    main(arguments)
    assert ran.exists()  # where it is not required
