"""What we ask of git, in one place. Nothing that leaves this module holds a token of a remote's address."""

import os
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TextIO

SECONDS = 120  # for any question; pushes and checkouts have no limit
LFS_POINTER = b"version https://git-lfs.github.com/spec/v1\n"
LFS_POINTER_BYTES = 1024  # a pointer is shorter than this, by its specification
SUBMISSION_PREFIX = "submission-"


class GitError(Exception):
    """A git command failed; the message holds the command and what git said, without tokens."""


def without_secrets(text: str) -> str:
    """`text` with the user part of every web address in it, where tokens stand, masked."""
    return re.sub(r"(?<=://)[^/@\s]+@", "***@", text)


def _lines(stream: IO[bytes]) -> Iterator[str]:
    """Lines as they come; a line of progress, which the next one overwrites, ends in \\r."""
    line = bytearray()
    while character := stream.read(1):
        line += character
        if character in b"\r\n":
            yield line.decode(errors="replace")
            line.clear()
    yield line.decode(errors="replace")


@dataclass(frozen=True)
class Remote:
    """A remote as pushed to. `url` may hold a token; print `shown`."""

    name: str
    url: str

    @property
    def shown(self) -> str:
        """The address without tokens."""
        return without_secrets(self.url)

    @property
    def web_page(self) -> str | None:
        """The repository's page on the server, or None for a remote that is a folder."""
        match = re.fullmatch(r"(?:https?|ssh)://(?:[^/@]+@)?([^/:]+)(?::\d+)?/(.+?)(?:\.git)?/?", self.url)
        match = match or re.fullmatch(r"(?:[^/@:]+@)([^/:]+):(.+?)(?:\.git)?/?", self.url)
        return f"https://{match[1]}/{match[2]}" if match else None


@dataclass(frozen=True)
class Blob:
    """A file of a commit; `bytes` as git stores it, so those of the pointer for a file in git-lfs."""

    path: str
    object_id: str
    bytes: int


@dataclass(frozen=True)
class Repository:
    """A git repository on disk, by its top folder. Every method raises GitError if git fails."""

    root: Path

    def run(
        self,
        *arguments: str,
        given: bytes | None = None,
        environment: Mapping[str, str] | None = None,
        timeout_seconds: float | None = SECONDS,
    ) -> bytes:
        """Standard output of a git command; `given` is its standard input, which is empty otherwise."""
        command = ["git", "-C", str(self.root), *arguments]
        try:
            result = subprocess.run(
                command,
                input=given or b"",
                capture_output=True,
                check=False,
                timeout=timeout_seconds,
                env={**os.environ, **(environment or {})},
            )
        except FileNotFoundError:
            raise GitError("git is not installed, or not on the PATH") from None
        except subprocess.TimeoutExpired:
            raise GitError(f"git {arguments[0]} took more than {timeout_seconds} s") from None
        if result.returncode != 0:
            said = (result.stderr or result.stdout).decode(errors="replace").strip()
            raise GitError(without_secrets(f"git {arguments[0]} failed: {said or result.returncode}"))
        return result.stdout

    def show(self, *arguments: str, output: TextIO) -> None:
        """Run a long git command and show what it says, without tokens, on `output` as it comes."""
        process = subprocess.Popen(
            ["git", "-C", str(self.root), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **({"GIT_LFS_FORCE_PROGRESS": "1"} if output.isatty() else {})},
        )
        assert process.stdout is not None
        said = ""
        try:
            for line in _lines(process.stdout):
                print(without_secrets(line), end="", file=output, flush=True)
                said = line.strip() or said
        except BaseException:
            process.terminate()
            raise
        finally:
            process.stdout.close()
            code = process.wait()
        if code != 0:
            raise GitError(without_secrets(f"git {arguments[0]} failed: {said or code}"))

    def text(self, *arguments: str) -> str:
        """Standard output of a git command as text, without white space around it."""
        return self.run(*arguments).decode(errors="replace").strip()

    def succeeds(self, *arguments: str) -> bool:
        """Whether a git command ends with code 0."""
        try:
            self.run(*arguments)
        except GitError:
            return False
        return True

    def head(self) -> str:
        """The commit that is checked out."""
        return self.text("rev-parse", "--verify", "HEAD^{commit}")

    def branch(self) -> str | None:
        """The branch that is checked out, or None if HEAD is detached."""
        try:
            return self.text("symbolic-ref", "--quiet", "--short", "HEAD")
        except GitError:
            return None

    def changes(self) -> tuple[str, ...]:
        """What differs from the commit, untracked files included, as `git status` lists it."""
        listed = self.run("status", "--porcelain=v1", "-z", "--untracked-files=all")
        entries = listed.decode(errors="replace").split("\0")
        return tuple(entry for entry in entries if entry)

    def remote(self, name: str) -> Remote | None:
        """The remote of that name with the address that pushes go to, or None."""
        if name not in self.text("remote").splitlines():
            return None
        return Remote(name, self.text("remote", "get-url", "--push", name))

    def remote_refs(self, remote: Remote) -> dict[str, str]:
        """Object ids of the remote's branches and tags by full name; an annotated tag counts as its commit."""
        listed = self.run("ls-remote", "--heads", "--tags", remote.url).decode()
        pairs = [line.split("\t") for line in listed.splitlines()]
        refs = {name: object_id for object_id, name in pairs if not name.endswith("^{}")}
        peeled = {name.removesuffix("^{}"): object_id for object_id, name in pairs if name.endswith("^{}")}
        return refs | peeled

    def tags(self) -> dict[str, str]:
        """Commits of our own tags by full name."""
        form = "%(refname)%09%(objectname)%09%(*objectname)"
        lines = self.text("for-each-ref", f"--format={form}", "refs/tags").splitlines()
        fields = [line.split("\t") for line in lines]
        return {name: (peeled[0] if peeled and peeled[0] else own) for name, own, *peeled in fields}

    def has_commit(self, object_id: str) -> bool:
        """Whether we have this commit."""
        return self.succeeds("cat-file", "-e", f"{object_id}^{{commit}}")

    def is_ancestor(self, earlier: str, later: str) -> bool:
        """Whether `earlier` is among the ancestors of `later`, or the same."""
        return self.succeeds("merge-base", "--is-ancestor", earlier, later)

    def files(self, commit: str) -> tuple[Blob, ...]:
        """The files of a commit."""
        listed = self.run("ls-tree", "-r", "-z", "--long", commit).decode(errors="surrogateescape")
        blobs = []
        for entry in listed.split("\0"):
            described, _, path = entry.partition("\t")
            if path and described.split()[1] == "blob":
                _, _, object_id, size = described.split()
                blobs.append(Blob(path, object_id, int(size)))
        return tuple(blobs)

    def new_objects(self, commit: str, known: tuple[str, ...]) -> tuple[Blob, ...]:
        """Every object a push of `commit` sends to where the commits `known` are; not its size when packed."""
        listed = self.run("rev-list", "--objects", commit, *(f"^{object_id}" for object_id in known))
        form = "--batch-check=%(objectname) %(objectsize) %(rest)"
        sized = self.run("cat-file", form, given=listed).decode(errors="surrogateescape")
        fields = [line.split(" ", 2) for line in sized.splitlines()]
        return tuple(Blob(path, object_id, int(size)) for object_id, size, path in fields)

    def packed_bytes(self, commit: str, known: tuple[str, ...]) -> int:
        """Bytes on disk of what `new_objects` lists."""
        excluded = [f"^{object_id}" for object_id in known]
        return int(self.text("rev-list", "--objects", "--disk-usage", commit, *excluded))

    def lfs_bytes(self, blobs: Sequence[Blob]) -> dict[str, int]:
        """By object id, for those of `blobs` that are pointers of git-lfs: the size of the file they stand for."""
        small = [blob.object_id for blob in blobs if blob.bytes <= LFS_POINTER_BYTES]
        answer = self.run("cat-file", "--batch", given="\n".join(small).encode())
        sizes: dict[str, int] = {}
        while answer:
            header, _, answer = answer.partition(b"\n")
            object_id, _, length = header.decode().split(" ")
            content, answer = answer[: int(length)], answer[int(length) + 1 :]
            if content.startswith(LFS_POINTER):
                fields = dict(line.split(" ", 1) for line in content.decode().splitlines() if " " in line)
                sizes[object_id] = int(fields["size"])
        return sizes

    def has_lfs(self) -> bool:
        """Whether git-lfs is installed."""
        return self.succeeds("lfs", "version")

    def has_lfs_filter(self) -> bool:
        """Whether this repository uses git-lfs for the files whose attributes ask for it."""
        return self.succeeds("config", "--get", "filter.lfs.process")

    def check_out(self, commit: str, folder: Path) -> None:
        """Write the files of a commit into an empty folder, those of git-lfs in full; index and HEAD stay."""
        index = {"GIT_INDEX_FILE": str(folder.with_name(f"{folder.name}.index"))}
        self.run("read-tree", commit, environment=index, timeout_seconds=None)
        try:
            self.run(
                "checkout-index", "--all", f"--prefix={folder}/", environment=index, timeout_seconds=None
            )
        finally:
            Path(index["GIT_INDEX_FILE"]).unlink(missing_ok=True)
