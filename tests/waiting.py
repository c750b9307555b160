"""Waiting for a condition, for far longer than it ever takes; see README.md on time."""

import time
from collections.abc import Callable
from typing import Any

WAIT_SECONDS = 90.0
PAUSE_SECONDS = 0.01


def wait_for(condition: Callable[[], Any], what: str = "a condition", seconds: float = WAIT_SECONDS) -> Any:
    """What `condition` gives once that is true; an AssertionError with `what` if it does not become so."""
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(PAUSE_SECONDS)
    return found
