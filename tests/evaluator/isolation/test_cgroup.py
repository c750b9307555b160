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


# Of a group that a controller was given to: version 1, version 2.
FILES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "memory": (
        ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes"),
        ("memory.max", "memory.swap.max", "memory.oom.group"),
    ),
    "cpu": (("cpu.cfs_period_us", "cpu.cfs_quota_us"), ("cpu.max",)),
    "pids": (("pids.max",), ("pids.max",)),
}


def make_tree(root: Path, files: dict[str, str]) -> Path:
    """A folder with these files."""
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a new folder of a made-up tree hold the files of its controllers, as the kernel sees to."""
    make = cgroup._make

    def make_with_files(parent: Path) -> Path:
        folder = make(parent)
        given = parent / "cgroup.subtree_control"
        controllers = given.read_text().split() if given.is_file() else set(parent.parts) & FILES.keys()
        version = 2 if given.is_file() else 1
        for name in (name for controller in controllers for name in FILES[controller][version - 1]):
            (folder / name).touch()
        return folder

    monkeypatch.setattr(cgroup, "_make", make_with_files)


@pytest.mark.usefixtures("kernel")
def test_version_2_below_our_own_group_where_its_children_have_memory(tmp_path: Path) -> None:
    root = make_tree(tmp_path, {"user.slice/app.slice/term.scope/cgroup.subtree_control": "cpu memory pids"})
    group = cgroup.create(CAPS, root, OWN_V2)
    assert group is not None
    assert group.version == 2
    assert group.memory.parent == root / "user.slice/app.slice/term.scope"
    assert (group.memory / "memory.max").read_text() == "1000"
    assert (group.memory / "cpu.max").read_text() == "300000 100000"
    assert (group.memory / "pids.max").read_text() == "50"
    assert (group.memory / "memory.swap.max").read_text() == "0"
    assert group.cpu == group.pids == group.memory
    assert group.join_files() == [group.memory / "cgroup.procs"]


@pytest.mark.usefixtures("kernel")
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
    assert (group.cpu, group.pids) == (None, None)  # which that folder cannot hand down
    assert group.join_files() == [group.memory / "cgroup.procs"]


@pytest.mark.usefixtures("kernel")
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
    assert (group.memory / "memory.memsw.limit_in_bytes").read_text() == "1000"
    assert group.pids is not None
    assert (group.pids / "pids.max").read_text() == "50"
    assert group.cpu is not None
    assert group.cpu.parent == root / "cpu/jobs"
    assert (group.cpu / "cpu.cfs_period_us").read_text() == "100000"
    assert (group.cpu / "cpu.cfs_quota_us").read_text() == "300000"
    assert len(group.join_files()) == 3


@pytest.mark.usefixtures("kernel")
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
    written = {path.name for path in group.memory.iterdir() if path.read_text()}
    assert written <= {"pids.max", "memory.oom.group"}


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


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("version", [1, 2])
def test_a_group_that_cannot_have_its_caps_is_not_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: int
) -> None:
    root = make_tree(
        tmp_path,
        {"memory/jobs/x/tasks": "", "cgroup.subtree_control": "memory"}
        if version == 1
        else {"user.slice/app.slice/term.scope/cgroup.subtree_control": "memory pids cpu"},
    )
    before = {path for path in root.rglob("*") if path.is_dir()}

    def refuse(path: Path, text: str) -> None:
        for file in path.parent.iterdir():
            file.unlink()  # whose folder the kernel removes all the same
        raise OSError("Invalid argument")

    monkeypatch.setattr(Path, "write_text", refuse)
    assert cgroup.create(CAPS, root, OWN_V1 if version == 1 else OWN_V2) is None
    assert {path for path in root.rglob("*") if path.is_dir()} == before


def test_what_a_killed_supervisor_left_is_ended_and_removed() -> None:
    """Of its group the evaluator knows its id only."""
    group = cgroup.create(Caps(64 << 20, 10, 1))
    if group is None:
        pytest.skip("this system gives us no control group for memory")
    code = "import sys, time; [open(f, 'w').write('0') for f in sys.argv[1:]]; print(flush=True); time.sleep(3600)"
    with subprocess.Popen(
        [sys.executable, "-c", code, *group.join_files()], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        cgroup.end_left_by(os.getpid() + 1)  # somebody else's
        assert process.poll() is None
        cgroup.end_left_by(os.getpid())
        assert process.wait(10) == -9
    assert not [folder for folder in group.folders if folder.exists()]


def test_where_no_supervisor_left_anything_nothing_happens(tmp_path: Path) -> None:
    make_tree(tmp_path, {"user.slice/app.slice/term.scope/cgroup.procs": "", "user.slice/other": ""})
    before = sorted(tmp_path.rglob("*"))
    for own in (OWN_V1, OWN_V2, ""):
        cgroup.end_left_by(os.getpid(), tmp_path, own)
    assert sorted(tmp_path.rglob("*")) == before
