"""An evaluation over real workers of Dask, which are killed, stopped, cut off, and not what they should be."""

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path

import psutil
import pytest

from evaluator.isolation.limits import Limits
from evaluator.locations import REPOSITORY
from evaluator.running.dataset import Track
from evaluator.running.evaluation import evaluate
from evaluator.running.job import Observer
from evaluator.running.options import Options
from evaluator.running.preparation import WITHOUT_VARIABLE, prepare
from evaluator.running.worker_data import DATA_VARIABLE
from evaluator.running.worker_side import SUBMISSION_VARIABLE
from evaluator.runs import results
from evaluator.runs.records import TrackResult
from evaluator.runs.results import Result
from evaluator.runs.run_folder import RESULT_FILE
from sdx.engines import address
from sdx.engines.engine import EngineError
from tests.evaluator import audio
from tests.sdx.engines import clusters
from tests.sdx.engines.clusters import Cluster
from tests.waiting import WAIT_SECONDS, wait_for

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="processes are found, stopped and ended as on Linux"),
]

SLOW_FRAMES = 31_000  # the track of this length takes SECONDS
SECONDS = 3.0
SUBMISSION = f'''
"""Half of the mixture for every stem, and slow on one track."""

import hashlib
import time
from pathlib import Path


class MySeparationModel:
    instruments = ["bass", "drums", "other", "vocals"]

    def separate_music_file(self, mixed_sound_array, sample_rate):
        if len(mixed_sound_array) == {SLOW_FRAMES}:
            time.sleep({SECONDS})
        arrays = {{stem: mixed_sound_array / 2 for stem in self.instruments}}
        return arrays, dict.fromkeys(self.instruments, sample_rate)

    def provenance(self):
        file = Path(__file__).parents[1] / "weights.bin"
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        return {{"weights": [{{"name": "w", "file": file.name, "sha256": digest}}]}}
'''


class Notes(Observer):
    """Keeps what was said."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.done: set[str] = set()

    def notice(self, text: str) -> None:
        self.said.append(text)

    def finished(self, track: Track, result: TrackResult, log: Sequence[str]) -> None:
        self.done.add(track.name)

    def has(self, words: str) -> bool:
        return any(words in text for text in self.said)


class World:
    """Data, a submission, and its result when it is evaluated in one piece."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.data = audio.write_music(root / "data", {f"t{n}": 30_000 + 1000 * n for n in range(4)})
        self.submission = root / "submission"
        (self.submission / "my_submission").mkdir(parents=True)
        (self.submission / "my_submission" / "user_config.py").write_text(SUBMISSION)
        (self.submission / "weights.bin").write_bytes(b"right")
        self.serial = self.run(None, "serial")

    def run(
        self,
        engine: str | None,
        out: str,
        notes: Observer | None = None,
        resume: bool = False,
    ) -> Result:
        """Evaluate it, on the workers of an engine if there is one."""
        options = Options(
            submission=self.submission,
            data=self.data,
            challenge="music",
            limits=Limits(time_factor=600.0, cpus=1, memory_bytes=1 << 30),
            out=self.root / out,
            resume=resume,
            engine=None if engine is None else address.parse(engine),
        )
        return evaluate(prepare(options), notes or Notes(), resume)

    def require_same(self, result: Result) -> None:
        """Every track once, with the scores of the run in one piece."""
        assert [track.name for track in result.tracks] == [track.name for track in self.serial.tracks]
        assert result.status == "ok"
        for ours, theirs in zip(result.tracks, self.serial.tracks, strict=True):
            for stem, value in theirs.scores["sdr"].items():
                assert ours.scores["sdr"][stem] == pytest.approx(value, abs=1e-9)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """With two workers, for what leaves them as they were; others are started, and ended, by their tests."""
    with clusters.opened(tmp_path_factory.mktemp("cluster")) as opened:
        opened.pair = [opened.worker(), opened.worker()]
        yield opened


def at_work(cluster: Cluster) -> "list[subprocess.Popen[bytes]]":
    return [nanny for nanny in cluster.pair if clusters.separates(nanny)]


def caught(cluster: Cluster, notes: Notes) -> psutil.Process:
    """The worker that is at the slow track, once the others are done: nothing else is under way."""
    found: list[psutil.Process | None] = []

    def look() -> bool:
        found[:] = [clusters.worker_of(nanny) for nanny in at_work(cluster)] if len(notes.done) == 3 else []
        return bool(found) and found[0] is not None

    wait_for(look, "the slow track")
    assert found[0] is not None
    return found[0]


def start(world: World, cluster: Cluster, out: str, options: str = "") -> "tuple[Notes, Future[Result]]":
    """Begin a run beside the test; its slow track takes so long that it is caught in the act."""
    notes = Notes()
    future: Future[Result] = Future()

    def run() -> None:
        try:
            future.set_result(world.run(f"{cluster.engine}{options}", out, notes))
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return notes, future


def test_scores_are_those_of_one_piece_and_estimates_are_kept(world: World, cluster: Cluster) -> None:
    notes = Notes()
    result = world.run(cluster.engine, "two", notes)
    world.require_same(result)
    assert {track.machine for track in result.tracks} == {os.uname().nodename}
    assert [host.tracks_at_a_time for host in result.machines] == [2]
    for track in result.tracks:
        for stem in result.stems:
            ours, theirs = (
                world.root / out / "estimates" / track.name / f"{stem}.wav" for out in ("two", "serial")
            )
            assert ours.read_bytes() == theirs.read_bytes()
    assert results.read(world.root / "two" / RESULT_FILE) == result


def test_a_worker_that_is_killed_loses_nothing(world: World, cluster: Cluster) -> None:
    notes, future = start(world, cluster, "killed")
    clusters.kill(caught(cluster, notes))
    world.require_same(future.result(WAIT_SECONDS))


def test_a_slow_worker_is_copied_and_the_first_answer_counts(world: World, cluster: Cluster) -> None:
    notes, future = start(world, cluster, "slow", "?slow=1")
    worker = caught(cluster, notes)
    worker.suspend()
    try:
        world.require_same(future.result(WAIT_SECONDS))
    finally:
        worker.resume()
    assert notes.has("takes long on")


def test_a_killed_client_is_resumed_on_another_engine(world: World, cluster: Cluster) -> None:
    out = world.root / "client"
    command = [
        *(sys.executable, str(REPOSITORY / "run_eval.py")),
        *("--submission", str(world.submission), "--data", str(world.data)),
        *("--track", "music", "--time-factor", "600", "--cpus", "1", "--memory", "1g"),
        *("--out", str(out), "--engine", cluster.engine),
    ]
    client = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_for(
            lambda: (out / RESULT_FILE).exists() and results.read(out / RESULT_FILE).tracks,
            "a track's result",
        )
    finally:
        clusters.kill(client)
    before = results.read(out / RESULT_FILE)
    assert before.status == "incomplete"
    after = world.run("local?workers=1", "client", resume=True)
    world.require_same(after)
    kept = {track.name: track for track in before.tracks}
    assert [track for track in after.tracks if track.name in kept] == list(before.tracks)


def test_an_interrupted_client_ends_what_its_workers_do(world: World, cluster: Cluster) -> None:
    out = world.root / "interrupted"
    command = [
        *(sys.executable, str(REPOSITORY / "run_eval.py")),
        *("--submission", str(world.submission), "--data", str(world.data)),
        *("--track", "music", "--time-factor", "600", "--only", "t1"),
        *("--out", str(out), "--engine", cluster.engine),
    ]
    client = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    wait_for(lambda: at_work(cluster), "a track")
    client.send_signal(signal.SIGINT)
    _, said = client.communicate(timeout=WAIT_SECONDS)
    assert client.returncode == 130, said
    wait_for(lambda: not at_work(cluster), "the end of the submission")


def test_a_scheduler_that_is_killed_is_waited_for(world: World, tmp_path: Path) -> None:
    with clusters.opened(tmp_path) as cluster:
        cluster.pair = [cluster.worker()]
        notes, future = start(world, cluster, "scheduler", "?patience=90")
        wait_for(lambda: at_work(cluster), "a track")
        clusters.kill(cluster.scheduler)
        wait_for(lambda: notes.has("is lost"), "the loss")
        cluster.start_scheduler()
        cluster.worker()
        world.require_same(future.result(WAIT_SECONDS))
        assert notes.has("is back")


def test_a_scheduler_that_stays_away_ends_the_run_which_is_kept(world: World, tmp_path: Path) -> None:
    with clusters.opened(tmp_path) as cluster:
        cluster.pair = [cluster.worker()]
        _, future = start(world, cluster, "away", "?patience=15")
        wait_for(lambda: at_work(cluster), "a track")
        clusters.kill(cluster.scheduler)
        with pytest.raises(EngineError, match="for 15 s|within 15 s"):
            future.result(WAIT_SECONDS)
    world.require_same(world.run(None, "away", resume=True))


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small disk, which takes root")
def test_whoever_has_something_else_is_refused_and_says_what(world: World, tmp_path: Path) -> None:
    """Data, weights, a submission, a kit, and a disk, each of one worker; the last one does it all.

    Of two that have a small disk one has no namespaces, so that there the submission itself would write to it.
    """
    data = shutil.copytree(world.data, tmp_path / "data")
    for track in data.iterdir():
        shutil.copy(track / "bass.wav", track / "drums.wav")
        with (track / "drums.wav").open("r+b") as file:
            file.seek(2000)
            file.write(b"\1")
    weights = shutil.copytree(world.submission, tmp_path / "weights")
    (weights / "weights.bin").write_bytes(b"wrong")
    code = shutil.copytree(world.submission, tmp_path / "code")
    with (code / "my_submission" / "user_config.py").open("a") as file:
        file.write("# another\n")
    kit = tmp_path / "kit"
    for package in ("evaluator", "my_submission", "sdx", "training"):
        shutil.copytree(REPOSITORY / package, kit / package)
    (kit / "evaluator" / "another.py").touch()
    disk, bare = tmp_path / "disk", tmp_path / "bare"
    for place, size in ((disk, "64k"), (bare, "300k")):
        place.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", place], check=True)
    try:
        with clusters.opened(tmp_path / "cluster") as cluster:
            cluster.pair = [cluster.worker()]
            notes, future = start(world, cluster, "refused", "?silence=600")
            wait_for(lambda: notes.done and at_work(cluster), "a track of the right worker")
            right = clusters.worker_of(cluster.pair[0])
            assert right is not None
            right.suspend()  # so that the others are asked
            for environment in (
                {DATA_VARIABLE: str(data)},
                {SUBMISSION_VARIABLE: str(code)},
                {SUBMISSION_VARIABLE: str(weights)},
                {"PYTHONPATH": str(kit)},
                {"TMPDIR": str(disk)},
                {"TMPDIR": str(bare), WITHOUT_VARIABLE: "namespaces,cgroup"},
            ):
                cluster.worker(environment)
            try:
                for words in (
                    "other data", "another submission", "other weights", "another version",
                    f"full disk at {disk}", f"full disk at {bare}",
                ):  # fmt: skip
                    wait_for(lambda words=words: notes.has(words), words)  # type: ignore[misc]
            finally:
                right.resume()
            world.require_same(future.result(WAIT_SECONDS))
    finally:
        subprocess.run(["umount", "-l", disk, bare], check=True)
