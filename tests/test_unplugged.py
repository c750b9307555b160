"""A machine whose cable is pulled, and its return: nothing is lost, and nothing done twice."""

import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from evaluator.isolation.limits import Limits
from evaluator.locations import REPOSITORY
from evaluator.running.dataset import Track
from evaluator.running.evaluation import evaluate
from evaluator.running.job import Observer
from evaluator.running.options import Options
from evaluator.running.preparation import prepare
from evaluator.runs.records import TrackResult
from evaluator.runs.results import Result
from sdx.engines import address
from tests.evaluator import audio
from tests.my_submission.files_model import SHARES, write_tiny_preset
from tests.sdx.engines import clusters
from tests.sdx.engines.hosts import AGAIN, OTHER, other_host
from tests.test_two_hosts import BOTH, write_submission
from tests.waiting import wait_for

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="network namespaces are Linux's"),
]


class Machines(Observer):
    """Keeps which machine has done each track, and what was said."""

    def __init__(self) -> None:
        self.done: list[tuple[str, str | None]] = []
        self.said: list[str] = []

    def finished(self, track: Track, result: TrackResult, log: Sequence[str]) -> None:
        self.done.append((track.name, result.machine))

    def notice(self, text: str) -> None:
        self.said.append(text)

    def others(self) -> int:
        """How many the other host has done."""
        return sum(machine == OTHER for _, machine in self.done)


UNPLUGGED_SECONDS = 60.0
TRACKS, TRACK_SECONDS = 60, 2.0  # for one machine while the other is away, and some more


def test_a_machine_that_is_unplugged_for_a_minute_works_again_and_nothing_is_lost(tmp_path: Path) -> None:
    """Long enough for Dask to give up the connection on both ends, where its worker ends."""
    options = Options(
        submission=write_submission(tmp_path / "submission", TRACK_SECONDS),
        data=audio.write_music(
            tmp_path / "data", {f"t{number:02d}": 1000 + number for number in range(TRACKS)}
        ),
        challenge="music",
        limits=Limits(time_factor=None),
        out=tmp_path / "out",
    )
    seen = Machines()
    future: Future[Result] = Future()

    def run(engine: str) -> None:
        try:
            job = prepare(replace(options, engine=address.parse(engine)))
            future.set_result(evaluate(job, seen, resume=False))
        except BaseException as error:
            future.set_exception(error)

    with other_host() as host, clusters.opened(tmp_path / "cluster", host=host.ours) as cluster:
        cluster.worker()
        cluster.worker(command=[*host.command, *AGAIN])
        threading.Thread(target=run, args=(f"{cluster.engine}?silence=10",), daemon=True).start()
        wait_for(lambda: seen.others() or future.done(), "a track of the other host")
        host.cable("down")
        threading.Event().wait(UNPLUGGED_SECONDS)
        before = seen.others()
        host.cable("up")
        wait_for(lambda: seen.others() > before or future.done(), "its return")
        result = future.result(2 * TRACKS * TRACK_SECONDS)
        assert seen.others() > before
    assert result.status == "ok"
    assert [name for name, _ in sorted(seen.done)] == [track.name for track in result.tracks]
    assert {track.machine for track in result.tracks} == BOTH
    assert any(f"the worker on {OTHER} ended, or fell silent" in text for text in seen.said)
    for track in result.tracks:
        assert set(track.scores["sdr"]) == {"bass", "drums", "other", "vocals"}


def test_an_album_whose_machine_is_unplugged_is_separated_once(tmp_path: Path) -> None:
    """It goes on by itself meanwhile, with the folder still before its eyes; nothing is written twice."""
    preset = write_tiny_preset(tmp_path)
    album, out = tmp_path / "album", tmp_path / "out"
    album.mkdir()
    for number in range(8):
        sound = 0.1 * np.random.default_rng(number).standard_normal((6 * 44_100, 2))
        soundfile.write(album / f"{number}.wav", sound, 44_100)
    with other_host() as host, clusters.opened(tmp_path / "cluster", host=host.ours) as cluster:
        cluster.worker()
        cluster.worker(command=[*host.command, *AGAIN])
        command = [
            *(sys.executable, "-m", "my_submission", "separate", str(album), "--preset", str(preset)),
            *("--device", "cpu", "--precision", "fp32", "--output", str(out)),
            *("--engine", f"{cluster.engine}?silence=2"),
        ]
        client = subprocess.Popen(
            command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        try:
            journal = out / f".separated-{OTHER}.jsonl"
            wait_for(lambda: journal.is_file() or client.poll() is not None, "a recording of the other host")
            host.cable("down")
            said, _ = client.communicate(timeout=300)
            host.cable("up")
        finally:
            clusters.kill_tree(client.pid)
            client.wait()
    assert client.returncode == 0, said
    assert len(list(out.rglob("*.wav"))) == 8 * len(SHARES)
    assert not list(out.rglob("*.part"))
    assert os.listdir(out / "0") == os.listdir(out / "7")
