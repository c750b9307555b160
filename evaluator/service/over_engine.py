"""Workers of the service whose entries are examined by the workers of an engine, one entry on each.

The queue stays in the database: each of our workers claims a job, extends its lease, and writes down what
came of it, as one that scores by itself does. Which machine did it is the engine's affair, and nothing of it is kept.
"""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as NotYet
from dataclasses import replace
from pathlib import Path

from evaluator.running import dataset, worker_data
from evaluator.running.dataset import DataError
from evaluator.service.database import Database
from evaluator.service.examining import LOOK_SECONDS, Attempt, Findings, Order, examine_for_engine
from evaluator.service.jobs import LOST
from evaluator.service.judging import JudgeError, LostJobError
from evaluator.service.settings import Settings
from evaluator.service.worker import Worker
from sdx.engines.address import PATIENCE_SECONDS, Address
from sdx.engines.engine import Answer, Engine, EngineError, Needs, Refused, WorkerLostError, WorkLostError
from sdx.engines.making import workers_words
from sdx.engines.opening import open_engine
from sdx.engines.work import NobodyLeftError

LOG = logging.getLogger(__name__)


def run(settings: Settings, database: Database, address: Address, stopped: threading.Event) -> None:
    """Score what is in the queue until `stopped` is set.

    EngineError where the engine is lost, or has nobody who may do it for as long as its patience lasts.
    """
    engine = open_engine(address, settings.root, LOG.warning)
    crew = Crew(settings, database, engine, stopped)
    try:
        crew.work(address.option("patience", PATIENCE_SECONDS))
    finally:
        stopped.set()
        crew.join()  # whose attempts end first, so that nobody goes on with them
        engine.close()


class Crew:
    """As many workers of the service as the engine has that may do something."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        engine: Engine,
        stopped: threading.Event,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._database = database
        self._engine = engine
        self._stopped = stopped
        self._clock = clock
        self._members: list[tuple[Worker, threading.Thread]] = []
        self._end: EngineError | None = None

    def work(self, patience_seconds: float) -> None:
        """Until it is stopped; EngineError as in `run`."""
        waited, before = 0.0, 0
        while not self._stopped.wait(LOOK_SECONDS):
            workers = self._engine.workers()
            fit = sum(worker.set_aside is None for worker in workers)
            if fit != before:
                LOG.info("%s may score", workers_words(workers))
                before = fit
            self._resize(fit)
            waited = 0.0 if fit else waited + LOOK_SECONDS
            if waited > patience_seconds:
                reasons = [f"{each.machine} {each.set_aside}" for each in workers]
                if reasons:
                    raise NobodyLeftError(reasons)
                raise EngineError(f"no worker has been there for {patience_seconds:.0f} s; start workers")
        if self._end is not None:
            raise self._end

    def join(self) -> None:
        """Wait until all have put away what they had in hand."""
        self._stop()
        for _, thread in self._members:
            thread.join()

    def _stop(self) -> None:
        self._stopped.set()
        for worker, _ in self._members:
            worker.stopped.set()

    def _resize(self, size: int) -> None:
        self._members = [(worker, thread) for worker, thread in self._members if thread.is_alive()]
        while len(self._members) < size:
            worker = Worker(self._settings, self._database, clock=self._clock, examine=self._examine)
            worker.name = f"{worker.name}-{self._free_number()}"
            thread = threading.Thread(target=worker.run, daemon=True)
            self._members.append((worker, thread))
            thread.start()
        for worker, _ in self._members[size:]:
            worker.retired.set()  # after what it has in hand

    def _free_number(self) -> int:
        taken = {worker.name.rpartition("-")[2] for worker, _ in self._members}
        return next(number for number in range(1, len(taken) + 2) if str(number) not in taken)

    def _examine(self, order: Order) -> Findings:
        """An entry on a worker of the engine, another one where that may not do it or the engine lost it."""
        order = replace(
            order, hashes=tuple(map(dataset.track_hash, order.task.load_data().tracks)), workplace=""
        )
        attempt = Attempt(Path(order.folder), order.token)
        while True:
            future = self._engine.submit(
                examine_for_engine, order, key=f"entry {Path(order.folder).name}", needs=Needs()
            )
            try:
                answer = _awaited(future, attempt)
            except WorkLostError as error:
                LOG.warning("%s", error)
                continue
            except WorkerLostError as error:
                raise JudgeError(LOST, str(error)) from None
            except EngineError as error:
                self._end = error
                self._stop()
                raise LostJobError from None
            if not isinstance(answer.value, Refused):
                found: Findings = answer.value
                LOG.info("entry %s: scored on %s", Path(order.folder).name, answer.machine)
                return found
            try:
                _require_unchanged(order)
            except DataError:  # which is no fault of the worker's
                self._engine.set_aside(answer.worker, None)
                raise
            LOG.warning("%s is given no more work: %s %s", answer.worker, answer.machine, answer.value.reason)


def _require_unchanged(order: Order) -> None:
    """DataError where a worker refused an order because the data has changed here, too."""
    for track, sha256 in zip(order.task.load_data().tracks, order.hashes, strict=True):
        if (changed := worker_data.changed(Path(order.task.folder), track, sha256)) is not None:
            raise DataError([changed])


def _awaited(future: "Future[Answer]", attempt: Attempt) -> Answer:
    """What comes of an order; LostJobError once its attempt stands no more, whoever has it."""
    while True:
        try:
            return future.result(LOOK_SECONDS)
        except CancelledError:
            raise LostJobError from None
        except NotYet:
            if not attempt.stands() and not future.done():
                future.cancel()
                raise LostJobError from None
