"""Decodes FLAC that a submission, or anybody, sent: in a child without rights, which gives back samples and no more.

The child opens nothing: it has the file as its standard input and writes raw samples to its standard output. Before
it decodes it gives up what it can of files, network, other processes and system calls, and its memory and time are
limited, so that whatever a damaged file does to the decoder stays there. How many bytes are wanted is known before.
"""

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

from evaluator.isolation import namespaces, seccomp
from evaluator.isolation.variables import THREAD_VARIABLES
from evaluator.locations import REPOSITORY

MEMORY_BYTES = 1 << 30
START_SECONDS, BYTES_PER_SECOND = 30.0, 2_000_000  # allowed: for the start, and for what is decoded
BLOCK_BYTES = 1 << 20
BLOCK_FRAMES = 1 << 14


class DecodingError(Exception):
    """The file does not hold what its header states; the message is the reason."""


def samples(file: BinaryIO, bits: int, expected_bytes: int) -> Iterator[bytes]:
    """The samples of a FLAC file as little-endian integers of `bits` (16 or 32), block by block.

    Raises DecodingError if they are not of exactly `expected_bytes`, or are not decoded in time.
    """
    seconds = START_SECONDS + expected_bytes / BYTES_PER_SECOND
    with _child(file, bits, seconds) as child:
        assert child.stdout is not None
        found = 0
        while block := child.stdout.read(BLOCK_BYTES):
            found += len(block)
            if found > expected_bytes:
                raise DecodingError(
                    f"it decodes to more than the {expected_bytes} bytes of samples that it states"
                )
            yield block
        if found < expected_bytes:
            raise DecodingError(
                f"it decodes to {found} of the {expected_bytes} bytes of samples that it states"
            )


@contextmanager
def _child(file: BinaryIO, bits: int, seconds: float) -> Iterator[subprocess.Popen[bytes]]:
    """The process that decodes, which is gone afterwards."""
    os.lseek(file.fileno(), 0, os.SEEK_SET)  # file.seek may only move within what is buffered here
    child = subprocess.Popen(
        [sys.executable, "-m", "evaluator.isolation.decoder", str(bits), f"{seconds:.0f}"],
        cwd=REPOSITORY,
        # One thread: each takes 40 MB of address space, which is limited, and nothing here is computed by several.
        env={**os.environ, **dict.fromkeys(THREAD_VARIABLES, "1"), "PYTHONPATH": str(REPOSITORY)},
        stdin=file,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # what a decoder says of a file is the file's doing
    )
    timer = threading.Timer(seconds, child.kill)
    timer.daemon = True
    timer.start()
    try:
        yield child
    finally:
        timer.cancel()
        child.kill()
        child.wait()
        if child.stdout is not None:
            child.stdout.close()


def main(bits: str, seconds: str) -> None:
    """Be the child: standard input to standard output."""
    import soundfile  # before there is nothing left to import from

    give_up_rights(int(seconds))
    with soundfile.SoundFile(os.fdopen(0, "rb"), closefd=False) as sound:
        for block in sound.blocks(BLOCK_FRAMES, dtype=f"int{int(bits)}", always_2d=True):
            content = memoryview(block.tobytes())
            while content:
                content = content[os.write(1, content) :]


def give_up_rights(seconds: int) -> None:
    """Keep what is open, and nothing else of what this process may do, as far as this system lets us."""
    with contextlib.suppress(ImportError):  # Windows
        import resource

        limits = {
            resource.RLIMIT_AS: MEMORY_BYTES, resource.RLIMIT_CPU: seconds,
            resource.RLIMIT_FSIZE: 0, resource.RLIMIT_CORE: 0,
        }  # fmt: skip
        for kind, most in limits.items():
            with contextlib.suppress(ValueError, OSError):  # less than that is allowed anyway, or macOS
                resource.setrlimit(kind, (most, most))
    if not sys.platform.startswith("linux"):
        return
    namespaces.die_with_parent()
    with contextlib.suppress(OSError):
        namespaces.enter_empty_root()
    namespaces.drop_privileges()
    if seccomp.is_known_machine():
        with contextlib.suppress(OSError):
            seccomp.install(seccomp.ALONE)


if __name__ == "__main__":
    main(*sys.argv[1:])
