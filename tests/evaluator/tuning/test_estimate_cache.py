"""The cache gives back what was computed, for what it was computed from, with several processes and little room."""

import itertools
import json
import multiprocessing
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evaluator.tuning.estimate_cache import CacheError, EstimateCache, Pieces
from tests.thinned import one_in

SHAPE = (2, 1000)
ENTRY_BYTES = 8 * SHAPE[1] + 128  # of the signal file
KEY: dict[str, Any] = {"signal": "abc", "overlap": 0.25, "delay_samples": 7}
PLENTY = 1 << 30


class Computation:
    """Gives the same random signals in uneven pieces, and counts how often it is asked."""

    def __init__(self, names: tuple[str, ...] = ("vocals",), seed: int = 0) -> None:
        rng = np.random.default_rng(seed)
        self.signals = {name: rng.standard_normal(SHAPE).astype(np.float32) for name in names}
        self.calls = 0

    def __call__(self) -> Pieces:
        self.calls += 1
        edges = [0, 1, 400, 401, 1000]
        for start, end in itertools.pairwise(edges):
            yield start, {name: signal[:, start:end] for name, signal in self.signals.items()}


def test_what_was_computed_comes_back_bit_for_bit_from_disk(tmp_path: Path) -> None:
    compute = Computation(("drums", "bass"))
    first = EstimateCache(tmp_path, PLENTY).obtain(KEY, ["drums", "bass"], SHAPE, compute)
    second = EstimateCache(tmp_path, PLENTY).obtain(KEY, ["bass", "drums"], SHAPE, compute)
    assert compute.calls == 1
    assert (first.reused, second.reused) == (False, True)
    assert first.seconds == second.seconds > 0
    for kept in (first, second):
        for name, signal in compute.signals.items():
            np.testing.assert_array_equal(kept.signals[name], signal)


@pytest.mark.parametrize(
    "change", [{"signal": "abd"}, {"overlap": 0.5}, {"delay_samples": 8}, {"gain": -1.0}]
)
def test_any_difference_in_the_key_is_another_entry(tmp_path: Path, change: dict[str, Any]) -> None:
    cache = EstimateCache(tmp_path, PLENTY)
    cache.obtain(KEY, ["vocals"], SHAPE, Computation(seed=1))
    other = Computation(seed=2)
    kept = cache.obtain(KEY | change, ["vocals"], SHAPE, other)
    assert other.calls == 1
    np.testing.assert_array_equal(kept.signals["vocals"], other.signals["vocals"])


def test_the_key_says_in_plain_words_what_an_entry_is(tmp_path: Path) -> None:
    EstimateCache(tmp_path, PLENTY).obtain(KEY, ["vocals"], SHAPE, Computation())
    (entry,) = (tmp_path / "entries").iterdir()
    described = json.loads((entry / "entry.json").read_text())
    assert described.pop("seconds") > 0
    assert described == KEY | {"name": "vocals"}
    assert np.load(entry / "signal.npy").shape == SHAPE


def test_a_further_signal_of_a_kept_computation_is_added(tmp_path: Path) -> None:
    cache = EstimateCache(tmp_path, PLENTY)
    compute = Computation(("drums", "bass"))
    cache.obtain(KEY, ["drums"], SHAPE, compute)
    both = cache.obtain(KEY, ["drums", "bass"], SHAPE, compute)
    assert compute.calls == 2
    np.testing.assert_array_equal(both.signals["bass"], compute.signals["bass"])
    assert cache.obtain(KEY, ["bass"], SHAPE, compute).reused


def test_writing_to_a_signal_changes_no_file(tmp_path: Path) -> None:
    cache = EstimateCache(tmp_path, PLENTY)
    compute = Computation()
    cache.obtain(KEY, ["vocals"], SHAPE, compute).signals["vocals"][:] = 0
    np.testing.assert_array_equal(
        cache.obtain(KEY, ["vocals"], SHAPE, compute).signals["vocals"], compute.signals["vocals"]
    )


def use(cache: EstimateCache, name: str) -> bool:
    """Whether the entry of this name was still there."""
    time.sleep(0.002)  # file times have to differ
    return cache.obtain({"signal": name}, ["vocals"], SHAPE, Computation()).reused


def test_what_was_used_longest_ago_goes_first(tmp_path: Path) -> None:
    cache = EstimateCache(tmp_path, limit_bytes=3 * (ENTRY_BYTES + 200))
    for name in "abc":
        assert not use(cache, name)
    assert use(cache, "a")  # now b is the oldest
    assert not use(cache, "d")
    assert cache.size_bytes() <= 3 * (ENTRY_BYTES + 200)
    assert [use(cache, name) for name in "acd"] == [True, True, True]
    assert not use(cache, "b")


def test_without_any_room_it_still_computes(tmp_path: Path) -> None:
    cache = EstimateCache(tmp_path, limit_bytes=0)
    compute = Computation()
    for _ in range(2):
        kept = cache.obtain(KEY, ["vocals"], SHAPE, compute)
        np.testing.assert_array_equal(kept.signals["vocals"], compute.signals["vocals"])
    assert compute.calls == 2
    assert cache.size_bytes() == 0


def test_a_failing_computation_leaves_nothing_behind(tmp_path: Path) -> None:
    def fails() -> Pieces:
        yield 0, {"vocals": np.zeros((2, 10), np.float32)}
        raise RuntimeError("out of memory")

    cache = EstimateCache(tmp_path, PLENTY)
    with pytest.raises(RuntimeError, match="out of memory"):
        cache.obtain(KEY, ["vocals"], SHAPE, fails)
    assert not list((tmp_path / "entries").iterdir())
    assert not list((tmp_path / "unfinished").iterdir())
    assert not cache.obtain(KEY, ["vocals"], SHAPE, Computation()).reused


@pytest.mark.parametrize(
    ("pieces", "problem"),
    [
        ([(0, 999)], "expected 1000 samples, the computation gave 999"),
        ([(0, 500), (501, 1000)], "expected 2 channels from sample 500, found 2 from 501"),
    ],
)
def test_gaps_are_errors(tmp_path: Path, pieces: list[tuple[int, int]], problem: str) -> None:
    def gappy() -> Iterator[tuple[int, dict[str, Any]]]:
        for start, end in pieces:
            yield start, {"vocals": np.zeros((2, end - start), np.float32)}

    with pytest.raises(CacheError, match=problem):
        EstimateCache(tmp_path, PLENTY).obtain(KEY, ["vocals"], SHAPE, gappy)


@pytest.mark.parametrize("damage", ["cut", "not json", "other shape"])
def test_a_damaged_entry_is_computed_again(tmp_path: Path, damage: str) -> None:
    cache = EstimateCache(tmp_path, PLENTY)
    cache.obtain(KEY, ["vocals"], SHAPE, Computation())
    (entry,) = (tmp_path / "entries").iterdir()
    if damage == "cut":
        os.truncate(entry / "signal.npy", 500)
    elif damage == "not json":
        (entry / "entry.json").write_text("{")
    else:
        np.save(entry / "signal.npy", np.zeros((2, 7), np.float32))
    compute = Computation()
    kept = cache.obtain(KEY, ["vocals"], SHAPE, compute)
    assert compute.calls == 1
    np.testing.assert_array_equal(kept.signals["vocals"], compute.signals["vocals"])
    assert cache.obtain(KEY, ["vocals"], SHAPE, compute).reused


def test_what_a_killed_process_left_is_cleared_after_a_day(tmp_path: Path) -> None:
    EstimateCache(tmp_path, PLENTY)
    old, new = tmp_path / "unfinished" / "old", tmp_path / "unfinished" / "new"
    for draft in (old, new):
        draft.mkdir()
    two_days_ago = time.time() - 2 * 24 * 3600
    os.utime(old, (two_days_ago, two_days_ago))
    EstimateCache(tmp_path, PLENTY)
    assert new.exists()
    assert not old.exists()


def test_a_folder_that_cannot_be_used_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CacheError, match="file: cannot be used as estimate cache"):
        EstimateCache(tmp_path / "file", PLENTY)


def compete(folder: Path, log: Path, keys: int, limit_bytes: int) -> None:
    """What one of several processes does: ask for all signals, notice each that it had to compute itself."""
    cache = EstimateCache(folder, limit_bytes)
    for index in range(keys):
        compute = Computation(seed=index)

        def slowly(compute: Computation = compute, index: int = index) -> Pieces:
            with log.open("a") as file:
                file.write(f"{index}\n")
            time.sleep(0.02)
            yield from compute()

        kept = cache.obtain({"signal": index}, ["vocals"], SHAPE, slowly)
        np.testing.assert_array_equal(kept.signals["vocals"], compute.signals["vocals"])


@pytest.mark.parametrize("limit_entries", one_in(2, [1000, 2]), ids=["room for all", "hardly any room"])
def test_processes_share_what_they_compute(tmp_path: Path, limit_entries: int) -> None:
    log, keys = tmp_path / "log", 6
    context = multiprocessing.get_context("fork")
    limit_bytes = limit_entries * (ENTRY_BYTES + 200)
    processes = [
        context.Process(target=compete, args=(tmp_path / "cache", log, keys, limit_bytes)) for _ in range(3)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(30)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    computed = log.read_text().split()
    assert set(computed) == {str(index) for index in range(keys)}
    if limit_entries == 1000:
        assert len(computed) == keys  # each by one process only
    assert EstimateCache(tmp_path / "cache", limit_bytes).size_bytes() <= limit_bytes
