"""What surrounds a submission, seen from inside, for root and for an ordinary user, and what is said of the rest."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from evaluator.isolation import namespaces, seccomp
from evaluator.isolation.namespaces import USER
from evaluator.locations import REPOSITORY
from evaluator.running.preparation import WITHOUT_VARIABLE
from tests.evaluator import audio, ordinary_user
from tests.evaluator.submissions import write_submission
from tests.thinned import one_in

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")

SECRETS = {
    "HF_TOKEN": "a", "AWS_SECRET_ACCESS_KEY": "b", "CUDA_API_KEY": "c", "SDX_PASSWORD": "d", "GIT_DIR": "/e",
    "PYTHONPATH": "/f", "PYTHONSTARTUP": "/g", "LD_PRELOAD": "", "SSH_AUTH_SOCK": "/h", "DOCKER_HOST": "/i",
}  # fmt: skip
ODD_NAMES = (
    b"a b",
    b"a\tb",
    b"a\nb",
    b"a\\040b",
    b"a\x0bb",
    b"a\x0cb",
    b"a\xc2\x85b",
    "a\u2028b".encode(),
    b"\xff",
)

# A submission that says of itself what it sees and what it may do. It changes nothing even where it may: files are
# opened and not written to, and those that it makes have no name, since the walls may be missing, or broken.
LOOKS_AROUND = r'''
import ctypes
import os
import socket
import sys
from pathlib import Path

import numpy


def refused(attempt):
    try:
        attempt()
    except (OSError, ValueError) as error:
        return type(error).__name__
    return "allowed"


def refused_to_a_child(attempt):
    """For what changes the process that is allowed to."""
    child = os.fork()
    if child == 0:
        os._exit(refused(attempt) == "allowed")
    return "allowed" if os.waitpid(child, 0)[1] else "refused"


def write(path):
    os.close(os.open(path, os.O_WRONLY))


def make_file(folder):
    os.close(os.open(folder, os.O_WRONLY | os.O_TMPFILE))


def link(path):
    try:
        return os.readlink(path)
    except FileNotFoundError:
        return "the list itself"


def call(name, *arguments):
    if getattr(ctypes.CDLL(None, use_errno=True), name)(*arguments) != 0:
        raise OSError(ctypes.get_errno(), name)


def status():
    lines = Path("/proc/self/status").read_text().splitlines()
    return {line.split(":")[0]: line.split(":")[1].split() for line in lines}


def writable_mounts():
    lines = open("/proc/self/mountinfo", "rb").read().decode(errors="backslashreplace").split("\n")
    places = [line.split(" ")[4] for line in lines if line and "ro" not in line.split(" ")[5].split(",")]
    return [place for place in places if not (os.path.exists(place) and os.path.samestat(os.stat(place), NULL))]


NULL = os.stat("/dev/null")


class MySeparationModel:
    instruments = ["bass", "drums", "other", "vocals"]

    def __init__(self):
        self.facts = self.look()

    def separate_music_file(self, mixed_sound_array, sample_rate):
        raise NotImplementedError

    def look(self):
        here = os.fsencode(os.getcwd())
        own = [os.path.join(here, name) for name in os.listdir(here)]
        files = [__file__, sys.executable, os.__file__, numpy.__file__, "/bin/sh", "/etc/passwd", "/etc/hosts",
                 "/proc/sys/kernel/hostname", "/proc/sys/vm/drop_caches", "/proc/sysrq-trigger", "/proc/kcore"]
        folders = [here, os.path.dirname(__file__), numpy.__path__[0], sys.prefix, "/", "/usr", "/etc", "/dev",
                   "/proc", "/sdx", "/sdx/mixtures", "/sdx/shared", "/sys", "/root", "/home", "/run", "/var/tmp"]
        mine = status()
        return {
            "user": [os.getuid(), os.geteuid(), os.getgid(), os.getegid()],
            "groups": os.getgroups(),
            "rights": [int(mine[name][0], 16) for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")],
            "no new privileges": int(mine["NoNewPrivs"][0]),
            "filter": int(mine["Seccomp"][0]),
            "processes": sorted(int(name) for name in os.listdir("/proc") if name.isdigit()),
            "me": os.getpid(),
            "host": socket.gethostname(),
            "interfaces": [name for _, name in socket.if_nameindex()],
            "root": sorted(os.listdir("/")),
            "writable": sorted(writable_mounts()),
            "written": [str(path) for path in files if refused(lambda: write(path)) == "allowed"],
            "own entries": len(own),
            "own entries read": [refused(lambda: os.close(os.open(path, 0))) for path in own].count("allowed"),
            "own entries written": [str(path) for path in own if refused(lambda: write(path)) == "allowed"],
            "made": [str(path) for path in folders if refused(lambda: make_file(path)) == "allowed"],
            "scratch": [refused(lambda: make_file(place)) for place in (os.environ["TMPDIR"], "/dev/shm")],
            "hidden": os.path.exists(open(os.path.join(here, b"my_submission/where.txt")).read()),
            "environment": sorted(os.environ),
            "descriptors": [link(f"/proc/self/fd/{name}") for name in os.listdir("/proc/self/fd")],
            "of init": [refused(lambda: os.listdir(f"/proc/1/{name}")) for name in ("root", "fd", "cwd", "ns")]
                       + [refused(lambda: open(f"/proc/1/{name}", "rb").read(1)) for name in ("mem", "environ")],
            "becomes root": refused_to_a_child(lambda: os.setresuid(0, 0, 0)),
            "unshares": refused_to_a_child(lambda: call("unshare", 0x10000000)),
            "chroot": refused_to_a_child(lambda: os.chroot("/tmp")),
            "git and evaluator": [os.path.lexists(os.path.join(place, name)) for place in (KIT, os.getcwd())
                                  for name in (".git", "evaluator/__main__.py", "runs")],
        }

    def provenance(self):
        return {"facts": self.facts}
'''
ASK = """
import json, os, sys
from dataclasses import asdict
from pathlib import Path
from evaluator.isolation import namespaces
from evaluator.isolation.process_runner import ProcessRunner
from evaluator.isolation.sandbox import Limits, Workplace

folder, without = Path(sys.argv[1]), [name for name in sys.argv[2].split(",") if name]
limits = Limits(memory_bytes=1 << 30, scratch_bytes=64 << 20, cpus=1)
runner = ProcessRunner(folder / "looks", Workplace(folder / "work"), limits, {}, [folder / "hidden"], without=without)
outcome = runner.start()
runner.close()
print(json.dumps({
    "has own root": namespaces.probe().own_root, "us": os.geteuid(), "isolation": asdict(runner.isolation),
    "status": outcome.status, "reason": outcome.reason, "log": outcome.log,
    "facts": (outcome.provenance or {}).get("facts"), "left": sorted(os.listdir(folder)),
}))
"""


@dataclass(frozen=True)
class Said:
    """What is in force by the supervisor, and what the submission sees."""

    us: int
    has_own_root: bool
    isolation: Mapping[str, Any]
    facts: Mapping[str, Any]


def ask(user: str, without: str = "") -> Said:
    """Have a submission look around, evaluated by root or an ordinary user."""
    with ordinary_user.folder() as folder:
        submission = write_submission(folder, "looks")
        config = submission / "my_submission" / "user_config.py"
        config.write_text(f"KIT = {str(REPOSITORY)!r}\n{LOOKS_AROUND}")
        (folder / "hidden").mkdir()
        (submission / "my_submission" / "where.txt").write_text(str(folder / "hidden"))
        for name in ODD_NAMES:
            Path(os.fsdecode(os.fsencode(submission) + b"/" + name)).touch()
        for excluded in (".git", "runs"):
            (submission / excluded).mkdir()
        for path in (submission, *submission.rglob("*")):
            path.chmod(0o777)  # rights alone would keep nobody from writing
        private = submission / "private.safetensors"  # as safetensors has it
        private.touch(0o600)
        if user == "ordinary" and os.geteuid() == 0:
            os.chown(private, ordinary_user.USER, ordinary_user.USER)
        arguments = ["-c", ASK, str(folder), without]
        environment = {**os.environ, **SECRETS, "HOME": str(folder)}
        if user == "ordinary":
            done = ordinary_user.run(arguments, environment)
        else:
            done = subprocess.run(
                [sys.executable, *arguments],
                cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False,
            )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["status"] == "ok", (said["reason"], said["log"], said["isolation"])
    assert said["left"] == ["hidden", "looks"]
    return Said(said["us"], said["has own root"], said["isolation"], said["facts"])


# One of them is enough from day to day: root, where the tests are root's.
USERS = one_in(
    2, ["root", "ordinary"] if sys.platform == "linux" and os.geteuid() == 0 else ["ordinary", "root"]
)


@pytest.fixture(scope="module", params=USERS)
def walled(request: pytest.FixtureRequest) -> Said:
    """With all that this system offers."""
    if request.param == "root" and os.geteuid() != 0:
        pytest.skip("the tests are not root's")
    said = ask(request.param)
    assert (said.us == 0) is (request.param == "root")
    if not said.has_own_root:
        pytest.skip(f"this system gives {request.param} no namespaces")
    return said


def test_every_wall_stands_for_root_and_for_an_ordinary_user(walled: Said) -> None:
    walls = (
        *("network_off", "references_hidden", "process_namespace", "orphans_ended"),
        *("unprivileged", "frozen"),
    )
    assert {name: walled.isolation[name] for name in walls} == dict.fromkeys(walls, True)
    assert walled.isolation["calls_filtered"] is seccomp.is_known_machine()
    assert walled.isolation["disk"] == "capped"
    assert walled.isolation["cpus"] == 1
    assert walled.isolation["memory"] in (
        "cgroup v1",
        "cgroup v2",
        "watched",
    )  # the last without a group of our own


def test_it_is_another_user_without_rights(walled: Said) -> None:
    assert walled.facts["user"] == [USER] * 4
    assert set(walled.facts["groups"]) <= {
        USER,
        65534,
    }  # what an ordinary user's other groups look like inside
    assert walled.facts["rights"] == [0, 0, 0, 0]
    assert walled.facts["no new privileges"] == 1
    assert walled.facts["filter"] == (2 if seccomp.is_known_machine() else 0)
    for attempt in ("becomes root", "unshares", "chroot"):
        assert walled.facts[attempt] != "allowed", attempt


def test_it_is_alone_with_its_init(walled: Said) -> None:
    assert walled.facts["processes"] == sorted([1, walled.facts["me"]])
    assert walled.facts["host"] == "submission"
    assert walled.facts["interfaces"] == ["lo"]
    assert "allowed" not in walled.facts["of init"]
    kinds = [name.partition(":")[0] for name in walled.facts["descriptors"]]
    # Nothing, what it prints twice, its requests and events.
    assert sorted(kinds) == ["/dev/null", *["pipe"] * 4, "the list itself"]


def test_its_root_holds_what_it_needs(walled: Said) -> None:
    top = {"/dev", "/etc", "/proc", "/sdx", "/tmp", "/usr"}
    assert {path.lstrip("/") for path in top} <= set(walled.facts["root"])
    for name in ("boot", "home", "mnt", "opt", "run", "srv", "var"):
        if not str(sys.base_prefix).startswith(f"/{name}/") and not str(REPOSITORY).startswith(f"/{name}/"):
            assert name not in walled.facts["root"]
    assert walled.facts["git and evaluator"] == [False] * 6
    assert not walled.facts["hidden"]


def test_it_can_write_nowhere_but_to_its_scratch(walled: Said) -> None:
    """Although everybody has the right to write to its files."""
    places = {path for path in walled.facts["writable"] if not path.startswith("/dev/")}
    assert places <= {"/tmp", "/proc"}
    nodes = {path for path in walled.facts["writable"] if path.startswith("/dev/")}
    assert nodes <= {"/dev/shm", *(f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom"))}
    assert walled.facts["written"] == []
    assert walled.facts["made"] == []
    assert walled.facts["scratch"] == ["allowed", "allowed"]


def test_its_own_files_are_all_there_and_read_only_whatever_they_are_called(walled: Said) -> None:
    assert walled.facts["own entries"] == 2 + len(ODD_NAMES)
    assert walled.facts["own entries written"] == []


def test_what_only_its_owner_may_read_is_its_own(walled: Said) -> None:
    if walled.us == 0 and not namespaces.can_copy_for_owner(str(REPOSITORY)):
        pytest.skip("this system cannot have the files of one user be another's")
    assert walled.facts["own entries read"] == walled.facts["own entries"]


def test_it_is_told_no_secrets(walled: Said) -> None:
    assert not set(SECRETS) & set(walled.facts["environment"])
    assert {"TMPDIR", "HOME", "AICROWD_DATASET_DIR", "OMP_NUM_THREADS"} <= set(walled.facts["environment"])


@pytest.mark.thorough
@pytest.mark.parametrize("user", ["root", "ordinary"])
@pytest.mark.parametrize(
    "without", ["namespaces", pytest.param("namespaces,cgroup,subreaper", marks=pytest.mark.slow)]
)
def test_without_namespaces_it_runs_and_what_is_not_held_is_said(user: str, without: str) -> None:
    if user == "root" and os.geteuid() != 0:
        pytest.skip("the tests are not root's")
    said = ask(user, without)
    for name in ("network_off", "references_hidden", "process_namespace", "unprivileged"):
        assert said.isolation[name] is False
    assert said.isolation["calls_filtered"] is ("subreaper" not in without and seccomp.is_known_machine())
    assert said.isolation["orphans_ended"] is ("subreaper" not in without)
    assert said.isolation["frozen"] is True
    assert said.isolation["disk"] == "watched"
    assert {
        "the network could not be cut off",
        "the references could not be hidden from the file system",
        "the submission runs with the rights of the user who evaluates it",
        "the size of its files is watched rather than capped by the kernel",
    } <= set(said.isolation["not_in_force"])
    assert said.facts["user"][0] == said.us
    assert said.facts["scratch"][0] == "allowed"
    assert not set(SECRETS) & set(said.facts["environment"])
    if "subreaper" not in without:
        assert said.facts["rights"] == [0, 0, 0, 0]
        assert said.facts["no new privileges"] == 1


@pytest.mark.slow
@pytest.mark.parametrize("without", ["", "namespaces"])
def test_an_ordinary_user_evaluates_from_start_to_end(without: str) -> None:
    with ordinary_user.folder() as folder:
        submission = write_submission(folder, "perfect")
        data = audio.write_music(folder / "data", {"one": 5000})
        environment = {
            **os.environ, WITHOUT_VARIABLE: without, "HOME": str(folder), "SDX_HOME": str(folder / "kit"),
            "SDX_LEADERBOARD": str(folder / "leaderboard.sqlite"), "TMPDIR": str(folder / "tmp"),
        }  # fmt: skip
        (folder / "tmp").mkdir()
        (folder / "tmp").chmod(0o777)
        command = (REPOSITORY / "run_eval.py", "--submission", submission, "--data", data)
        options = ("--out", folder / "out", "--time-factor", "1000")
        done = ordinary_user.run([*command, *options], environment)
        result = json.loads((folder / "out" / "result.json").read_text())
        assert sorted(os.listdir(folder / "out")) == ["estimates", "logs", "result.json", "setup.log"]
        assert os.listdir(folder / "tmp") == []
    assert done.returncode == 0, done.stderr
    assert result["status"] == "ok"
    walls = [result["isolation"][name] for name in ("network_off", "references_hidden", "unprivileged")]
    if without:
        assert walls == [False, False, False]
        assert "the network could not be cut off" in done.stdout
        assert "the network could not be cut off" in done.stderr
    else:
        assert len(set(walls)) == 1  # all or, on a system that gives an ordinary user no namespaces, none
