"""The engine of a Dask cluster: workers that were started elsewhere, or here with `dask://local`.

Dask carries the work and says who is there; which worker does what is the dispatcher's. When the scheduler dies, all
futures are cancelled at once and its workers end, so everything in flight is given back to be submitted again, and a
new client waits for the scheduler to return. Wherever `introduce` cannot be imported or says another version, the
worker is set aside.
"""

import asyncio
import logging
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import count
from typing import Any
from urllib.request import ProxyHandler, build_opener

from distributed import Client, LocalCluster
from distributed import Future as DaskFuture
from distributed.security import Security

from sdx.engines.address import HERE, PATIENCE_SECONDS, SILENCE_SECONDS, WORKERS, Address
from sdx.engines.dispatcher import Dispatcher, Piece
from sdx.engines.engine import EngineError, Introduction, Worker, WorkLostError, introduce, unfit_for_us
from sdx.engines.held import call_for, end_of

LOOK_SECONDS, LOOK_SECONDS_A_WORKER = 0.5, 0.02  # what a scheduler says of itself grows with its workers
CONNECT_SECONDS = 10  # to be answered at all
RECONNECT_SECONDS = 2  # for a scheduler that is gone, time after time
RETURN_SECONDS = 1.0  # between two looks for a scheduler that is gone
HAS_DASHBOARD = find_spec("bokeh") is not None
DASHBOARD_SECONDS = 2.0  # for it to answer
END_SECONDS = 5.0  # for workers to end what they were doing


@dataclass
class _Sign:
    """The last sign of life of a worker, by its own count, and when we saw it change."""

    last: float
    at: float


class DaskEngine(Dispatcher):
    """Runs functions on the workers of a scheduler; raises EngineError if that cannot be reached."""

    def __init__(self, address: Address, notice: Callable[[str], None]) -> None:
        super().__init__()
        _silence_dask()
        self._notice = notice
        self._patience = address.option("patience", PATIENCE_SECONDS)
        self._silence = address.option("silence", SILENCE_SECONDS)
        self._token, self._number = secrets.token_hex(4), count()  # nobody else has this one
        self._settling = ThreadPoolExecutor(1, "settling")
        self._flying: dict[Piece, DaskFuture] = {}
        self._asked: dict[str, DaskFuture] = {}  # who they are
        self._signs: dict[str, _Sign] = {}
        self._cluster = _local_cluster(address) if address.host == HERE else None
        self._url = address.url if self._cluster is None else self._cluster.scheduler_address
        self._security = _security(address)
        self._closed, self._is_lost = threading.Event(), threading.Event()
        try:
            self._client = self._connect(CONNECT_SECONDS)
        except (OSError, ValueError) as error:
            raise EngineError(
                f"the scheduler at {self._url} cannot be reached ({_words(error)}); start one with `dask scheduler`, "
                "and workers with `dask worker`"
            ) from None
        link = self._client.dashboard_link
        self.dashboard = link if link and _answers(link) else None
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    def close(self) -> None:
        """End what runs for us, and what is about to, and leave the cluster; end that, too, if it is ours."""
        self._closed.set()
        with self._lock:
            busy = list(self._busy)
        self._stop(EngineError("the engine was closed"))
        self._watcher.join(CONNECT_SECONDS)
        if busy and not self._is_lost.is_set():
            _within(
                END_SECONDS, lambda: self._client.run(end_of, self._token, workers=busy, on_error="ignore")
            )
        _within(END_SECONDS, lambda: self._client.close())
        self._settling.shutdown(wait=False)
        if self._cluster is not None:
            self._cluster.close(timeout=END_SECONDS)

    def _connect(self, seconds: float) -> Client:
        client = Client(self._url, timeout=seconds, security=self._security, set_as_default=False, name="sdx")
        # Dask gathers what it sends for 10 ms, which is for graphs of many tasks. Ours come one by one, and each of
        # them would wait for the release of the one before.
        client.scheduler_comm.interval = 0.0
        return client

    # Work

    def _begin(self, worker: Worker, piece: Piece) -> None:
        try:
            future = self._client.submit(
                call_for,
                self._token,
                piece.function,
                *piece.arguments,
                key=f"{piece.key} ({self._token}-{next(self._number)})",
                workers=[worker.name],
                allow_other_workers=False,
                pure=False,
            )
        except Exception as error:  # Dask's, whose kinds are not documented, for a connection that is closed
            self._lose(f"{type(error).__name__}: {error}")
            return
        self._flying[piece] = future
        future.add_done_callback(lambda done: self._take(worker.name, piece, done))

    def _take(self, name: str, piece: Piece, future: DaskFuture) -> None:
        """In Dask's one thread for this: a future has come to its end. What it holds is fetched beside others'.

        What is fetched is settled in a thread of ours: Dask's loop may not wait for our lock, as we wait for it.
        """
        with self._lock:
            self._flying.pop(piece, None)
            is_ours = self._busy.get(name) is piece
        if not is_ours:
            return
        if future.status == "cancelled":
            self._lose("it is gone")
            return
        self._fetch(future, lambda outcome: self._settle(name, piece, future, outcome))

    def _settle(self, name: str, piece: Piece, future: DaskFuture, outcome: Any) -> None:
        if (
            isinstance(outcome, OSError | CancelledError | asyncio.CancelledError)
            and future.status != "error"
        ):
            self._lose(_words(outcome))  # it was there, and did not reach us
        else:
            self._done(name, piece, outcome)

    def _fetch(self, future: DaskFuture, then: Callable[[Any], None]) -> None:
        """Have `then` called with what a future holds, or raises, in the thread that settles."""
        client = self._client

        async def fetch() -> None:
            try:
                (outcome,) = await client.gather([future], asynchronous=True)
            except (Exception, asyncio.CancelledError) as error:  # of the function, or of Dask
                outcome = error
            self._settling.submit(then, outcome)

        asyncio.run_coroutine_threadsafe(fetch(), client.loop.asyncio_loop)

    def _left(self, name: str) -> None:
        with self._lock:
            self._signs.pop(name, None)
            self._asked.pop(name, None)
            future = self._flying.pop(self._busy[name], None) if name in self._busy else None
            super()._left(name)
        if future is not None:
            with suppress(Exception):  # as in _begin
                future.cancel()

    # Who is there

    def _watch(self) -> None:
        while not self._closed.wait(LOOK_SECONDS + LOOK_SECONDS_A_WORKER * len(self._signs)):
            if not self._is_lost.is_set():
                try:
                    self._look()
                except Exception as error:  # as in _begin
                    self._lose(_words(error))
            if self._is_lost.is_set():
                self._return()

    def _look(self) -> None:
        if self._client.status != "running":
            raise OSError("the connection is closed")
        # Not `scheduler_info`, which hands out a cache that the client overwrites, without workers, now and then.
        identity = self._client.sync(self._client.scheduler.identity, n_workers=-1)
        found: Mapping[str, Any] = identity["workers"]
        for name in self._signs.keys() - found.keys():
            self._left(name)
        now = time.monotonic()
        new: dict[str, Mapping[str, Any]] = {}
        for name, facts in found.items():
            sign = self._signs.setdefault(name, _Sign(-1.0, now))
            if facts["last_seen"] != sign.last:
                is_back = sign.last < 0 or now - sign.at > self._silence
                self._signs[name] = _Sign(facts["last_seen"], now)
                if is_back:
                    new[name] = facts
            elif now - sign.at > self._silence and name in self._workers:
                self._left(name)
                self._signs[name] = sign  # it is still listed, and may speak again
        for name, facts in new.items():
            self._meet(name, facts)

    def _meet(self, name: str, facts: Mapping[str, Any]) -> None:
        """Ask a worker who it is: it joins once it answers, which one does not that is busy or stands still."""
        client = self._client
        asked = client.submit(
            introduce,
            key=f"introduce ({self._token}-{next(self._number)})",
            workers=[name],
            allow_other_workers=False,
            pure=False,
        )
        self._asked[name] = asked
        asked.add_done_callback(
            lambda done: self._fetch(done, lambda outcome: self._met(client, name, facts, done, outcome))
        )

    def _met(
        self, client: Client, name: str, facts: Mapping[str, Any], asked: DaskFuture, answer: Any
    ) -> None:
        """A worker has answered, and joins if it is of our version."""
        with self._lock:
            is_awaited = self._asked.get(name) is asked and client is self._client
            if not is_awaited:
                return
            del self._asked[name]
        gpus = int(facts.get("resources", {}).get("GPU", 0))
        if isinstance(answer, Introduction):
            worker = Worker(name, answer.machine, gpus, unfit_for_us(answer))
        elif isinstance(answer, ImportError | AttributeError):
            reason = f"cannot import the kit ({answer}); install it there"
            worker = Worker(name, str(facts.get("host", name)), gpus, reason)
        else:  # the connection broke; if the worker is still there, it is asked again
            with self._lock:
                self._signs.pop(name, None)
            return
        if worker.set_aside is not None:
            self._notice(f"{name} is given no work: {worker.machine} {worker.set_aside}")
        with self._lock:
            if client is self._client and name in self._signs:
                self._joined(worker)

    # A scheduler that is gone

    def _lose(self, why: str) -> None:
        with self._lock:
            if self._is_lost.is_set() or self._closed.is_set():
                return
            self._is_lost.set()
            self._flying.clear()
            self._asked.clear()
            self._signs.clear()
            self._lose_all(
                WorkLostError(
                    f"the scheduler at {self._url} is lost ({why}); waiting for at most {self._patience} s for it to "
                    "come back"
                )
            )

    def _return(self) -> None:
        """Wait for the scheduler with a client of our own; stop everything once patience ends."""
        _within(RECONNECT_SECONDS, lambda: self._client.close(timeout=1))
        deadline = time.monotonic() + self._patience
        while time.monotonic() < deadline and not self._closed.wait(RETURN_SECONDS):
            try:
                client = self._connect(RECONNECT_SECONDS)
            except (OSError, ValueError):
                continue
            with self._lock:
                self._client = client
                self._is_lost.clear()
            self._notice(f"the scheduler at {self._url} is back")
            return
        if not self._closed.is_set():
            self._closed.set()
            self._stop(
                EngineError(
                    f"the scheduler at {self._url} has not come back within {self._patience} s; what is done is "
                    "kept, go on with --resume"
                )
            )


def _silence_dask() -> None:
    """What matters of Dask's logs is said by us, in a sentence; it gives each of its loggers a level of its own."""
    for name in [name for name in logging.root.manager.loggerDict if name.split(".")[0] == "distributed"]:
        logging.getLogger(name).setLevel(logging.CRITICAL)


def _local_cluster(address: Address) -> LocalCluster:
    gpus = address.option("gpus", 0)
    return LocalCluster(
        n_workers=address.option("workers", WORKERS),
        threads_per_worker=1,
        processes=True,
        host="127.0.0.1",
        dashboard_address="127.0.0.1:0" if HAS_DASHBOARD else None,
        silence_logs=logging.CRITICAL,
        resources={"GPU": gpus} if gpus else None,
    )


def _security(address: Address) -> Security | None:
    if address.tls is None:
        return None
    return Security(
        require_encryption=True,
        tls_ca_file=str(address.tls.ca),
        tls_client_cert=str(address.tls.certificate),
        tls_client_key=str(address.tls.key),
    )


def _within(seconds: float, act: Callable[[], object]) -> None:
    """Do something that may hang, or fail, and wait for it no longer than this."""

    def run() -> None:
        with suppress(Exception):
            act()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)


def _answers(link: str) -> bool:
    """Whether there is a page: a scheduler without a dashboard, or without its packages, names one all the same."""
    try:
        with build_opener(ProxyHandler({})).open(link, timeout=DASHBOARD_SECONDS) as answer:
            return bool(answer.status == 200)
    except (OSError, ValueError):
        return False


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
