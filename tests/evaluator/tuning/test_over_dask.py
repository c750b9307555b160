"""Tuning over real workers of Dask, one of which is killed in the middle of a track."""

import os
import subprocess
import sys
import threading
from concurrent.futures import Future
from pathlib import Path

import numpy as np
import psutil
import pytest

from evaluator.running import dataset
from evaluator.running.worker_data import DATA_VARIABLE
from evaluator.tuning import tune
from evaluator.tuning.ablate import StemScores
from evaluator.tuning.estimator import Estimator
from evaluator.tuning.over_engine import EngineEstimator
from evaluator.tuning.tune import Tuned
from sdx.engines import address
from tests.evaluator.small_ensemble import write_ensemble, write_tracks
from tests.evaluator.tuning.engine_world import Said
from tests.sdx.engines import clusters
from tests.waiting import WAIT_SECONDS, wait_for

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="processes are found and ended as on Linux"),
]


def runs_members(worker: psutil.Process) -> bool:
    """Whether the child that runs members is there."""
    return any("evaluator.tuning.estimate_worker" in each.cmdline() for each in worker.children())


def test_a_worker_that_is_killed_loses_nothing_and_other_data_is_refused(tmp_path: Path) -> None:
    preset = write_ensemble(tmp_path / "ensemble")
    data = dataset.load(write_tracks(tmp_path / "tracks"))
    other = write_tracks(tmp_path / "other")
    for track in other.iterdir():
        (track / "bass.wav").write_bytes((track / "drums.wav").read_bytes())
    with Estimator(tmp_path / "serial", device="cpu", precision="fp32") as runner:
        step = runner.describe(preset).steps[1]
        expected = tune.tune_step(runner, preset, step, data)
    said = Said()
    future: Future[Tuned] = Future()

    def run(engine: str) -> None:
        try:
            where = address.parse(engine)
            with EngineEstimator(where, None, tmp_path / "cache", 1 << 30, "cpu", "fp32") as remote:
                remote.watcher = said
                future.set_result(tune.tune_step(remote, preset, step, data))
        except BaseException as error:
            future.set_exception(error)

    with clusters.opened(tmp_path / "cluster") as cluster:
        cluster.worker({DATA_VARIABLE: str(other)})
        threading.Thread(target=run, args=(cluster.engine,), daemon=True).start()
        nanny = cluster.worker()
        wait_for(
            lambda: (worker := clusters.worker_of(nanny)) is not None and runs_members(worker), "the members"
        )
        worker = clusters.worker_of(nanny)
        assert worker is not None
        children = worker.children(recursive=True)
        clusters.kill(worker)
        wait_for(lambda: not any(map(clusters.runs, children)), "the end of the members")
        tuned = future.result(WAIT_SECONDS)
    for words in ("ended, or fell silent", "has other data"):
        assert any(words in text for text in said.notices), words
    np.testing.assert_allclose(tuned.scores.quadratic, expected.scores.quadratic, rtol=1e-9, atol=1e-9)
    assert tuned.preset_weights() == expected.preset_weights()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts small disks, which takes root")
@pytest.mark.parametrize("is_tuned", [True, False])
def test_a_worker_whose_disk_is_full_is_set_aside_and_another_does_its_tracks(
    is_tuned: bool, tmp_path: Path
) -> None:
    """`tune` has arrays written there, `ablate` stems; neither says by itself what the system refuses."""
    preset = write_ensemble(tmp_path / "ensemble")
    data = dataset.load(write_tracks(tmp_path / "tracks"))
    disk, said = tmp_path / "disk", Said()
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", disk], check=True)
    try:
        with clusters.opened(tmp_path / "cluster") as cluster:
            cluster.worker({"TMPDIR": str(disk)})
            cluster.worker()
            where = address.parse(cluster.engine)
            with EngineEstimator(where, None, tmp_path / "cache", 1 << 30, "cpu", "fp32") as remote:
                remote.watcher = said
                if is_tuned:
                    tune.tune_step(remote, preset, remote.describe(preset).steps[1], data)
                else:
                    answers = remote.answers(data, [StemScores(preset)])
                    assert len(answers) == len(data.tracks)
    finally:
        subprocess.run(["umount", "-l", disk], check=True)
    assert sum("has a full disk" in text for text in said.notices) == 1
