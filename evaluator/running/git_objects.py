"""What git says of a stranger's commit, asked in a repository of our own that has nothing of theirs but the objects.

A repository's configuration names programs that git runs: file system monitors, filters, pagers, hooks, helpers for
credentials. Here git sees an empty configuration, no index, no hooks, and a working tree that holds the commit's own
.gitignore and .gitattributes and nothing else. The commands that are used start no other program and get no network,
and each of them is ended when the time is up, or when it says too much.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

COMMAND_SECONDS = 20.0  # of one command, which a pipe in the place of an object would hold for good
LISTED_BYTES = 64 << 20  # of one answer
MEMORY_BYTES = 4 << 30
RULES_BYTES = 1 << 20  # of a .gitignore or .gitattributes
RULES = (b".gitignore", b".gitattributes")
UNSAFE = (b"", b".", b"..", b".git")

CONFIGURATION = """\
[core]
    repositoryFormatVersion = 1
    bare = false
    commitGraph = false
    multiPackIndex = false
    packedGitWindowSize = 32m
    packedGitLimit = 512m
    ignoreCase = {ignore_case}
[extensions]
    objectFormat = {object_format}
[protocol]
    allow = never
"""


class UnknownError(Exception):
    """Git cannot say; there is none, the objects are not there, or it takes too long."""


@dataclass(frozen=True)
class Blob:
    """A file of a commit: its mode, the hash of its content and, where the object is there, its size in bytes."""

    mode: bytes
    object_id: bytes
    size: int | None


class GitObjects:
    """The commit `commit` of the repository at `top`, whose objects are in the folder `objects`.

    Every method raises UnknownError. Paths are bytes, with "/", from the top of the repository.
    """

    def __init__(self, folder: Path, top: Path, objects: Path, commit: str, deadline: float) -> None:
        self._program = _program(top)
        self._commit = commit
        self._deadline = deadline
        self._shadow = folder / "tree"
        self._repository = folder / "git"
        self._environment = _environment(folder, self._repository, self._shadow)
        self._make(objects, "sha1" if len(commit) == 40 else "sha256")

    def _make(self, objects: Path, object_format: str) -> None:
        for name in ("objects/info", "refs", "home"):
            (self._repository / name).mkdir(parents=True)
        self._shadow.mkdir()
        (self._repository / "HEAD").write_bytes(b"ref: refs/heads/none\n")
        ignore_case = "true" if sys.platform in ("darwin", "win32") else "false"
        text = CONFIGURATION.format(object_format=object_format, ignore_case=ignore_case)
        (self._repository / "config").write_text(text)
        path = _quoted(os.fsencode(objects.absolute()))
        (self._repository / "objects" / "info" / "alternates").write_bytes(path + b"\n")

    def files(self) -> dict[bytes, Blob]:
        """Every file of the commit, links and submodules included, by its path."""
        found = {}
        for entry in self._run("ls-tree", "-r", "-l", "-z", "--full-tree", self._commit).split(b"\0")[:-1]:
            described, _, path = entry.partition(b"\t")
            mode, _, object_id, size = described.split()
            if any(part in UNSAFE for part in path.lower().split(b"/")):
                raise UnknownError("the commit has a file that no working tree can have")
            found[path] = Blob(mode, object_id, int(size) if size.isdigit() else None)
        return found

    def contents(self, blobs: Collection[Blob], most_bytes: int) -> dict[bytes, bytes]:
        """The contents, by object id, of those blobs that are not larger than that."""
        small = {blob.object_id for blob in blobs if blob.size is not None and blob.size <= most_bytes}
        answer = (
            self._run("cat-file", "--batch", given=b"".join(each + b"\n" for each in small)) if small else b""
        )
        found = {}
        while answer:
            head, _, answer = answer.partition(b"\n")
            if len(fields := head.split()) != 3:
                raise UnknownError("an object is missing")
            size = int(fields[2])
            found[fields[0]] = answer[:size]
            answer = answer[size + 1 :]
        return found

    def lay_out_rules(self, files: Mapping[bytes, Blob]) -> None:
        """Put the commit's .gitignore and .gitattributes where `ignored` and `attributes` find them."""
        rules = {path: blob for path, blob in files.items() if path.split(b"/")[-1] in RULES}
        rules = {path: blob for path, blob in rules.items() if blob.mode.startswith(b"100")}
        contents = self.contents(rules.values(), RULES_BYTES)
        for path, blob in rules.items():
            if (content := contents.get(blob.object_id)) is None:
                raise UnknownError(f"{os.fsdecode(path)} is too large, or its object is not there")
            if time.monotonic() > self._deadline:
                raise UnknownError("too many files")
            target = self._shadow / os.fsdecode(path)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)

    def ignored(self, paths: Iterable[bytes]) -> set[bytes]:
        """Those of the paths that the commit's rules ignore, or the user's own."""
        given = b"".join(b"./" + path + b"\0" for path in paths)  # for names that begin with ":"
        own = f"core.excludesFile={self._own_excludes()}"
        answer = self._run(
            "-c", own, "check-ignore", "--no-index", "--stdin", "-z", given=given, codes=(0, 1)
        )
        return {path.removeprefix(b"./") for path in answer.split(b"\0")[:-1]}

    def _own_excludes(self) -> str:
        """The file of what the user who runs us never wants to see, in any repository."""
        home = {name: os.environ[name] for name in ("HOME", "XDG_CONFIG_HOME") if name in os.environ}
        home |= (
            {"GIT_CONFIG_GLOBAL": os.environ["GIT_CONFIG_GLOBAL"]}
            if "GIT_CONFIG_GLOBAL" in os.environ
            else {}
        )
        environment = {
            name: value for name, value in self._environment.items() if name != "GIT_CONFIG_GLOBAL"
        } | home
        words = ("config", "--global", "--type=path", "--get", "core.excludesFile")
        with suppress(UnknownError):
            named = self._run(*words, codes=(0, 1), environment=environment)
            if named:
                return os.fsdecode(named.rstrip(b"\n"))
        folder = home.get("XDG_CONFIG_HOME") or os.path.join(home.get("HOME", os.sep), ".config")
        return os.path.join(folder, "git", "ignore")

    def has_line_ends(self, paths: Iterable[bytes]) -> set[bytes]:
        """Those of the paths whose line ends git converts by the commit's attributes."""
        given = b"".join(path + b"\0" for path in paths)
        answer = self._run("check-attr", "--stdin", "-z", "text", "eol", given=given).split(b"\0")[:-1]
        found: dict[bytes, dict[bytes, bytes]] = {}
        for path, name, value in zip(answer[::3], answer[1::3], answer[2::3], strict=True):
            found.setdefault(path, {})[name] = value
        return {path for path, values in found.items() if _converts(values[b"text"], values[b"eol"])}

    def says(self, configuration: bytes, key: str, usual: bool) -> bool:
        """A yes or no of a configuration file, of which nothing but this is read."""
        words = ("config", "--file", "-", "--no-includes", "--type=bool", "--get", key)
        try:
            answer = self._run(*words, given=configuration, codes=(0, 1))
        except UnknownError:  # not one that git can read
            return usual
        return {b"true": True, b"false": False}.get(answer.strip(), usual)

    def _run(
        self,
        *words: str,
        given: bytes = b"",
        codes: Sequence[int] = (0,),
        environment: Mapping[str, str] | None = None,
    ) -> bytes:
        """What a git command prints; UnknownError for another exit code than `codes`."""
        with tempfile.TemporaryFile() as question:  # no pipe: git may answer before it has read everything
            question.write(given)
            question.seek(0)
            process = subprocess.Popen(
                [self._program, "--no-pager", *words],
                cwd=self._shadow,
                env=environment or self._environment,
                stdin=question,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
        assert process.stdout is not None
        with _ended_in_time(process, min(self._deadline, time.monotonic() + COMMAND_SECONDS)):
            answer = process.stdout.read(LISTED_BYTES + 1)
            code = None if len(answer) > LISTED_BYTES else process.wait()
        if code not in codes:
            raise UnknownError(f"git {words[0]} gave no answer")
        return answer


@contextmanager
def _ended_in_time(process: "subprocess.Popen[bytes]", deadline: float) -> Iterator[None]:
    """Whatever happens, the process is gone at the end, and at the deadline at the latest."""
    _cap_memory(process.pid)
    timer = threading.Timer(max(0.0, deadline - time.monotonic()), _kill, [process])
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        if process.poll() is None:
            _kill(process)
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _kill(process: "subprocess.Popen[bytes]") -> None:
    with suppress(ProcessLookupError, PermissionError):
        if sys.platform == "win32":
            process.kill()
        else:
            os.killpg(process.pid, signal.SIGKILL)


def _cap_memory(pid: int) -> None:
    """Objects say how large they are, and may lie."""
    if sys.platform.startswith("linux"):
        import resource

        with suppress(OSError):
            resource.prlimit(pid, resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))


def _program(top: Path) -> str:
    """The full path of git, which is none of the repository's own files; UnknownError if there is none."""
    folders = [
        folder for folder in os.environ.get("PATH", os.defpath).split(os.pathsep) if os.path.isabs(folder)
    ]
    outside = [folder for folder in folders if not Path(folder).resolve().is_relative_to(top)]
    found = shutil.which("git", path=os.pathsep.join(outside) or os.devnull)
    if found is None or not os.path.isabs(found):
        raise UnknownError("git is not installed")
    return found


def _environment(folder: Path, repository: Path, tree: Path) -> dict[str, str]:
    """Ours without anything that is for git, and what keeps git from reading or asking anything else."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    home = str(folder / "git" / "home")
    return {
        **ours,
        "HOME": home,
        "XDG_CONFIG_HOME": home,
        "LC_ALL": "C",
        "GIT_DIR": str(repository),
        "GIT_WORK_TREE": str(tree),
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_TERMINAL_PROMPT": "0",
    }


def _quoted(path: bytes) -> bytes:
    """A path as objects/info/alternates takes any: in quotes, as a string of C."""
    return (
        b'"'
        + b"".join(bytes([c]) if 0x20 <= c < 0x7F and c not in b'"\\' else b"\\%03o" % c for c in path)
        + b'"'
    )


def _converts(text: bytes, eol: bytes) -> bool:
    """Whether git converts line ends where the attributes "text" and "eol" have these values (gitattributes(5))."""
    return text in (b"set", b"auto") or (
        text == b"unspecified" and (eol in (b"lf", b"crlf") or sys.platform == "win32")
    )
