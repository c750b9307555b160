"""What a child process of `workers` does: load a model, and separate the recordings that its parent hands out."""

import contextlib
import logging
import os
import signal
import sys
import time
from multiprocessing.connection import Connection

import torch

from my_submission.files.asked import Asked
from my_submission.files.errors import FileSeparationError
from my_submission.files.inputs import Recording
from my_submission.files.model import ModelChoice, StreamingModel, choose, identity, open_model
from my_submission.files.separate import separate_recording
from my_submission.files.workers import Event, Failed, Finished, Logged, NoModel, Progressed, Ready
from my_submission.runtime.cores import keep_to_quota
from my_submission.weights import load_manifest

_PROGRESS_SECONDS = 0.1


def serve(connection: Connection, asked: Asked | None = None) -> None:
    """Load the model of the settings that come first, then separate what comes until the connection closes.

    asked: what these will say of the model, as far as is known before they come.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    send = _Sender(connection)
    logging.getLogger("my_submission").addHandler(_LogSender(send))
    ahead = _opened_ahead(asked)
    try:
        settings, cores = connection.recv()
    except EOFError:
        return
    if cores:
        share = len(cores) / len(os.sched_getaffinity(0))
        os.sched_setaffinity(0, cores)
        torch.set_num_threads(min(len(cores), torch.get_num_threads()))  # fewer, if OMP_NUM_THREADS says so
        keep_to_quota(share)
    try:
        model = ahead.pop(settings.model, None)
        ahead.clear()  # of another model, which would take the room of this one
        model = model or open_model(settings.model)
        model_identity = identity(model)
        if settings.measure:
            model.measure()
    except (RuntimeError, ValueError, OSError) as error:
        send(NoModel(str(error)))
        return
    send(Ready())
    while True:
        try:
            recording = connection.recv()
        except EOFError:
            return
        progress = _ProgressSender(send, recording)
        try:
            result = separate_recording(
                recording,
                settings.output_dir,
                model,
                model_identity,
                settings.options,
                progress,
                str(os.getpid()),
            )
        except FileSeparationError as error:
            send(Failed(recording, str(error)))
        except (RuntimeError, ValueError, OSError, MemoryError) as error:
            send(Failed(recording, f"{recording.source}: {type(error).__name__}: {error}"))
        else:
            send(Finished(recording, result))


def _opened_ahead(asked: Asked | None) -> dict[ModelChoice, StreamingModel]:
    """The model that was asked for, if it can be opened: why it cannot, whoever sends the settings will be told."""
    try:
        if asked is None:
            load_manifest()  # which opening a model will need
            return {}
        choice = choose(asked).model
        return {choice: open_model(choice)}
    except (RuntimeError, ValueError, OSError):
        return {}


class _Sender:
    """Sends messages to the parent; a parent that is gone does not disturb the separation."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def __call__(self, message: Event | Ready | NoModel) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._connection.send(message)


class _ProgressSender:
    """Tells the parent of progress, a few times a second."""

    def __init__(self, send: _Sender, recording: Recording) -> None:
        self._send = send
        self._recording = recording
        self._last = 0.0

    def __call__(self, done: float, total: float) -> None:
        now = time.monotonic()
        if now - self._last >= _PROGRESS_SECONDS or done >= total:
            self._last = now
            self._send(Progressed(self._recording, done / total if total else 1.0))


class _LogSender(logging.Handler):
    """Hands warnings to the parent, which knows where the progress bars are."""

    def __init__(self, send: _Sender) -> None:
        super().__init__(logging.WARNING)
        self._send = send

    def emit(self, record: logging.LogRecord) -> None:
        self._send(Logged(record.getMessage()))
