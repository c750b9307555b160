"""What child processes of the kit have in common."""

import multiprocessing
import os
import signal
import threading
import time
from multiprocessing.connection import wait

DEAF_SECONDS = 30.0  # for one that is in code that is not Python's


def end_with_parent() -> None:
    """Have this process, a child by `multiprocessing`, end in good order once its parent dies without a word."""
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(DEAF_SECONDS)
    os._exit(128 + signal.SIGTERM)
