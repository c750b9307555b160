"""What networks compute in: the quicker precision, as tried on the machine, where it agrees closely enough."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from my_submission.models import fused, mdx_net
from my_submission.registry import find_architecture
from my_submission.runtime import devices, pool
from my_submission.runtime.devices import (
    CLEARLY_QUICKER,
    ENOUGH_SECONDS,
    MOST_ROUNDS,
    SHARES,
    TOLD_APART_SECONDS,
    Precision,
    describe,
    resolve_precision,
)
from my_submission.runtime.trials import on_one_core
from my_submission.weights import Checkpoint
from my_submission.weights.manifest import MANIFEST, read_manifests
from tests.lower_precision import CPU

pytestmark = pytest.mark.processor

EXACT, LOWER = torch.float32, torch.bfloat16


class Machine:
    """A clock that only networks move, and networks that take that many seconds per chunk in each dtype."""

    def __init__(self, seconds: dict[torch.dtype, float], noise: Callable[[int], float] = lambda call: 1.0):
        self.now = 0.0
        self.loaded: list[torch.dtype] = []
        self.shares: list[float] = []
        self._seconds, self._noise = seconds, noise

    def clock(self) -> float:
        return self.now

    def trial(self, dtype: torch.dtype) -> devices.Work:
        self.loaded.append(dtype)

        def work(share: float) -> None:
            self.now += share * self._seconds[dtype] * self._noise(len(self.shares))
            self.shares.append(share)

        return work


@pytest.fixture(autouse=True)
def nothing_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "_CHOSEN", {})


def chosen(machine: Machine, kind: str = "a kind") -> torch.dtype:
    return Precision(CPU, LOWER, auto=True).of("a network", kind, machine.trial, machine.clock)


@pytest.mark.parametrize(
    ("ratio", "expected"),
    [
        (3.0, LOWER),
        (CLEARLY_QUICKER + 0.01, LOWER),
        (CLEARLY_QUICKER - 0.01, EXACT),
        (1, EXACT),
        (0.5, EXACT),
    ],
)
def test_what_is_clearly_quicker_is_chosen(
    ratio: float, expected: torch.dtype, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        assert chosen(Machine({EXACT: ratio, LOWER: 1.0})) == expected
    assert (
        f"a network computes in {devices.name_of(expected)}; bfloat16 is {ratio:.2f} x as fast" in caplog.text
    )


def test_a_machine_that_is_busy_for_a_moment_decides_nothing() -> None:
    def busy(call: int) -> float:
        return 50.0 if call < 2 else 1.0

    assert chosen(Machine({EXACT: 0.16, LOWER: 0.08}, busy), "one") == LOWER
    assert chosen(Machine({EXACT: 0.08, LOWER: 0.16}, busy), "another") == EXACT


@pytest.mark.parametrize("seconds", [1e-4, 0.01, 0.1, 1.0, 10.0])
def test_as_little_is_run_as_tells_the_two_apart(seconds: float) -> None:
    machine = Machine({EXACT: 2 * seconds, LOWER: seconds})
    assert chosen(machine) == LOWER
    shares = sorted(set(machine.shares))
    assert shares == list(SHARES[: len(shares)])
    assert all(3 * share * seconds < TOLD_APART_SECONDS for share in shares[:-1])
    assert 3 * shares[-1] * seconds >= TOLD_APART_SECONDS or shares[-1] == 1
    rounds = machine.shares.count(shares[-1]) // 2
    assert 1 <= rounds <= MOST_ROUNDS
    assert 3 * shares[-1] * seconds * (rounds - 1) < ENOUGH_SECONDS


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0.5, LOWER), (2.0, LOWER), (50.0, EXACT)],  # of the last, a quarter of a chunk would take too long
)
def test_where_a_small_share_leaves_doubt_a_larger_one_decides(seconds: float, expected: torch.dtype) -> None:
    """Half of what a small share takes does not grow with it, and is the same in both."""

    class Slow(Machine):
        def trial(self, dtype: torch.dtype) -> devices.Work:
            work = super().trial(dtype)

            def with_overhead(share: float) -> None:
                self.now += seconds * SHARES[0]
                work(share)

            return with_overhead

    machine = Slow({EXACT: 1.4 * seconds, LOWER: 0.9 * seconds})
    assert chosen(machine) == expected
    assert max(machine.shares) > SHARES[0] or expected == EXACT


def test_a_kind_of_network_is_tried_once() -> None:
    machine = Machine({EXACT: 2.0, LOWER: 1.0})
    slower = Machine({EXACT: 1.0, LOWER: 2.0})
    assert [chosen(machine), chosen(slower)] == [LOWER, LOWER]
    assert (machine.loaded, slower.loaded) == ([EXACT, LOWER], [])
    assert chosen(slower, "another kind") == EXACT


def test_only_auto_tries_and_only_what_agrees_closely_enough() -> None:
    def never(dtype: torch.dtype) -> Any:
        raise AssertionError

    for dtype in (EXACT, LOWER):
        assert Precision(CPU, dtype).of("a network", "a kind", never) == dtype
    assert Precision(CPU, EXACT, auto=True).of("a network", "a kind", never) == EXACT
    assert Precision(CPU, LOWER, auto=True).of("a network", "a kind", None) == EXACT
    gpu = torch.device("cuda", 0)
    assert Precision(gpu, LOWER, auto=True).of("a network", "a kind", never) == LOWER
    assert Precision(gpu, LOWER, auto=True).of("a network", "a kind", None) == EXACT


def test_a_network_that_has_no_lower_precision_is_float32() -> None:
    assert Precision(CPU, LOWER, auto=True).of("a network", "a kind", lambda dtype: None) == EXACT


@pytest.mark.parametrize(
    ("packs", "ratio", "expected"), [(False, 9.0, EXACT), (True, 0.1, EXACT), (True, 2.0, LOWER)]
)
def test_auto_asks_what_the_processor_can(
    packs: bool, ratio: float, expected: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without weights in bfloat16 nothing is even timed: a laptop pays nothing."""
    monkeypatch.setattr(fused, "available", lambda dtype: packs)
    timed = []
    monkeypatch.setattr(devices, "_product_ratio", lambda: timed.append(ratio) or ratio)  # type: ignore[func-returns-value]
    assert resolve_precision("auto", CPU) == Precision(CPU, expected, auto=True)
    assert len(timed) == packs


def test_bf16_on_a_processor_without_it_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(fused, "available", lambda dtype: False)
    assert resolve_precision("bf16", CPU) == Precision(CPU, LOWER)
    assert "this processor lacks it" in caplog.text


def test_the_real_product_is_timed_on_one_thread_and_leaves_the_others_alone() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert on_one_core(lambda: float(torch.get_num_threads())) == 1
        assert on_one_core(devices._product_ratio) > 0
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["htdemucs", "hdemucs_mmi", "Kim_Vocal_1"])
def test_a_piece_of_a_networks_work_is_about_so_much_of_a_chunk(
    name: str, small_weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mdx_net, "LEAST_FRAMES", 8)  # of the 32 that the small one has
    row = read_manifests(small_weights / "manifest.yaml").checkpoints[name]
    for dtype in (EXACT, LOWER):
        piece_of_work = find_architecture(row.architecture).piece_of_work
        assert piece_of_work is not None
        work = piece_of_work(row, small_weights / row.file, CPU, dtype)
        assert work is not None
        sizes: list[Any] = [work(share) for share in (1 / 4, 1.0)]
        assert sizes[0].numel() == pytest.approx(sizes[1].numel() / 4, rel=1e-3)
        assert all(size.isfinite().all() for size in sizes)


def sized(path: Path, size: int) -> None:
    """Make a file of so many bytes, which takes no room."""
    with path.open("wb") as file:
        file.truncate(size)


def tries_with(work: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let this be the piece of work of every network's trial."""
    architecture = replace(find_architecture("htdemucs"), piece_of_work=work)
    monkeypatch.setattr(pool, "find_architecture", lambda name: architecture)
    monkeypatch.setattr(pool, "admit", lambda *arguments: None)


def test_large_networks_are_not_timed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A trial of them takes seconds, and may find one thing in one process and another in the next."""
    row = read_manifests(MANIFEST).checkpoints["htdemucs"]
    path = tmp_path / row.file
    tried: list[torch.dtype] = []
    ran: list[float] = []

    def work(checkpoint: Checkpoint, path: Path, device: torch.device, dtype: torch.dtype) -> devices.Work:
        tried.append(dtype)
        return lambda share: ran.append(share)

    tries_with(work, monkeypatch)
    monkeypatch.setattr(pool, "ON_X86", True)
    sized(path, pool.LARGE_BYTES)
    assert pool.dtype_of(row, path, Precision(CPU, LOWER, auto=True)) == LOWER
    assert pool.dtype_of(row, path, Precision(CPU, EXACT, auto=True)) == EXACT
    assert pool.dtype_of(row, path, Precision(CPU, EXACT)) == EXACT
    assert (tried, ran) == ([LOWER], [])  # whether it can compute so is asked
    sized(path, pool.LARGE_BYTES - 1)
    assert pool.dtype_of(row, path, Precision(CPU, EXACT, auto=True)) == EXACT
    assert tried == [LOWER]
    pool.dtype_of(row, path, Precision(CPU, LOWER, auto=True))
    assert tried == [LOWER, EXACT, LOWER]


@pytest.mark.parametrize("on_x86", [True, False])
def test_a_large_network_that_computes_only_in_float32_does(
    on_x86: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As an ONNX graph that torch cannot run."""
    row = read_manifests(MANIFEST).checkpoints["htdemucs"]
    path = tmp_path / row.file
    tries_with(lambda *arguments, **named: None, monkeypatch)
    monkeypatch.setattr(pool, "ON_X86", on_x86)
    sized(path, pool.LARGE_BYTES)
    assert pool.dtype_of(row, path, Precision(CPU, LOWER, auto=True)) == EXACT


def test_large_networks_that_were_never_shown_to_agree_stay_exact(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    row = read_manifests(MANIFEST).checkpoints["mdx23c-vocals"]
    assert find_architecture(row.architecture).piece_of_work is None
    path = tmp_path / row.file
    sized(path, pool.LARGE_BYTES)
    assert pool.dtype_of(row, path, Precision(CPU, LOWER, auto=True)) == EXACT
    assert pool.dtype_of(row, path, Precision(CPU, LOWER)) == LOWER


def test_an_architecture_of_float32_alone_is_on_record_with_that(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    row = read_manifests(MANIFEST).checkpoints["htdemucs"]
    (tmp_path / row.file).touch()
    assert pool.dtype_of(row, tmp_path / row.file, Precision(CPU, LOWER)) == LOWER
    only = replace(find_architecture("htdemucs"), lower_precision=False)
    monkeypatch.setattr(pool, "find_architecture", lambda name: only)
    assert pool.dtype_of(row, tmp_path / row.file, Precision(CPU, LOWER)) == EXACT


def test_networks_of_several_precisions_in_words() -> None:
    assert describe({"one": LOWER, "two": LOWER}) == "bfloat16"
    mixed = describe({"two": LOWER, "three": EXACT, "one": LOWER})
    assert mixed == "bfloat16 (one, two), float32 (three)"
