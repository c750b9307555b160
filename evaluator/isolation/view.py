"""What a submission may see: a list of paths, from which its root is built (root.py). Everything else is not there.

The interpreter and its packages, the system's libraries, the submission's own folder, the weights that were fetched
for it. Each stands at the path it has outside, read-only. Standard library only; nothing is mounted here.
"""

import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path

from evaluator.isolation import namespaces

SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store", "/gnu/store")
SETTINGS = (
    *("/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/alternatives"),
    *("/etc/localtime", "/etc/timezone", "/etc/fonts", "/etc/mime.types", "/etc/OpenCL", "/etc/vulkan"),
)
PROCESSOR = ("/sys/devices/system/cpu", "/sys/devices/system/node")
GPU_NODES = ("nvidia*", "nvidia-caps/*", "dri/*", "kfd", "dxg")
GPU_SETTINGS = ("/sys/devices", "/sys/bus/pci", "/sys/class/drm", "/sys/class/kfd", "/sys/module")
# Of a submission's folder: what the server does not have, and what holds results, references or other code.
NOT_SUBMITTED = (
    *(".git", ".hg", ".svn", ".cache", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".venv", "venv"),
    *("runs", "local_data"),
)
MOST_FOLDERS = 1000  # that are looked through for what cannot be read
MOST_LINKS = 40  # as the kernel has it


@dataclass(frozen=True)
class View:
    """A root in the making; travels to the supervisor as JSON.

    links: (path, what it points to), for links on the way to a path that is shown.
    shown: files and folders, read-only. hidden: those below them that must look empty. devices: nodes of /dev.
    as_owner: those of `shown` in which the submission may read what their owner may, as far as the system has it.
    """

    links: Sequence[tuple[str, str]]
    shown: Sequence[str]
    hidden: Sequence[str]
    devices: Sequence[str]
    as_owner: Sequence[str]


def of_submission(folder: Path, more: Iterable[Path], hidden: Iterable[Path], kit: Path, gpu: bool) -> View:
    """The view of the submission in `folder`.

    more: what else it may read. hidden: what it must not find, wherever that is. kit: the folder of the evaluator,
    whose code it has no use for. gpu: whether it may use one.
    """
    own = list(_own_entries(folder, kit))
    packages = (entry for entry in _packages() if Path(entry).resolve() not in (kit, folder))
    interpreter = (sys.executable, sys.prefix, sys.base_prefix, sys.exec_prefix, *packages)
    libraries = os.environ.get("LD_LIBRARY_PATH", "").split(":")
    machine = (*SYSTEM, *SETTINGS, *PROCESSOR, *(GPU_SETTINGS if gpu else ()))
    links: dict[str, str] = {}
    shown: set[str] = set()
    for path in (*machine, *interpreter, *libraries, *map(str, (*own, *more))):
        if path and os.path.exists(path):
            passed, end = chain(os.path.join(os.getcwd(), path))
            links |= passed
            shown.add(end)
    shown.discard("/")  # to which a link may lead
    outermost = _outermost(shown)
    return View(
        links=sorted((path, target) for path, target in links.items() if not is_below_any(path, outermost)),
        shown=outermost,
        hidden=sorted({os.path.realpath(path) for path in hidden}),
        devices=sorted(str(path) for pattern in GPU_NODES for path in Path("/dev").glob(pattern))
        if gpu
        else [],
        as_owner=[path for path in outermost if not _have_common(path, machine)],
    )


def _own_entries(folder: Path, kit: Path) -> Iterator[Path]:
    """What is in the folder, but for what is not submitted, and links to anything else; see `links_out`."""
    for entry in sorted(folder.iterdir()):
        if entry != kit / "evaluator" and _is_own(folder, entry):
            yield entry


def _is_own(folder: Path, entry: Path) -> bool:
    """Whether an entry of the folder is, or is a link to, something of the folder that is submitted."""
    end = end_of(entry)
    inside = end.is_relative_to(folder) and end != folder
    return inside and not {entry.name, end.relative_to(folder).parts[0]} & set(NOT_SUBMITTED)


def links_out(folder: Path) -> list[Path]:
    """Links at the top of a submission's folder, or in its package, to what is outside, and so not in sight.

    Without those that are called as what is not submitted.
    """
    places = [place for place in (folder, folder / "my_submission") if place.is_dir()]
    named = [
        entry for place in places for entry in sorted(place.iterdir()) if entry.name not in NOT_SUBMITTED
    ]
    entries = [entry for entry in named if entry.is_symlink()]
    return [entry for entry in entries if not end_of(entry).is_relative_to(folder)]


def end_of(path: Path) -> Path:
    """Where a path leads. Path.resolve raises where links lead in a circle."""
    return Path(os.path.realpath(path))


def unreadable(folder: Path) -> Path | None:
    """The first file or folder of a submission's package that only its owner may read, though others will have to.

    None if we are not root, and so are the owner ourselves, and where the system can have what is the owner's be the
    submission's, too.
    """
    if not hasattr(os, "geteuid") or os.geteuid() != 0 or namespaces.can_copy_for_owner(str(folder)):
        return None
    for place, _, names in islice(os.walk(folder / "my_submission"), MOST_FOLDERS):
        for path, needed in ((place, 0o5), *((f"{place}/{name}", 0o4) for name in names)):
            if not os.path.islink(path) and os.stat(path).st_mode & needed != needed:
                return Path(path)
    return None


@lru_cache(maxsize=1)
def _packages() -> tuple[str, ...]:
    """Where an interpreter of this environment finds modules by itself: not what a script or a variable adds."""
    question = [sys.executable, "-I", "-c", "import sys; print('\\0'.join(sys.path), end='')"]
    answer = subprocess.run(question, capture_output=True, text=True, check=True, cwd=os.sep).stdout
    return tuple(entry for entry in answer.split("\0") if os.path.isabs(entry))


def chain(path: str) -> tuple[dict[str, str], str]:
    """The links that an absolute path passes through, each with what it points to, and where it ends.

    OSError for a path with more links than the kernel follows.
    """
    links: dict[str, str] = {}
    followed = 0
    done, left = "", [part for part in path.split("/") if part]
    while left:
        part = left.pop(0)
        if part == "..":
            done = done.rpartition("/")[0]
            continue
        here = f"{done}/{part}"
        if part != "." and os.path.islink(here):
            target = os.readlink(here)
            followed += 1
            if followed > MOST_LINKS:
                raise OSError(f"{path}: more than {MOST_LINKS} links")
            links[here] = target
            done = "" if target.startswith("/") else done
            left = [*(each for each in target.split("/") if each), *left]
        elif part != ".":
            done = here
    return links, done or "/"


def is_below_any(path: str, folders: Iterable[str]) -> bool:
    """Whether a path is one of these, or below one."""
    return any(path == folder or path.startswith(f"{folder}/") for folder in folders)


def _have_common(path: str, others: Iterable[str]) -> bool:
    """Whether a path is, lies below or holds any of the others."""
    return any(is_below_any(path, [other]) or is_below_any(other, [path]) for other in others)


def _outermost(paths: Iterable[str]) -> list[str]:
    """Paths of which none lies below another."""
    kept: list[str] = []
    for path in sorted(paths, key=lambda each: each.rstrip("/") + "/"):
        if not is_below_any(path, kept[-1:]):
            kept.append(path)
    return kept
