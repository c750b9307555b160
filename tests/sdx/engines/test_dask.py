"""The engine of Dask with real processes: what kills its workers, TLS, and a host whose network goes and comes."""

import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from sdx.engines import address, work
from sdx.engines.engine import Answer, EngineError, Needs
from sdx.engines.opening import open_engine
from tests.sdx.engines import clusters
from tests.sdx.engines.functions import hold_until_ended, sleep_and_square, square_or_die
from tests.sdx.engines.hosts import other_host
from tests.sdx.engines.test_work import Notes, require_each_once
from tests.waiting import WAIT_SECONDS, wait_for

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="processes are found and ended as on Linux"),
]


def test_a_task_that_kills_every_worker_is_given_up_after_three_and_others_go_on(tmp_path: Path) -> None:
    tasks = [work.Task("poison", (-1,)), *(work.Task(f"k{number}", (number,)) for number in range(9))]
    notes = Notes()
    with clusters.opened(tmp_path) as cluster:
        cluster.worker()
        cluster.worker()
        engine = open_engine(address.parse(cluster.engine), tmp_path, notes.notice)
        try:
            work.complete(engine, square_or_die, tasks, notes, Needs())
        finally:
            engine.close()
    assert list(notes.given_up) == ["poison"]
    assert notes.given_up["poison"].count(socket.gethostname()) == work.MOST_ATTEMPTS
    assert sorted(notes.answers) == sorted((f"k{number}", number * number) for number in range(9))


def test_a_client_that_goes_ends_its_own_work_and_nobody_elses(tmp_path: Path) -> None:
    files = [tmp_path / "ours", tmp_path / "theirs"]
    with clusters.opened(tmp_path / "cluster") as cluster:
        cluster.worker()
        engines = [open_engine(address.parse(cluster.engine), tmp_path, print) for _ in files]
        wait_for(lambda: all(engine.workers() for engine in engines), "the worker")
        for engine, file in zip(engines, files, strict=True):
            engine.submit(hold_until_ended, str(file), key=file.name, needs=Needs())
            wait_for(files[0].exists, "its work for the first client")
        engines[1].close()  # whose work waits for the worker
        assert files[0].exists()
        engines[0].close()
        wait_for(lambda: not files[0].exists(), "the end of its work")
    assert not files[1].exists()


def test_with_tls_only_those_with_its_certificates_come_in(tmp_path: Path) -> None:
    ours, others = clusters.certificates(tmp_path / "ours"), clusters.certificates(tmp_path / "others")
    with clusters.opened(tmp_path / "cluster", tls=ours) as cluster:
        cluster.worker()
        for given in (
            address.parse(cluster.engine, others.ca, others.certificate, others.key),
            address.parse(cluster.engine.replace("+tls", "")),
        ):
            with pytest.raises(EngineError, match="cannot be reached"):
                open_engine(given, tmp_path, print)
        engine = open_engine(
            address.parse(cluster.engine, ours.ca, ours.certificate, ours.key), tmp_path, print
        )
        try:
            notes = Notes()
            tasks = [work.Task(f"k{number}", (number,)) for number in range(3)]
            work.complete(engine, square_or_die, tasks, notes, Needs())
            require_each_once(notes, tasks)
        finally:
            engine.close()


def test_a_host_whose_network_goes_loses_nothing_and_works_again_when_it_is_back(tmp_path: Path) -> None:
    tasks = [work.Task(f"k{number}", (number,)) for number in range(40)]
    notes, machines = Notes(), []
    take = notes.answered

    def answered(task: work.Task, answer: Answer) -> str | None:
        machines.append(answer.machine)
        return take(task, answer)

    notes.answered = answered  # type: ignore[method-assign]
    with other_host() as host, clusters.opened(tmp_path, host=host.ours) as cluster:
        cluster.worker()
        cluster.worker(command=host.command)
        engine = open_engine(address.parse(f"{cluster.engine}?silence=3"), tmp_path, notes.notice)
        try:
            wait_for(lambda: len(engine.workers()) == 2, "both hosts")
            running = threading.Thread(
                target=work.complete, args=(engine, sleep_and_square, tasks, notes, Needs())
            )
            running.start()
            wait_for(lambda: "other" in machines, "an answer from the other host")
            host.cable("down")
            wait_for(lambda: len(engine.workers()) == 1, "its silence to be noticed")
            host.cable("up")
            wait_for(lambda: len(engine.workers()) == 2, "its return")
            running.join(WAIT_SECONDS)
            assert not running.is_alive()
            machines.clear()
            more = [work.Task(f"more{number}", (number,)) for number in range(8)]
            work.complete(engine, sleep_and_square, more, notes, Needs())
            assert "other" in machines
        finally:
            engine.close()
    require_each_once(notes, [*tasks, *more])


def test_a_dashboard_is_named_only_where_there_is_a_page() -> None:
    from sdx.engines.dask import _answers

    class Pages(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/status" else 404)
            self.end_headers()

    with ThreadingHTTPServer(("127.0.0.1", 0), Pages) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        base = f"http://127.0.0.1:{server.server_port}"
        assert _answers(f"{base}/status")
        assert not _answers(f"{base}/nothing")
        server.shutdown()
    assert not _answers(f"{base}/status")
