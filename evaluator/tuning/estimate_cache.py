"""Estimates kept on disk under everything that they were computed from, for as long as there is room.

    folder/entries/DIGEST/signal.npy    (channels, samples) float32, readable with numpy.load
    folder/entries/DIGEST/entry.json    the key in plain words, and what it cost to compute; touched with every use
    folder/unfinished/…                 what is being written or removed
    folder/locks/…

An entry is one folder that appears and disappears by a rename, so it is there whole or not at all, whenever a process
is killed. Any number of processes may use a folder: they wait for each other rather than compute the same twice.
"""

import contextlib
import hashlib
import json
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

SIGNAL_FILE = "signal.npy"
ENTRY_FILE = "entry.json"
LOCK_DIGITS = 4  # so that few of many workers wait for one that computes something else
ABANDONED_SECONDS = 24 * 3600.0  # no computation of one entry takes this long

Signal = NDArray[np.float32]
Pieces = Iterable[tuple[int, Mapping[str, Signal]]]
"""`(start, {name: (channels, length)})`, following one another from the first sample to the last."""


class CacheError(Exception):
    """The cache's folder cannot be used, or a computation did not give what it should."""


@dataclass(frozen=True)
class Kept:
    """Signals by name, (channels, samples) float32 mapped from disk (writing to them changes no file).

    seconds: what computing them all together took, whenever that was. reused: nothing had to be computed now.
    """

    signals: Mapping[str, Signal]
    seconds: float
    reused: bool


class EstimateCache:
    """A folder of signals with a limit on its size; when it is exceeded, what was used longest ago goes first.

    limit_bytes: of the signals; one that is larger than this is given back all the same, and then removed.
    """

    def __init__(self, folder: Path, limit_bytes: int) -> None:
        self._entries = folder / "entries"
        self._unfinished = folder / "unfinished"
        self._locks = folder / "locks"
        self._limit_bytes = limit_bytes
        try:
            for part in (self._entries, self._unfinished, self._locks):
                part.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CacheError(f"{folder}: cannot be used as estimate cache: {error}") from error
        self._remove_abandoned()

    def obtain(
        self,
        key: Mapping[str, Any],
        names: Sequence[str],
        shape: tuple[int, int],
        compute: Callable[[], Pieces],
    ) -> Kept:
        """The signals `names` of a computation: from disk if all are there, else computed and kept.

        key: JSON types; everything that has an influence on the signals.
        shape: (channels, samples) of each.
        compute: called at most once; what it returns gives at least `names`. Only the latter's time counts, so that
            it may prepare what later computations use, too.
        Raises CacheError if the pieces leave a gap or end early, OSError if the disk is full.
        """
        found = self._find(key, names, shape)
        if len(found) == len(names):
            return _kept(found, reused=True)
        with FileLock(self._locks / f"{_digest(key, '')[:LOCK_DIGITS]}.lock"):
            found = self._find(key, names, shape)  # another process may have done it meanwhile
            if len(found) == len(names):
                return _kept(found, reused=True)
            missing = [name for name in names if name not in found]
            found |= self._compute(key, missing, shape, compute)
        self._make_room()
        return _kept(found, reused=False)

    def size_bytes(self) -> int:
        """What the entries take on disk."""
        return sum(size for _, size, _ in self._by_age())

    def _find(
        self, key: Mapping[str, Any], names: Sequence[str], shape: tuple[int, int]
    ) -> dict[str, tuple[Signal, float]]:
        """{name: (signal, seconds)} of those that are there; using them renews them."""
        found = {}
        for name in names:
            entry = self._entries / _digest(key, name)
            try:
                os.utime(entry / ENTRY_FILE)
                seconds = float(json.loads((entry / ENTRY_FILE).read_text())["seconds"])
                signal = np.load(entry / SIGNAL_FILE, mmap_mode="c")
            except FileNotFoundError:
                continue
            except (OSError, ValueError, KeyError, TypeError):  # damaged by something else than us
                self._remove(entry)
                continue
            if signal.shape == shape and signal.dtype == np.float32:
                found[name] = (signal, seconds)
            else:
                self._remove(entry)
        return found

    def _compute(
        self,
        key: Mapping[str, Any],
        names: Sequence[str],
        shape: tuple[int, int],
        compute: Callable[[], Pieces],
    ) -> dict[str, tuple[Signal, float]]:
        drafts = {name: self._unfinished / uuid.uuid4().hex for name in names}
        try:
            computation = compute()
            started = time.perf_counter()
            with contextlib.ExitStack() as stack:
                writers = {
                    name: stack.enter_context(_writing(draft, shape)) for name, draft in drafts.items()
                }
                for start, pieces in computation:
                    for name, writer in writers.items():
                        writer.write(start, pieces[name])
            seconds = time.perf_counter() - started
            computed = {}
            for name, draft in drafts.items():
                described = {**key, "name": name, "seconds": seconds}
                (draft / ENTRY_FILE).write_text(json.dumps(described, indent=1))
                computed[name] = (np.load(draft / SIGNAL_FILE, mmap_mode="c"), seconds)
                with contextlib.suppress(OSError):  # there already: the same signal, from another process
                    draft.rename(self._entries / _digest(key, name))
            return computed
        finally:
            for draft in drafts.values():
                shutil.rmtree(draft, ignore_errors=True)

    def _make_room(self) -> None:
        """Remove the entries that were used longest ago until the rest is within the limit."""
        with FileLock(self._locks / "room.lock"):
            entries = self._by_age()
            total = sum(size for _, size, _ in entries)
            for _, size, entry in entries:
                if total <= self._limit_bytes:
                    break
                self._remove(entry)
                total -= size

    def _by_age(self) -> list[tuple[int, int, Path]]:
        """(time of last use in ns, bytes, folder) of each entry, oldest first."""
        entries = []
        for entry in self._entries.iterdir():
            with contextlib.suppress(FileNotFoundError):  # removed by another process meanwhile
                used = (entry / ENTRY_FILE).stat()
                size = used.st_size + (entry / SIGNAL_FILE).stat().st_size
                entries.append((used.st_mtime_ns, size, entry))
        return sorted(entries)

    def _remove(self, entry: Path) -> None:
        doomed = self._unfinished / uuid.uuid4().hex
        with contextlib.suppress(OSError):  # another process was first, or has it open where that forbids it
            entry.rename(doomed)
            shutil.rmtree(doomed, ignore_errors=True)

    def _remove_abandoned(self) -> None:
        """Clear away what killed processes left half-written."""
        for draft in self._unfinished.iterdir():
            with contextlib.suppress(FileNotFoundError):
                if time.time() - draft.stat().st_mtime > ABANDONED_SECONDS:
                    shutil.rmtree(draft, ignore_errors=True)


def _kept(found: Mapping[str, tuple[Signal, float]], reused: bool) -> Kept:
    signals = {name: signal for name, (signal, _) in found.items()}
    return Kept(signals, max(seconds for _, seconds in found.values()), reused)


def _digest(key: Mapping[str, Any], name: str) -> str:
    return hashlib.sha256(json.dumps({**key, "name": name}, sort_keys=True).encode()).hexdigest()


class _Writer:
    """Appends pieces of a signal to a .npy file; samples of all channels lie together, so it grows at its end."""

    def __init__(self, file: BinaryIO, shape: tuple[int, int]) -> None:
        np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": True, "shape": shape})
        self._file = file
        self._channels = shape[0]
        self.written = 0

    def write(self, start: int, piece: Signal) -> None:
        if start != self.written or len(piece) != self._channels:
            raise CacheError(
                f"expected {self._channels} channels from sample {self.written}, found {len(piece)} from {start}"
            )
        self._file.write(np.ascontiguousarray(piece.T, "<f4").data)
        self.written += piece.shape[-1]


@contextlib.contextmanager
def _writing(folder: Path, shape: tuple[int, int]) -> Iterator[_Writer]:
    """A writer of folder/signal.npy; on leaving, the file is whole and on the disk."""
    folder.mkdir()
    with (folder / SIGNAL_FILE).open("wb") as file:
        writer = _Writer(file, shape)
        yield writer
        if writer.written != shape[1]:
            raise CacheError(f"expected {shape[1]} samples, the computation gave {writer.written}")
        file.flush()
        os.fsync(file.fileno())
