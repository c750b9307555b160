"""Memory of large tensors stays with the process."""

import logging
import resource
import subprocess
import sys

import pytest
import torch

from evaluator.locations import REPOSITORY
from my_submission.runtime.heap import keep_heap

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


def test_large_tensors_come_from_the_heap(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        keep_heap()
    assert caplog.text == ""
    rounds, numbers = 24, 12 * 2**20  # above 32 MiB, up to which malloc learns by itself
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(rounds):
        torch.ones(numbers)
    pages = rounds * numbers * 4 // resource.getpagesize()  # all of them are faults where nothing is kept
    assert resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before < pages / 2


@pytest.mark.slow
def test_nothing_computes_before_the_heap_is_kept() -> None:
    """Else there would be more arenas than one, most of which return large blocks."""
    command = [sys.executable, "-c", ARENAS]
    ran = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=600, check=True)
    assert ran.stdout == "1\n"
