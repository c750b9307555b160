"""torch computes on as many cores as the process's control groups give it the time of."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from my_submission.runtime import devices
from my_submission.runtime.control_groups import quota_cores
from my_submission.runtime.cores import keep_to_quota
from tests.working_copy import write_files


@pytest.fixture
def eight_threads(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(8)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "150000 100000\n"}, 1.5),
        (
            {
                "proc/self/cgroup": "0::/a/b",
                "sys/fs/cgroup/a/cpu.max": "400000 100000",
                "sys/fs/cgroup/a/b/cpu.max": "max 100000",
            },
            4,
        ),
        ({"proc/self/cgroup": "0::/of/the/host", "sys/fs/cgroup/cpu.max": "50000 100000"}, 0.5),
        (
            {
                "proc/self/cgroup": "5:memory:/c\n3:cpu,cpuacct:/c",
                "sys/fs/cgroup/cpu,cpuacct/c/cpu.cfs_quota_us": "300000\n",
                "sys/fs/cgroup/cpu,cpuacct/c/cpu.cfs_period_us": "100000\n",
            },
            3,
        ),
        (
            {
                "proc/self/cgroup": "0::/a/b",
                "sys/fs/cgroup/a/cpu.max": "200000 100000",
                "sys/fs/cgroup/a/b/cpu.max": "400000 100000",
            },
            2,
        ),
        ({"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": ""}, None),
        (
            {
                "proc/self/cgroup": "3:cpuset:/c\n4:cpu,cpuacct:/c",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
            },
            None,
        ),
        ({"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "max 100000"}, None),
        ({"proc/self/cgroup": "0::/"}, None),
        ({}, None),
    ],
)
def test_the_tightest_group_counts_whatever_its_version(
    files: dict[str, str], cores: float | None, tmp_path: Path
) -> None:
    assert quota_cores(write_files(tmp_path, files)) == cores


@pytest.mark.usefixtures("eight_threads")
@pytest.mark.parametrize(
    ("quota", "threads"),
    [("450000", 5), ("400000", 4), ("50000", 1), ("800000", 8), ("6400000", 8), ("max", 8)],
)
def test_no_more_cores_than_there_is_time_for(quota: str, threads: int, tmp_path: Path) -> None:
    root = write_files(tmp_path, {"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": f"{quota} 100000"})
    keep_to_quota(root=root)
    assert torch.get_num_threads() == threads


@pytest.mark.usefixtures("eight_threads")
def test_processes_of_one_quota_share_it(tmp_path: Path) -> None:
    root = write_files(tmp_path, {"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "500000 100000"})
    keep_to_quota(1 / 2, root)
    assert torch.get_num_threads() == 3


@pytest.mark.usefixtures("eight_threads")
def test_who_says_how_many_threads_is_obeyed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    keep_to_quota(
        root=write_files(tmp_path, {"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "100000 100000"})
    )
    assert torch.get_num_threads() == 8


@pytest.mark.parametrize(("device", "asked"), [("cpu", 1), ("cuda", 0)])
def test_it_is_asked_before_anything_is_computed_on_the_cpu(
    device: str, asked: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[None] = []
    monkeypatch.setattr(devices, "keep_to_quota", lambda: calls.append(None))
    devices.resolve_precision("fp32", torch.device(device))
    assert len(calls) == asked
