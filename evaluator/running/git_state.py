"""Which commit a folder is at, and whether it differs: read without running anything that its repository says.

Whoever asks git about a stranger's folder runs the programs that its configuration names. So the commit is read here,
from the few text files that name it (gitrepository-layout(5)); git only lists what that commit holds, in a repository
of ours (`git_objects`); and the files are compared here, content by content. The index is not looked at: it has times
and flags by which git takes a changed file for an unchanged one.

As in git, two conversions are no change: line ends where the commit's own attributes ask for it, and git-lfs, where
the commit has the pointer to what lies there. Neither are files that are not in the commit, if its .gitignore files
name them, or the user's own excludes; what only .git/info/exclude names, or a .gitignore that is not in the commit,
is one. But the folders of tools, such as .pytest_cache, may ignore themselves.
"""

import hashlib
import os
import re
import stat
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from evaluator import regular_files
from evaluator.running.git_objects import Blob, GitObjects, UnknownError

SECONDS = 60.0  # for everything; what takes longer is not known
LINE_BYTES = 4096  # of a file that names something
PACKED_REFS_BYTES = 64 << 20
CONFIGURATION_BYTES = 1 << 20
MOST_ENTRIES = 1_000_000  # of a folder and all that is below it
SYMBOLIC_DEPTH = 5
SUBMODULE_DEPTH = 5
POINTER_BYTES = 1024  # the pointer of git-lfs is shorter, by its specification
LINE_END_BYTES = 64 << 20  # of a file whose line ends are compared
BLOCK_BYTES = 1 << 20

OBJECT_ID = re.compile(rb"[0-9a-f]{40}|[0-9a-f]{64}")
NO_PART_OF_A_REFERENCE = re.compile(rb"[\x00-\x20\x7f~^:?*\[\\]|\.\.|@\{|^\.|\.lock$|^$")
OF_ONE_WORKTREE = (b"refs/bisect/", b"refs/worktree/", b"refs/rewritten/")
POINTER = re.compile(
    rb"version https://git-lfs\.github\.com/spec/v1\n(?:ext-.*\n)*oid sha256:([0-9a-f]{64})\nsize (\d{1,18})\n"
)
LINK, SUBMODULE, PROGRAM = b"120000", b"160000", b"100755"

Comparison = Literal["same", "other content", "changed"]


@dataclass(frozen=True)
class GitState:
    """The commit that is checked out; whether the folder differs from it, or None where that is not known.

    unknown: why one of the two is not known although there is a repository, in words.
    """

    commit: str | None = None
    dirty: bool | None = None
    unknown: str | None = field(default=None, compare=False)


def read(path: Path) -> GitState:
    """The state of the folder `path`, which may be any part of a repository; outside of one, nothing is known.

    Neither is it of bare repositories, and of those whose references are in the "reftable" format.
    """
    return _read(path.resolve(), time.monotonic() + SECONDS, depth=0)


def _read(path: Path, deadline: float, depth: int) -> GitState:
    """`depth` above 0: of a submodule, whose top folder `path` is."""
    commit = None
    try:
        repository = _find(path, above=depth == 0)
        if repository is None:
            return GitState()
        commit = _commit(repository)
        if commit is None:
            return GitState(unknown=_why_there_is_no_commit(repository))
        return GitState(commit, _differs(repository, commit, path, deadline, depth))
    except (UnknownError, OSError) as error:
        return GitState(commit, unknown=str(error))


# Finding the repository, and the commit


@dataclass(frozen=True)
class _Repository:
    """A working tree from its folder `top` on: where its HEAD is, and where what it shares with others."""

    top: Path
    own: Path
    common: Path


def _find(path: Path, above: bool) -> _Repository | None:
    """The repository that `path` is in, or with `above` any folder above it, as git finds it."""
    for top in (path, *path.parents) if above else (path,):
        entry = top / ".git"
        if os.path.lexists(entry):
            own = entry if entry.is_dir() else _folder_named_in(entry, b"gitdir: ")
            common = None if own is None else _common(own)
            if own is not None and common is not None:
                return _Repository(top, own, common)
            if not entry.is_dir():
                return None
    return None


def _common(own: Path) -> Path | None:
    """What the repository whose folder is `own` shares with its other working trees; None if it is none."""
    common = _folder_named_in(own / "commondir") if os.path.lexists(own / "commondir") else own
    return (
        common
        if common is not None and all((common / name).is_dir() for name in ("objects", "refs"))
        else None
    )


def _folder_named_in(file: Path, start: bytes = b"") -> Path | None:
    """The folder that the one line of a file names, relative to where it is."""
    line = (_content(file, LINE_BYTES) or b"").rstrip(b"\r\n")
    name = line.removeprefix(start)
    if not line.startswith(start) or not name or b"\n" in name or b"\0" in name:
        return None
    folder = file.parent / os.fsdecode(name)
    return folder if folder.is_dir() else None


def _content(file: Path, most_bytes: int) -> bytes | None:
    """What a file of the repository holds; None if it is not there, is a link, a pipe or the like, or too large."""
    with suppress(OSError):
        return regular_files.read(file, most_bytes, links=False)
    return None


def _commit(repository: _Repository) -> str | None:
    """The commit that is checked out; None before the first one, or if HEAD makes no sense."""
    said = _content(repository.own / "HEAD", LINE_BYTES)
    for _ in range(SYMBOLIC_DEPTH):
        said = (said or b"").strip()
        if OBJECT_ID.fullmatch(said):
            return said.decode()
        name = said.removeprefix(b"ref:").lstrip()
        if not said.startswith(b"ref:") or not _is_reference(name):
            return None
        said = _reference(repository, name)
    return None


def _why_there_is_no_commit(repository: _Repository) -> str:
    if (repository.common / "reftable").is_dir():
        return 'its references are in the "reftable" format, which is not read here'
    return "its HEAD names no commit"


def _is_reference(name: bytes) -> bool:
    """Whether git allows the name (git-check-ref-format(1)), so that it leads nowhere else."""
    return name.startswith(b"refs/") and not any(map(NO_PART_OF_A_REFERENCE.search, name.split(b"/")))


def _reference(repository: _Repository, name: bytes) -> bytes | None:
    """What a reference says, loose or packed; no part of the way to it may be a link."""
    at = repository.own if name.startswith(OF_ONE_WORKTREE) else repository.common
    *parents, last = map(os.fsdecode, name.split(b"/"))
    for part in parents:
        at /= part
        if at.is_symlink():
            return None
    loose = _content(at / last, LINE_BYTES)
    if loose is not None:
        return loose
    packed = _content(repository.common / "packed-refs", PACKED_REFS_BYTES) or b""
    match = re.search(rb"^([0-9a-f]{40}|[0-9a-f]{64}) " + re.escape(name) + rb"\r?$", packed, re.MULTILINE)
    return None if match is None else match[1]


# Comparing


def _differs(repository: _Repository, commit: str, path: Path, deadline: float, depth: int) -> bool:
    """Whether anything in `path` differs from the commit; UnknownError if that cannot be told."""
    with tempfile.TemporaryDirectory(prefix="sdx-git-") as folder:
        git = GitObjects(Path(folder), repository.top, repository.common / "objects", commit, deadline)
        tree = _Tree(repository.top, path, git.files(), deadline)
        if not tree.files:  # a folder that the repository around it does not know
            return True
        git.lay_out_rules(tree.all_files)
        strays = tree.strays()
        if strays and git.ignored(strays) != set(strays):
            return True
        configuration = _content(repository.common / "config", CONFIGURATION_BYTES) or b""
        has_modes = os.name != "nt" and git.says(configuration, "core.fileMode", usual=True)
        others = {}
        for name, blob in tree.files.items():
            if blob.mode == SUBMODULE:
                if _is_submodule_changed(tree.path_of(name), blob, deadline, depth):
                    return True
            elif (found := tree.compare(name, blob, has_modes)) == "changed":
                return True
            elif found == "other content":
                others[name] = blob
        return not all(_is_converted(tree, git, others))


@dataclass(frozen=True)
class _Tree:
    """The part of a working tree at and below `path`, beside the files of its commit."""

    top: Path
    path: Path
    all_files: Mapping[bytes, Blob]  # of the whole repository, by their path from `top`
    deadline: float

    @property
    def start(self) -> bytes:
        """What the paths of all files in `path` begin with."""
        below = self.path.relative_to(self.top).as_posix()
        return b"" if below == "." else os.fsencode(below) + b"/"

    @property
    def files(self) -> dict[bytes, Blob]:
        """Those of the commit's files that belong into `path`."""
        start = self.start
        return {name: blob for name, blob in self.all_files.items() if name.startswith(start)}

    def path_of(self, name: bytes) -> Path:
        """Where a file of the commit belongs."""
        return self.top / os.fsdecode(name)

    def strays(self) -> list[bytes]:
        """Files and links in `path` that the commit does not have."""
        files, found = self.files, []
        known = {name[:end] for name in files for end in _ends_of_folders(name)}
        folders, number = [self.start], 0
        while folders:
            folder = folders.pop()
            with os.scandir(self.path_of(folder)) as entries:
                for entry in entries:
                    number += 1
                    if number > MOST_ENTRIES or time.monotonic() > self.deadline:
                        raise UnknownError("too many files")
                    name = folder + os.fsencode(entry.name)
                    if entry.name == ".git" or (name in files and files[name].mode == SUBMODULE):
                        continue
                    if entry.is_dir(follow_symlinks=False):
                        if name + b"/" in known or not _ignores_itself(Path(entry.path)):
                            folders.append(name + b"/")
                    elif name not in files and (entry.is_file(follow_symlinks=False) or entry.is_symlink()):
                        found.append(name)
        return found

    def compare(self, name: bytes, blob: Blob, has_modes: bool) -> Comparison:
        """A file of the commit with what lies there; its mode counts where the file system has any."""
        path = self.path_of(name)
        if self._is_behind_a_link(path):
            return "changed"
        try:
            status = path.lstat()
        except OSError:
            return "changed"
        if stat.S_ISLNK(status.st_mode):
            target = os.fsencode(os.readlink(path))
            return "same" if blob.mode == LINK and _object_id(blob, [target], len(target)) else "changed"
        if not stat.S_ISREG(status.st_mode) or (blob.mode == LINK and os.name != "nt"):
            return "changed"
        if has_modes and bool(status.st_mode & stat.S_IXUSR) != (blob.mode == PROGRAM):
            return "changed"
        if blob.size not in (None, status.st_size):
            return "other content"
        same = _object_id(blob, self.blocks(path), status.st_size)
        return "same" if same else "other content"

    def blocks(self, path: Path) -> Iterator[bytes]:
        """The content of a file that is no link; UnknownError once the time is up."""
        with regular_files.opened(path, links=False) as file:
            while block := file.read(BLOCK_BYTES):
                if time.monotonic() > self.deadline:
                    raise UnknownError("too much to read")
                yield block

    def _is_behind_a_link(self, path: Path) -> bool:
        """Whether a folder on the way from the top is a link, or is not there."""
        folders = [
            folder for folder in path.parents if folder.is_relative_to(self.top) and folder != self.top
        ]
        return any(folder.is_symlink() for folder in folders)


def _ends_of_folders(name: bytes) -> Iterator[int]:
    """Where the folders on the way to a file end, with their "/"."""
    at = name.find(b"/")
    while at >= 0:
        yield at + 1
        at = name.find(b"/", at + 1)


def _ignores_itself(folder: Path) -> bool:
    """Whether it is a folder such as tools make for themselves, .pytest_cache: no import finds one with a dot."""
    return (
        folder.name.startswith(".") and b"*" in (_content(folder / ".gitignore", LINE_BYTES) or b"").split()
    )


def _object_id(blob: Blob, content: "Iterator[bytes] | list[bytes]", size: int) -> bool:
    """Whether content of this size has the blob's hash (git-hash-object(1))."""
    digest = hashlib.sha1(usedforsecurity=False) if len(blob.object_id) == 40 else hashlib.sha256()
    digest.update(b"blob %d\0" % size)
    for block in content:
        digest.update(block)
    return digest.hexdigest().encode() == blob.object_id


def _is_submodule_changed(path: Path, blob: Blob, deadline: float, depth: int) -> bool:
    """Whether a submodule is at another commit, or differs from its own; where it was not fetched, it does not."""
    if path.is_symlink() or not path.is_dir():
        return True
    if not os.path.lexists(path / ".git"):
        return any(path.iterdir())
    if depth >= SUBMODULE_DEPTH:
        raise UnknownError("submodules in submodules without end")
    state = _read(path, deadline, depth + 1)
    if state.commit is not None and state.commit.encode() == blob.object_id and state.dirty is None:
        raise UnknownError("a submodule's state is not known")
    return state.commit is None or state.commit.encode() != blob.object_id or bool(state.dirty)


def _is_converted(tree: _Tree, git: GitObjects, files: Mapping[bytes, Blob]) -> Iterator[bool]:
    """For each file with other content than the commit's: whether it is what git makes of that content."""
    pointers = git.contents(files.values(), POINTER_BYTES)
    converted = git.has_line_ends(files) if files else set()
    for name, blob in files.items():
        path = tree.path_of(name)
        pointer = POINTER.fullmatch(pointers.get(blob.object_id, b""))
        if pointer is not None:
            yield path.lstat().st_size == int(pointer[2]) and _sha256(tree.blocks(path)) == pointer[1]
        elif name in converted and path.lstat().st_size <= LINE_END_BYTES:
            content = b"".join(tree.blocks(path)).replace(b"\r\n", b"\n")
            yield b"\0" not in content and _object_id(blob, [content], len(content))
        else:
            yield False


def _sha256(content: Iterator[bytes]) -> bytes:
    digest = hashlib.sha256()
    for block in content:
        digest.update(block)
    return digest.hexdigest().encode()
