"""As many chunks at a time as there is room for, and never a different result."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import torch
from torch import Tensor

from my_submission import MusicSeparationModel
from my_submission.runtime.inference import estimate_track
from my_submission.runtime.memory import available_bytes, held_bytes, memory_for_chunks
from my_submission.runtime.schedule import Schedule, plan_schedule
from my_submission.signal.augment import Augmentation
from my_submission.signal.chunking import Geometry, reader
from tests.working_copy import write_files

CPU = torch.device("cpu")
GIB = 2**30


class Network:
    """Takes 1,000 bytes a sample."""

    sources = ("vocals",)
    geometry = Geometry(1_000, margin_samples=100)
    bytes_per_sample = 1_000

    def __call__(self, chunks: Tensor) -> Tensor:
        return chunks[:, None]


@pytest.mark.parametrize(
    ("memory_bytes", "expected"),
    [
        (None, (1, 8, 1)),
        (10**9, (1, 8, 1)),
        (3_600_000, (1, 3, 2)),
        (1_200_000, (1, 1, 8)),
        (1, (1, 1, 8)),
        (-5, (1, 1, 8)),
    ],
)
def test_workers_are_as_many_as_fit(memory_bytes: int | None, expected: tuple[int, int, int]) -> None:
    """(batch size, workers, threads): chunks of 1,200 samples, and what cores there are go to fewer workers."""
    schedule = Schedule(workers=8, memory_bytes=memory_bytes).for_model(Network(), 1_200)
    assert (schedule.batch_size, schedule.workers, schedule.threads) == expected


@pytest.mark.parametrize(("chunks_that_fit", "batch_size"), [(1, 1), (3, 3), (4, 4), (100, 4)])
def test_batches_are_as_large_as_fit(chunks_that_fit: int, batch_size: int) -> None:
    memory_bytes = chunks_that_fit * 1_200_000
    schedule = Schedule(batch_size=4, memory_bytes=memory_bytes).for_model(Network(), 1_200)
    assert (schedule.batch_size, schedule.workers) == (batch_size, 1)


def test_batches_at_a_time_share_the_memory() -> None:
    schedule = Schedule(batch_size=2, workers=3, memory_bytes=5 * 1_200_000).for_model(Network(), 1_200)
    assert (schedule.batch_size, schedule.workers) == (2, 2)


def test_a_budget_holds_what_is_there_already() -> None:
    held = held_bytes(CPU)
    found = memory_for_chunks(CPU, held + GIB)
    assert found is not None
    assert found == pytest.approx(GIB, abs=GIB / 10)
    schedule = plan_schedule(CPU, 100, held + GIB)
    assert schedule.workers == torch.get_num_threads()
    assert schedule.memory_bytes == pytest.approx(GIB, abs=GIB / 10)


def test_a_budget_that_holds_not_one_chunk_is_an_error() -> None:
    with pytest.raises(ValueError, match=r"memory_budget: expected at least \d+\.\d GiB .*, found 1\.0"):
        plan_schedule(CPU, 8 * GIB, GIB)


def test_without_a_budget_little_memory_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("my_submission.runtime.memory.available_bytes", lambda: 4 * GIB)
    assert plan_schedule(CPU, 2 * GIB).memory_bytes == 3 * GIB
    assert not caplog.records
    plan_schedule(CPU, 8 * GIB)
    assert "memory is short" in caplog.text


def machine(root: Path, files: dict[str, str]) -> Path:
    return write_files(root, {"proc/meminfo": "MemTotal: 9 kB\nMemAvailable: 8388608 kB\n", **files})


def test_what_the_machine_has_left(tmp_path: Path) -> None:
    assert available_bytes(machine(tmp_path, {})) == 8 * GIB


def test_the_tightest_control_group_counts_whatever_its_version(tmp_path: Path) -> None:
    one = machine(
        tmp_path / "one",
        {
            "proc/self/cgroup": "3:cpu:/\n4:memory:/outer/inner\n",
            "sys/fs/cgroup/memory/outer/inner/memory.limit_in_bytes": str(2**63 - 4096),
            "sys/fs/cgroup/memory/outer/inner/memory.usage_in_bytes": str(GIB),
            "sys/fs/cgroup/memory/outer/inner/memory.stat": "cache 5\ntotal_inactive_file 0",
            "sys/fs/cgroup/memory/outer/memory.limit_in_bytes": str(4 * GIB),
            "sys/fs/cgroup/memory/outer/memory.usage_in_bytes": str(3 * GIB),
            "sys/fs/cgroup/memory/outer/memory.stat": f"cache 5\ntotal_inactive_file {GIB}",
        },
    )
    assert available_bytes(one) == 2 * GIB
    two = machine(
        tmp_path / "two",
        {
            "proc/self/cgroup": "0::/of/the/host",  # in a container, whose own group is the root that it sees
            "sys/fs/cgroup/memory.max": str(3 * GIB),
            "sys/fs/cgroup/memory.current": str(GIB),
            "sys/fs/cgroup/memory.stat": "inactive_file 0\nactive_file 7",
        },
    )
    assert available_bytes(two) == 2 * GIB


def test_no_limit_and_no_files_are_no_trouble(tmp_path: Path) -> None:
    unlimited = machine(
        tmp_path / "a",
        {
            "proc/self/cgroup": "0::/mine",
            "sys/fs/cgroup/mine/memory.max": "max\n",
            "sys/fs/cgroup/mine/memory.current": "5\n",
        },
    )
    assert available_bytes(unlimited) == 8 * GIB
    assert available_bytes(tmp_path / "nowhere") is None


def test_this_machine_tells() -> None:
    found = available_bytes()
    assert found is not None
    assert found > 0


def cores_of_a_new_thread() -> int:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(torch.get_num_threads).result()


class Counting(Network):
    """Notes how many cores its calls compute on."""

    def __init__(self) -> None:
        self.cores: list[int] = []

    def __call__(self, chunks: Tensor) -> Tensor:
        self.cores.append(torch.get_num_threads())
        return super().__call__(chunks)


def test_workers_have_their_cores_and_threads_that_begin_beside_or_after_them_all() -> None:
    """A model that is made in one of these has as many workers."""
    before, network = torch.get_num_threads(), Counting()
    torch.set_num_threads(3)
    try:
        pieces = estimate_track(
            network, reader(torch.ones(2, 5_000)), 5_000, Augmentation(), 0.0, Schedule(workers=2)
        )
        next(pieces)
        during = cores_of_a_new_thread()
        assert sum(piece.shape[-1] for _, piece in pieces) > 0
        assert (during, cores_of_a_new_thread(), torch.get_num_threads()) == (3, 3, 3)
        assert set(network.cores) == {1}
    finally:
        torch.set_num_threads(before)


@pytest.mark.slow
def test_less_memory_gives_the_same_stems() -> None:
    mixture = torch.randn(30_000, 2, generator=torch.Generator().manual_seed(0)).numpy() * 0.1
    roomy = MusicSeparationModel(device="cpu", precision="fp32")
    largest = roomy._models.largest_chunk_bytes()
    tight = MusicSeparationModel(device="cpu", precision="fp32", memory_budget=held_bytes(CPU) + 2 * largest)
    assert tight._schedule.memory_bytes is not None
    assert tight._schedule.memory_bytes < 2 * largest + GIB
    expected, _ = roomy.separate_music_file(mixture, 44_100)
    found, _ = tight.separate_music_file(mixture, 44_100)
    for stem, estimate in expected.items():
        assert abs(found[stem] - estimate).max() <= 1e-5 * abs(estimate).max()
