"""Files that workers of a real scheduler make: a worker is killed, then the scheduler; all are there, once."""

import threading
from pathlib import Path

import pytest

from sdx.engines import address, making
from sdx.engines.work import Task
from tests.sdx.engines import clusters
from tests.sdx.engines.functions import make_file
from tests.sdx.engines.test_making import Seen
from tests.waiting import WAIT_SECONDS, wait_for

pytest.importorskip("distributed")


@pytest.mark.slow
def test_whatever_dies_every_file_is_made_and_told_of_once(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    seen = Seen()
    with clusters.opened(tmp_path / "cluster") as cluster:
        nannies = [cluster.worker(), cluster.worker()]
        tasks = [Task(f"n{number}", (str(out), number)) for number in range(40)]
        engine = address.parse(f"{cluster.engine}?patience=60")
        thread = threading.Thread(
            target=making.make_all, args=(engine, out, make_file, tasks, seen), daemon=True
        )
        thread.start()
        wait_for(lambda: len(seen.results) > 4, "the first files")
        clusters.kill_tree(nannies[0].pid)
        made = len(seen.results)
        wait_for(lambda: len(seen.results) > made + 2, "the other worker")
        clusters.kill(cluster.scheduler)
        cluster.start_scheduler()
        cluster.worker()
        thread.join(2 * WAIT_SECONDS)
        assert not thread.is_alive()
    assert seen.results == {f"n{number}": number for number in range(40)}
    assert not seen.failures
    assert {path.name for path in out.iterdir() if not path.name.startswith(".")} == {
        f"{number}.txt" for number in range(40)
    }
    assert any("is back" in notice for notice in seen.notices)
