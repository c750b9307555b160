"""Control groups of both versions, on a made-up file tree, and the real one where this system has it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from evaluator.isolation import cgroup
from evaluator.isolation.cgroup import Caps

CAPS = Caps(memory_bytes=1000, max_processes=50, cpus=3)
OWN_V2 = "0::/user.slice/app.slice/term.scope\n"
OWN_V1 = "9:name=systemd:/\n8:pids:/\n6:cpu,cpuacct:/jobs\n4:memory:/jobs/x\n0::/\n"


def make_tree(root: Path, files: dict[str, str]) -> Path:
    """A folder with these files."""
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def test_version_2_below_our_own_group_where_its_children_have_memory(tmp_path: Path) -> None:
    root = make_tree(tmp_path, {"user.slice/app.slice/term.scope/cgroup.subtree_control": "cpu memory pids"})
    group = cgroup.create(CAPS, root, OWN_V2)
    assert group is not None
    assert group.version == 2
    assert group.memory.parent == root / "user.slice/app.slice/term.scope"
    assert (group.memory / "memory.max").read_text() == "1000"
    assert (group.memory / "cpu.max").read_text() == "300000 100000"
    assert group.cpu == group.memory
    assert group.join_files() == [group.memory / "cgroup.procs"]


def test_version_2_beside_our_own_group_in_a_delegated_tree(tmp_path: Path) -> None:
    root = make_tree(
        tmp_path,
        {
            "user.slice/app.slice/term.scope/cgroup.subtree_control": "",
            "user.slice/app.slice/cgroup.subtree_control": "memory",
        },
    )
    group = cgroup.create(CAPS, root, OWN_V2)
    assert group is not None
    assert group.memory.parent == root / "user.slice/app.slice"
    assert group.cpu is None  # which that folder cannot hand down
    assert not (group.memory / "cpu.max").exists()


def test_version_1_where_version_2_has_no_memory_controller(tmp_path: Path) -> None:
    root = make_tree(
        tmp_path,
        {
            "unified/cgroup.subtree_control": "",
            "memory/jobs/x/tasks": "",
            "pids/tasks": "",
            "cpu/jobs/tasks": "",
        },
    )
    group = cgroup.create(CAPS, root, OWN_V1)
    assert group is not None
    assert group.version == 1
    assert group.memory.parent == root / "memory/jobs/x"
    assert (group.memory / "memory.limit_in_bytes").read_text() == "1000"
    assert group.pids is not None
    assert (group.pids / "pids.max").read_text() == "50"
    assert group.cpu is not None
    assert group.cpu.parent == root / "cpu/jobs"
    assert (group.cpu / "cpu.cfs_period_us").read_text() == "100000"
    assert (group.cpu / "cpu.cfs_quota_us").read_text() == "300000"
    assert len(group.join_files()) == 3


@pytest.mark.parametrize(
    ("own", "files"),
    [
        (OWN_V2, {"user.slice/app.slice/term.scope/cgroup.subtree_control": "cpu memory pids"}),
        (OWN_V1, {"memory/jobs/x/tasks": "", "pids/tasks": "", "cpu/jobs/tasks": ""}),
    ],
)
def test_a_cap_that_nobody_asked_for_is_not_set(tmp_path: Path, own: str, files: dict[str, str]) -> None:
    group = cgroup.create(Caps(None, 50), make_tree(tmp_path, files), own)
    assert group is not None
    assert group.cpu is None
    assert not [path for path in tmp_path.rglob("*") if path.name.startswith(("memory.", "cpu."))]


def test_a_controller_that_refuses_its_caps_is_not_said_to_hold_them(tmp_path: Path) -> None:
    root = make_tree(tmp_path, {"memory/jobs/x/tasks": "", "pids": "no folder", "cpu": "no folder"})
    group = cgroup.create(CAPS, root, OWN_V1)
    assert group is not None
    assert (group.pids, group.cpu) == (None, None)
    assert group.join_files() == [group.memory / "cgroup.procs"]


def test_nothing_where_nothing_can_be_made(tmp_path: Path) -> None:
    assert cgroup.create(CAPS, tmp_path, OWN_V2) is None
    assert cgroup.create(CAPS, tmp_path, OWN_V1) is None
    assert cgroup.create(CAPS, tmp_path, "") is None


def test_use_and_kills_are_read_from_either_version(tmp_path: Path) -> None:
    make_tree(
        tmp_path,
        {
            "two/memory.stat": "anon 100\nfile 7000\nshmem 20\n",
            "two/memory.events": "low 0\noom 1\noom_kill 2\n",
            "one/memory.stat": "cache 7000\nrss 1\ntotal_rss 300\ntotal_shmem 4\n",
            "one/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n",
        },
    )
    two = cgroup.ControlGroup(tmp_path / "two", None, 2)
    one = cgroup.ControlGroup(tmp_path / "one", None, 1)
    assert (two.memory_bytes(), two.oom_kills()) == (120, 2)
    assert (one.memory_bytes(), one.oom_kills()) == (304, 3)


def test_groups_of_supervisors_that_are_gone_are_removed(tmp_path: Path) -> None:
    with subprocess.Popen(["true"]) as gone:
        pass
    root = make_tree(tmp_path, {"cgroup.subtree_control": "memory"})
    stale, live = root / f"{cgroup.PREFIX}{gone.pid}", root / f"{cgroup.PREFIX}{os.getppid()}"
    stale.mkdir()
    live.mkdir()
    assert cgroup.create(CAPS, root, "0::/\n") is not None
    assert not stale.exists()
    assert live.exists()


def test_a_real_group_holds_and_ends_a_process() -> None:
    group = cgroup.create(Caps(64 << 20, 10))
    if group is None:
        pytest.skip("this system gives us no control group for memory")
    code = "import sys, time; open(sys.argv[1], 'w').write('0'); print('in', flush=True); time.sleep(3600)"
    with subprocess.Popen(
        [sys.executable, "-c", code, group.join_files()[0]], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        assert process.pid in group.processes()
        assert group.memory_bytes() < 64 << 20
        group.kill()
        assert process.wait(10) == -9
    group.remove()
    assert not group.memory.exists()
