"""On what an evaluation runs: as root, as an ordinary user, in containers; and what such a run may leave."""

import contextlib
import os
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from evaluator.containers.engine import LABEL, EngineError, connect
from evaluator.isolation import cgroup, namespaces, process_tree
from evaluator.locations import REPOSITORY

USER = 65534  # nobody
LOOK_SECONDS = 0.01
AS_USER = """
stage=$1 hidden=$2; shift 2
count=$1; shift
n=0
while [ $n -lt $count ]; do
    mkdir -p "$stage/$n"; mount --bind "$1" "$stage/$n"; eval "place$n=\\$1"; shift; n=$((n + 1))
done
for folder in $hidden; do mount -t tmpfs -o mode=755 tmpfs "$folder"; done
n=0
while [ $n -lt $count ]; do
    eval "place=\\$place$n"; mkdir -p "$place"; mount --bind "$stage/$n" "$place"; umount "$stage/$n"; n=$((n + 1))
done
rm -rf "$stage"
exec "$@"
"""


def as_user(command: Sequence[str], stage: Path) -> list[str]:
    """The command as an ordinary user's, from root.

    Where that user cannot reach the interpreter or the checkout, as below /root, they are shown at the same path in a
    mount namespace; stage: a folder to be made for that, and removed.
    """
    needed = [Path(sys.base_prefix), Path(sys.prefix), REPOSITORY]
    hidden = {place: closed for place in needed if (closed := _closed_above(place)) is not None}
    # Another user's rights clear the signal by which it ends with us.
    rights = [f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "--pdeathsig=SIGKILL"]
    become = ["setpriv", *rights, *command]
    if not hidden:
        return become
    shown = [str(place) for place in needed if any(place.is_relative_to(each) for each in hidden.values())]
    script = [
        "sh",
        "-euc",
        AS_USER,
        "sh",
        str(stage),
        " ".join(sorted({str(each) for each in hidden.values()})),
    ]
    return ["unshare", "--mount", "--propagation=private", *script, str(len(shown)), *shown, *become]


def _closed_above(path: Path) -> Path | None:
    """The uppermost folder above `path` that others cannot pass."""
    for folder in reversed(path.parents):
        if not folder.stat().st_mode & stat.S_IXOTH:
            return folder
    return None


def has_user_namespaces() -> bool:
    """Whether an ordinary user of this machine can have a sandbox at all."""
    if os.geteuid() != 0:
        return namespaces.probe().own_root

    question = (
        "import sys; from evaluator.isolation import namespaces; sys.exit(not namespaces.probe().own_root)"
    )
    with tempfile.TemporaryDirectory() as folder:
        asked = as_user([sys.executable, "-c", question], Path(folder, "stage"))
        return subprocess.run(asked, cwd=REPOSITORY, check=False).returncode == 0


def missing(system: str, user_namespaces: bool) -> str | None:
    """Why nothing can be run on a system here, or None."""
    if not sys.platform.startswith("linux"):
        return "the sandbox is for Linux"
    if system in ("root", "bare") and os.geteuid() != 0:
        return "needs root"
    if system == "docker":
        try:
            connect()
        except EngineError as error:
            return str(error)
    if system == "user" and not user_namespaces:
        return "this machine lets no ordinary user have namespaces"
    return None


def hand_over(*tops: Path) -> None:
    """Let the ordinary user own these, and everything below."""
    if os.geteuid() == 0:
        for path in (each for top in tops for each in (top, *top.rglob("*"))):
            os.chown(path, USER, USER, follow_symlinks=False)


def descendants() -> set[int]:
    """Processes below this one, to which orphans come, too: see `adopt_orphans`."""
    return process_tree.descendants(os.getpid())


def described(pids: set[int]) -> list[str]:
    """Number and command line of those that are still there."""
    found = []
    for pid in pids:
        try:
            found.append(f"{pid} {Path(f'/proc/{pid}/cmdline').read_bytes()[:200]!r}")
        except OSError:
            continue
    return found


def adopt_orphans() -> None:
    """Have whatever outlives its parents below us become our child."""
    namespaces.prctl(namespaces.PR_SET_CHILD_SUBREAPER, 1)


class Children:
    """The children that a process has had, supervisors among them: a thread adds to them until the process ends."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process, self._seen = process, set[int]()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def seen(self) -> set[int]:
        """All of them, once the process has ended."""
        self._thread.join()
        return self._seen

    def _look(self) -> None:
        while self._process.poll() is None:
            with contextlib.suppress(OSError):  # a thread of it has ended, or all of it
                for thread in os.listdir(f"/proc/{self._process.pid}/task"):
                    known = Path("/proc", str(self._process.pid), "task", thread, "children").read_text()
                    self._seen.update(map(int, known.split()))
            time.sleep(LOOK_SECONDS)


def control_groups(supervisors: set[int]) -> set[str]:
    """Groups of these supervisors.

    Others are of tests that run beside this one, and may kill whoever would clean up.
    """
    names = {f"{cgroup.PREFIX}{pid}" for pid in supervisors}
    # `os.walk` passes over folders that go while it looks.
    return {
        os.path.join(top, name)
        for top, folders, _ in os.walk("/sys/fs/cgroup")
        for name in names.intersection(folders)
    }


def containers(root: Path) -> set[str]:
    """Containers that have something below `root` mounted."""
    client = connect()
    found = client.containers.list(all=True, filters={"label": f"{LABEL}=container"}, sparse=True)
    return {
        each.id for each in found if any(str(root) in str(mount) for mount in each.attrs.get("Mounts", []))
    }


def mounts() -> set[str]:
    """Where something is mounted."""
    return {line.split(" ")[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()}
