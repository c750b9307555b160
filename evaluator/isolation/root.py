"""Build the root that a submission lives in, from its view (view.py), in namespaces that are already entered.

Nothing of the machine's root is there but what the view shows, read-only. All that can be written lies in memory, in
file systems of a size: it counts as the submission's memory, a full one harms nobody, and it is gone with the last
process, whatever ends it. Standard library only.
"""

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from evaluator.isolation.namespaces import (
    MS_BIND,
    MS_NODEV,
    MS_NOEXEC,
    MS_NOSUID,
    MS_PRIVATE,
    MS_RDONLY,
    MS_REC,
    MS_REMOUNT,
    USER,
    Owners,
    attach,
    detach,
    mount,
    pivot_root,
)
from evaluator.isolation.view import View, is_below_any

NODES = ("null", "zero", "full", "random", "urandom")
MIXTURES, SHARED = "/sdx/mixtures", "/sdx/shared"
PREDICTIONS = f"{SHARED}/predictions"
TEMPORARY, SHARED_MEMORY = "/tmp", "/dev/shm"
SCRATCH_ENTRIES = 1 << 20
LITTLE_BYTES, LITTLE_ENTRIES = (
    1 << 20,
    1 << 14,
)  # of the root itself: empty folders, links and the files below
FILES = {
    "/etc/passwd": f"root:x:0:0:root:/:/bin/sh\naicrowd:x:{USER}:{USER}::{TEMPORARY}:/bin/sh\n",
    "/etc/group": f"root:x:0:\naicrowd:x:{USER}:\n",
    "/etc/hosts": "127.0.0.1 localhost\n::1 localhost\n",
    "/etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files\n",
}
# As container engines have it: what could be written with the right owner, and what tells of others.
PROC_READ_ONLY = ("sys", "bus", "fs", "irq", "sysrq-trigger")
PROC_EMPTY = (
    "acpi",
    "asound",
    "interrupts",
    "kcore",
    "key-users",
    "keys",
    "latency_stats",
    "sched_debug",
    "scsi",
    "timer_list",
)
SET_UP = "/.set-up"  # of the machine's root, and of what is mounted twice; gone before the submission starts


@dataclass(frozen=True)
class Room:
    """Open folders of one track: to stage the mixture in, and to collect the estimates from.

    mixtures: None where that is a folder of the evaluator's machine.
    """

    mixtures: int | None
    predictions: int

    def opened(self) -> list[int]:
        """Both, as far as they are there."""
        return [each for each in (self.mixtures, self.predictions) if each is not None]

    def close(self) -> None:
        """Once; what has no other name is gone with that."""
        for descriptor in self.opened():
            os.close(descriptor)


def build(view: View, scratch_bytes: int | None) -> int:
    """Make the view this process' root; returns its temporary folder, open, to ask it how full it is.

    scratch_bytes: of all temporary files and shared memory together; None for half of the machine's memory, which is
    the kernel's own default.
    """
    mount("none", "/", None, MS_REC | MS_PRIVATE)  # mounts no longer spread to the rest of the system
    # A mount on /tmp becomes the root, so that every path of the machine's can be reached below SET_UP meanwhile.
    mount("tmpfs", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, _options(LITTLE_BYTES, LITTLE_ENTRIES, 0o755))
    os.chdir("/tmp")
    os.mkdir(f"/tmp{SET_UP}")
    os.mkdir(f"/tmp{SET_UP}/old")
    pivot_root("/tmp", f"/tmp{SET_UP}/old")
    os.chdir("/")
    _make_devices(view.devices)
    scratch = _make_writable(scratch_bytes)
    os.mkdir("/proc")
    mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    for path, target in view.links:
        _make_folder(os.path.dirname(path))
        os.symlink(target, path)
    as_owner = set(view.as_owner)
    with Owners() as owners:
        for path in view.shown:
            _show(path, owners if path in as_owner else None)
    _make_read_only(view.shown)
    around = _made_in_scratch([*view.shown, *(path for path, _ in view.links)])
    for path in around:
        mount(path, path, None, MS_BIND | MS_REC)
    _make_read_only(around)
    for path in view.hidden:
        if os.path.lexists(path) and is_below_any(path, view.shown):
            _hide(path)
    for path, content in FILES.items():
        if not os.path.lexists(path):
            _make_folder(os.path.dirname(path))
            Path(path).write_text(content)
    read_only = [path for name in PROC_READ_ONLY if os.path.exists(path := f"/proc/{name}")]
    for path in read_only:
        mount(path, path, None, MS_BIND | MS_REC)
    _make_read_only(read_only)
    for name in PROC_EMPTY:
        if os.path.exists(f"/proc/{name}"):
            _hide(f"/proc/{name}")
    detach(f"{SET_UP}/old")
    os.rmdir(f"{SET_UP}/old")
    os.rmdir(SET_UP)
    for path in (MIXTURES, PREDICTIONS):
        _make_folder(path)
    mount("none", "/", None, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV)
    return scratch


def make_room(predictions_bytes: int, entries: int) -> Room:
    """Fresh folders for a track, in place of those of the last; the caller closes them."""
    for path in (MIXTURES, MIXTURES, PREDICTIONS):
        if os.path.ismount(path):
            detach(path)
    # The mount that we write to lies below the one that is seen.
    mount("tmpfs", MIXTURES, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=755")
    mixtures = os.open(MIXTURES, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    mount(MIXTURES, MIXTURES, None, MS_BIND)
    mount("none", MIXTURES, None, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC)
    options = _options(predictions_bytes, entries, 0o755, owned=True)
    mount("tmpfs", PREDICTIONS, "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, options)
    predictions = os.open(PREDICTIONS, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    return Room(mixtures, predictions)


def _options(size_bytes: int | None, entries: int, mode: int, owned: bool = False) -> str:
    """Options of a tmpfs; owned: by the submission."""
    size = "" if size_bytes is None else f"size={size_bytes},"
    owner = f",uid={USER},gid={USER}" if owned else ""
    return f"{size}nr_inodes={entries},mode={mode:o}{owner}"


def _make_writable(size_bytes: int | None) -> int:
    """Temporary files and shared memory: one file system, so that one size is the limit of both."""
    os.mkdir(f"{SET_UP}/scratch")
    options = _options(size_bytes, SCRATCH_ENTRIES, 0o755)
    mount("tmpfs", f"{SET_UP}/scratch", "tmpfs", MS_NOSUID | MS_NODEV, options)
    for name, path in (("tmp", TEMPORARY), ("shm", SHARED_MEMORY)):
        folder = f"{SET_UP}/scratch/{name}"
        os.mkdir(folder)
        os.chmod(folder, 0o1777)
        _make_folder(path)
        mount(folder, path, None, MS_BIND)
    scratch = os.open(f"{SET_UP}/scratch", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    detach(f"{SET_UP}/scratch")
    os.rmdir(f"{SET_UP}/scratch")
    return scratch


def _made_in_scratch(paths: Iterable[str]) -> set[str]:
    """The uppermost folders that lie in what can be written to only because something that is shown lies in them."""
    places = [f"{place}/" for place in (TEMPORARY, SHARED_MEMORY)]
    tops = {
        place + path.removeprefix(place).split("/")[0]
        for path in paths
        for place in places
        if path.startswith(place)
    }
    return {
        top for top in tops if os.path.isdir(top) and not os.path.islink(top) and not os.path.ismount(top)
    }


def _make_devices(more: Sequence[str]) -> None:
    """A /dev of the harmless nodes, and those of the GPU where the submission may use it."""
    os.mkdir("/dev")
    for path in (*(f"/dev/{name}" for name in NODES), *more):
        if os.path.exists(f"{SET_UP}/old{path}"):
            _make_folder(os.path.dirname(path))
            Path(path).touch()
            mount(f"{SET_UP}/old{path}", path, None, MS_BIND)
            mount("none", path, None, MS_REMOUNT | MS_BIND | MS_NOSUID | MS_NOEXEC | _locked(path))
    os.symlink("/proc/self/fd", "/dev/fd")
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        os.symlink(f"/proc/self/fd/{number}", f"/dev/{name}")


def _show(path: str, owners: Owners | None) -> None:
    """Mount what the machine has at `path` at the same path here, with all that is mounted below it.

    owners: to show what only its owner may read, where root can have it so; an ordinary user is the owner already.
    """
    source = f"{SET_UP}/old{path}"
    if os.path.isdir(source):
        _make_folder(path)
    else:
        _make_folder(os.path.dirname(path))
        Path(path).touch()
    if owners is not None:
        with contextlib.suppress(OSError):
            attach(owners.open_copy(source), path)
            return
    mount(source, path, None, MS_BIND | MS_REC)


def _hide(path: str) -> None:
    """Mount something empty and read-only over a file or folder."""
    if os.path.isdir(path):
        mount("tmpfs", path, "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV, "size=4k,mode=555")
    else:
        mount("/dev/null", path, None, MS_BIND)


def _make_read_only(paths: Iterable[str]) -> None:
    """Have every mount at and below these paths be read-only, without set-user-id programs and devices."""
    for place in _mounts_below(set(paths)):
        flags = MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV | _locked(place)
        mount("none", place, None, flags)


def _mounts_below(paths: Set[str]) -> list[str]:
    """Where something is mounted at or below any of `paths`, as this process sees it; there may be thousands."""
    lines = os.fsdecode(Path("/proc/self/mountinfo").read_bytes()).split("\n")
    places = [_unescaped(line.split(" ")[4]) for line in lines if line]
    return [place for place in places if not paths.isdisjoint(_upwards(place))]


def _upwards(path: str) -> Iterator[str]:
    """The path, and the folders above it."""
    while path:
        yield path
        path = path.rpartition("/")[0]


def _unescaped(text: str) -> str:
    for code in ("040", "011", "012", "134"):
        text = text.replace(f"\\{code}", chr(int(code, 8)))
    return text


def _locked(path: str) -> int:
    """Flags of the mount that holds `path` which an ordinary user must keep when mounting it again."""
    return os.statvfs(path).f_flag & (MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY)


def _make_folder(path: str) -> None:
    """The folder and those above it, with rights to read for all whatever our umask is."""
    before = os.umask(0o022)
    os.makedirs(path, exist_ok=True)
    os.umask(before)
