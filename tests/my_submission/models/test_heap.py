"""Memory of large tensors stays with the process."""

import ctypes
import logging
import os
import subprocess
import sys
import threading
from unittest.mock import MagicMock, Mock

import pytest
import torch
from torch import nn

from evaluator.locations import REPOSITORY
from my_submission.models import heap, waveforms
from my_submission.models.heap import keep_heap
from my_submission.models.waveforms import WaveformModel
from my_submission.signal.chunking import Geometry
from tests.waiting import wait_for

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's malloc")

ARENAS = """
import ctypes, tempfile
import numpy as np
from my_submission.separator import MusicSeparationModel

MusicSeparationModel(preset="mdx-demo").separate_music_file(np.random.default_rng(0).normal(size=(200_000, 2)), 44100)
libc = ctypes.CDLL(None)
libc.fdopen.restype = ctypes.c_void_p
with tempfile.TemporaryFile() as file:
    stream = ctypes.c_void_p(libc.fdopen(file.fileno(), b"w"))
    libc.malloc_info(0, stream)
    libc.fflush(stream)
    file.seek(0)
    print(file.read().decode().count("<heap nr"))
"""

HOLES = """
import time
import torch
from my_submission.models import heap

heap.keep_heap()
watch = heap._watch
before = watch._used()
watch.look()  # what the process holds besides
tensors = [torch.ones(1 << 20) for _ in range(100)]  # 4 MiB each
watch.look()
alive, held = watch._used() - before, watch._resident()
kept = tensors[::10]
del tensors
watch.look()  # less than was in use, so the next tensors may have it
reused = watch._resident()
watch._most_used = 0
deadline = time.monotonic() + 60
with heap.near_need():
    while watch._resident() > held - (300 << 20) and time.monotonic() < deadline:
        time.sleep(0.01)
print(alive >> 20, (held - reused) >> 20, (held - watch._resident()) >> 20)
"""
FAULTS = """
import resource
import torch
from my_submission.models.heap import keep_heap

keep_heap()
rounds, numbers = 24, 12 * 2**20  # above 32 MiB, up to which malloc learns by itself
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(rounds):
    torch.ones(numbers)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before, rounds * numbers * 4 // resource.getpagesize())
"""
TELLS = sys.platform.startswith("linux") and hasattr(ctypes.CDLL(None), "mallinfo2")


def test_large_tensors_come_from_the_heap(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        keep_heap()
    assert caplog.text == ""
    # In a process of its own: what other tests have left between blocks would have some of them newly mapped.
    ran = subprocess.run(
        [sys.executable, "-c", FAULTS],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=600,
        check=True,
    )
    faults, pages = map(int, ran.stdout.split())  # as many where nothing is kept
    assert faults < pages / 2


class Heap:
    """What `mallinfo2` and the system would say, and how often it was trimmed."""

    def __init__(self) -> None:
        self.used, self.free, self.besides, self.trims = 0, 0, 300 << 20, 0

    def watch(self, monkeypatch: pytest.MonkeyPatch) -> heap._Watch:
        watch = heap._Watch()
        monkeypatch.setattr(watch, "_libc", self)
        monkeypatch.setattr(watch, "_used", lambda: self.used)
        monkeypatch.setattr(watch, "_resident", lambda: self.used + self.free + self.besides)
        return watch

    def malloc_trim(self, pad: int) -> None:
        self.free, self.trims = 0, self.trims + 1


def test_only_what_was_never_needed_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    state = Heap()
    watch, spare = state.watch(monkeypatch), heap.SPARE_BYTES
    watch.look()  # learns what the process holds besides
    assert state.trims == 1
    state.used = 10 * spare
    watch.look()
    state.used, state.free = spare, 9 * spare  # freed, and less than was used before: the next tensor's
    watch.look()
    assert state.trims == 1
    state.free = 10 * spare + 1
    watch.look()
    assert (state.trims, state.free) == (2, 0)
    state.used, state.free = 10 * spare, spare  # what is kept may be spare
    watch.look()
    assert state.trims == 2
    state.free = 2 * spare + 1
    watch.look()
    assert state.trims == 3


def test_what_the_process_holds_besides_is_learnt(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or what comes would have the heap trimmed for ever, and what goes would never have it trimmed again."""
    state = Heap()
    watch = state.watch(monkeypatch)
    watch.look()
    state.besides += 1 << 30
    for _ in range(5):
        watch.look()
    assert state.trims == 2
    state.besides -= 1 << 30
    watch.look()
    state.free = 2 * heap.SPARE_BYTES + 1
    watch.look()
    assert state.trims == 3


def looking() -> int:
    """How many threads look at the heap."""
    return sum(thread.name.endswith("(_until)") for thread in threading.enumerate())


@pytest.mark.skipif(not TELLS, reason="this libc does not tell what is in use")
def test_contexts_share_a_thread_that_ends_with_the_last() -> None:
    wait_for(lambda: looking() == 0)
    with heap.near_need():
        with heap.near_need():
            assert looking() == 1
        assert looking() == 1
    wait_for(lambda: looking() == 0)
    with pytest.raises(ZeroDivisionError), heap.near_need():
        raise ZeroDivisionError
    wait_for(lambda: looking() == 0)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks")
def test_a_fork_looks_for_itself() -> None:
    with heap.near_need():
        child = os.fork()
        if child == 0:
            before = looking()  # threads do not come along
            with heap.near_need():
                os._exit(0 if (before, looking()) == (0, int(TELLS)) else 1)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize("missing", ["mallinfo2", "thread", "/proc"])
def test_where_nothing_can_be_told_nothing_happens(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    watch = heap._Watch()
    if missing == "mallinfo2":
        monkeypatch.setattr(watch, "_libc", None)
    elif missing == "thread":
        monkeypatch.setattr(
            threading.Thread, "start", Mock(side_effect=RuntimeError("can't start new thread"))
        )
    else:
        monkeypatch.setattr(watch, "_resident", Mock(side_effect=FileNotFoundError))
        monkeypatch.setattr(watch, "_used", lambda: 0)
        watch._until(threading.Event())
    before = looking()
    watch.enter()
    assert looking() == before or missing == "/proc"
    watch.leave()


@pytest.mark.thorough
@pytest.mark.skipif(not TELLS, reason="this libc does not tell what is in use")
def test_freed_memory_is_given_back() -> None:
    """In a process of its own: this one may hold anything."""
    ran = subprocess.run(
        [sys.executable, "-c", HOLES], cwd=REPOSITORY, capture_output=True, text=True, timeout=600, check=True
    )
    in_use, early, given_back = map(int, ran.stdout.split())
    assert 400 <= in_use < 410
    assert early < 20
    assert given_back > 300


@pytest.mark.slow
def test_nothing_computes_before_the_heap_is_kept() -> None:
    """Else there would be more arenas than one, most of which return large blocks."""
    command = [sys.executable, "-c", ARENAS]
    ran = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=600, check=True)
    assert ran.stdout == "1\n"


@pytest.mark.parametrize(("mebibytes", "spared"), [(511, 0), (512, 2)])
def test_only_networks_with_large_chunks_are_spared(
    mebibytes: int, spared: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    within = MagicMock()
    monkeypatch.setattr(waveforms, "near_need", lambda: within)
    geometry = Geometry(1_024, fade_samples=0)
    for sparing in (False, True):
        model = WaveformModel(
            nn.Identity(),
            ("one",),
            geometry,
            mebibytes << 10,
            torch.device("cpu"),
            torch.float32,
            sparing=sparing,
        )
        monkeypatch.setattr(model, "network", lambda chunks, kept: chunks[:, None])
        for _ in range(2):
            model(torch.zeros(1, 2, 1_024))
        assert within.__enter__.call_count == within.__exit__.call_count == sparing * spared
