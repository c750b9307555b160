"""What is found out by trying: times on one core, where a busy machine disturbs them least."""

import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import torch

Found = TypeVar("Found")
Clock = Callable[[], float]
TRIAL_CLOCK: Clock = time.perf_counter if sys.platform == "win32" else time.thread_time
"""Of the one thread that a trial runs in: what else a busy machine does takes none of it. (That of Windows ticks 64
times a second, which is too slow.)"""


def on_one_core(function: Callable[[], Found]) -> Found:
    """The function's result, in a thread of its own, as networks run on the CPU: one thread for each chunk."""
    threads = torch.get_num_threads()
    try:
        with ThreadPoolExecutor(1, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            return pool.submit(function).result()
    finally:
        # A new thread starts with the number that any thread set last, so it is set back here.
        torch.set_num_threads(threads)


def least_seconds(
    calls: Sequence[Callable[[], object]], rounds: int, enough_seconds: float, clock: Clock = TRIAL_CLOCK
) -> list[float]:
    """The least time of each call. They are made in turn, `rounds` times or until enough time has been spent.

    In turn, so that a busy moment hits all alike; the least, since nothing but the work itself takes that little.
    """
    least, began = [float("inf")] * len(calls), clock()
    for _ in range(rounds):
        for place, call in enumerate(calls):
            start = clock()
            call()
            least[place] = min(least[place], clock() - start)
        if clock() - began >= enough_seconds:
            break
    return least
