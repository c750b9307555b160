"""Commit and dirty state of a folder are true in all that git knows."""

import os
import shutil
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

from evaluator.running import git_state
from evaluator.running.git_state import GitState
from tests.evaluator.running.git_repositories import CODE, commit, git, make, write

pytestmark = pytest.mark.usefixtures("nobodys_configuration")

POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:{hash}\nsize {size}\n"


def emptied(path: Path) -> Path:
    """The path, with nothing there any more."""
    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)
    return path


def link(path: Path, target: str) -> None:
    emptied(path).symlink_to(target)


@pytest.mark.thorough
def test_every_kind_of_change_is_one(tmp_path: Path) -> None:
    repository = make(tmp_path / "repository", link="", **{".gitignore": "*.log\n/data/\n", "a/b.py": "b\n"})
    link(repository / "link", "a")
    head = commit(repository)
    kept = tmp_path / "kept"
    shutil.copytree(repository, kept, symlinks=True)

    def clean() -> bool | None:
        found = git_state.read(repository)
        assert found.commit == head
        assert (git(repository, "status", "--porcelain") == "") == (found.dirty is False)
        return found.dirty

    assert clean() is False
    changes: list[Callable[[], object]] = [
        lambda: write(repository / CODE, "x = 2\n"),
        lambda: write(repository / CODE, "x = 1\r\n"),
        lambda: write(repository / CODE, "x = 1\n\n"),
        lambda: (repository / CODE).rename(tmp_path / "moved"),
        lambda: git(repository, "mv", CODE, "moved.py"),
        lambda: os.chmod(repository / CODE, 0o755),
        lambda: write(repository / "new.py", ""),
        lambda: write(repository / "a" / "new" / "file", ""),
        lambda: link(repository / "new", "/"),
        lambda: link(repository / "link", "b"),
        lambda: write(emptied(repository / "link"), "a"),
        lambda: write(emptied(repository / "a"), ""),
        lambda: os.mkdir(emptied(repository / CODE)),
        lambda: write(repository / ".gitignore", "*\n"),
        lambda: make(repository / "inner"),
    ]
    for change in changes:
        change()
        assert clean() is True
        shutil.rmtree(repository)
        shutil.copytree(kept, repository, symlinks=True)
    write(repository / "x.log", "")
    write(repository / "data" / "big.bin", "")
    write(repository / "data" / ".gitignore", "nothing\n")
    write(repository / ".pytest_cache" / ".gitignore", "# made by a tool\n*\n")
    write(repository / ".pytest_cache" / "v" / "cache", "")
    (repository / "empty").mkdir()
    os.utime(repository / CODE, (1, 1))
    assert clean() is False


def test_what_git_converts_is_no_change(tmp_path: Path) -> None:
    attributes = "* text=auto\n*.bat eol=crlf\n*.bin -text\n"
    files = {".gitattributes": attributes, "a.txt": "1\n2\n", "a.bat": "1\n", "a.bin": "1\n"}
    repository = make(tmp_path / "repository", **files)
    for name in ("a.txt", "a.bat"):
        write(repository / name, files[name].replace("\n", "\r\n"))
        (repository / ".git" / "index").unlink()  # by whose sizes git would first take it for changed
        git(repository, "reset", "--quiet")
        assert git(repository, "status", "--porcelain") == ""
        assert git_state.read(repository).dirty is False
    write(repository / "a.bin", "1\r\n")
    assert git_state.read(repository).dirty is True


def test_the_file_for_a_pointer_of_git_lfs_is_no_change(tmp_path: Path) -> None:
    content = os.urandom(300_000)
    pointer = POINTER.format(hash=sha256(content).hexdigest(), size=len(content))
    repository = make(tmp_path / "repository", **{"weights.th": pointer})
    assert git_state.read(repository).dirty is False  # not fetched
    write(repository / "weights.th", content)
    assert git_state.read(repository).dirty is False
    for other in (content[:-1], content[:-1] + bytes([content[-1] ^ 1]), b"", pointer.encode() + b"\n"):
        write(repository / "weights.th", other)
        assert git_state.read(repository).dirty is True


@pytest.mark.thorough
@pytest.mark.skipif(shutil.which("git-lfs") is None, reason="git-lfs is not installed")
def test_a_working_tree_of_git_lfs_itself(tmp_path: Path) -> None:
    repository = make(tmp_path / "repository")
    git(repository, "lfs", "install", "--local")
    git(repository, "lfs", "track", "*.th")
    write(repository / "weights.th", b"weights" * 1000)
    head = commit(repository)
    assert git(repository, "cat-file", "blob", "HEAD:weights.th").startswith("version https://git-lfs")
    assert git_state.read(repository) == GitState(head, False)
    write(repository / "weights.th", b"WEIGHTS" * 1000)
    assert git_state.read(repository) == GitState(head, True)


def test_modes_count_where_the_file_system_has_them(tmp_path: Path) -> None:
    repository = make(tmp_path / "repository")
    (repository / CODE).chmod(0o755)
    assert git_state.read(repository).dirty is True
    git(repository, "config", "core.fileMode", "false")
    assert git_state.read(repository).dirty is False


def test_the_users_own_excludes_hold(tmp_path: Path) -> None:
    repository = make(tmp_path / "repository")
    write(repository / ".DS_Store", "")
    write(repository / "x.swp", "")
    assert git_state.read(repository).dirty is True
    write(Path(os.environ["XDG_CONFIG_HOME"]) / "git" / "ignore", ".DS_Store\n*.swp\n")
    assert git_state.read(repository).dirty is False
    write(Path.home() / "mine", "*.swp\n")
    git(tmp_path, "config", "--global", "core.excludesFile", "~/mine")
    assert git_state.read(repository).dirty is True
    (repository / ".DS_Store").unlink()
    assert git_state.read(repository).dirty is False


@pytest.mark.thorough
def test_odd_names(tmp_path: Path) -> None:
    names = (":(top)x", "*.py", "a b", 'q"q', "back\\slash", "é", "new\nline", "-x", "[a]")
    repository = make(tmp_path / "repository", **dict.fromkeys(names, "1\n"))
    (repository / os.fsdecode(b"\xff")).write_text("1\n")
    commit(repository)
    assert git_state.read(repository).dirty is False
    for name in (*names, os.fsdecode(b"\xff")):
        write(repository / name, "2\n")
        assert git_state.read(repository).dirty is True
        write(repository / name, "1\n")
    write(repository / ".gitignore", "*.x\n")
    commit(repository)
    for name in names:
        write(repository / f"{name}.x", "")
    assert git_state.read(repository).dirty is False
    write(repository / ":(exclude)new", "")
    assert git_state.read(repository).dirty is True


def test_a_submission_in_a_part_of_a_repository(tmp_path: Path) -> None:
    repository = make(
        tmp_path / "repository", **{"team/a/my_submission/x.py": "1\n", ".gitignore": "ignored/\n"}
    )
    head, part = git(repository, "rev-parse", "HEAD"), repository / "team" / "a"
    write(repository / CODE, "another part\n")
    write(repository / "team" / "stray", "")
    assert git_state.read(part) == GitState(head, False)
    write(part / "stray", "")
    assert git_state.read(part) == GitState(head, True)
    (part / "stray").unlink()
    write(part / "my_submission" / "x.py", "2\n")
    assert git_state.read(part) == GitState(head, True)
    write(repository / "ignored" / "my_submission" / "x.py", "1\n")
    assert git_state.read(repository / "ignored") == GitState(head, True)  # the commit does not have it


@pytest.mark.thorough
def test_where_the_commit_may_stand(tmp_path: Path) -> None:
    repository = make(tmp_path / "repository")
    first = git(repository, "rev-parse", "HEAD")
    write(repository / CODE, "x = 2\n")
    second = commit(repository)
    git(repository, "checkout", "--quiet", "-b", "feature/one")
    write(repository / CODE, "x = 3\n")
    third = commit(repository)
    assert git_state.read(repository) == GitState(third, False)
    git(repository, "pack-refs", "--all")
    git(repository, "gc", "--quiet")
    assert git_state.read(repository) == GitState(third, False)
    git(repository, "checkout", "--quiet", first)
    assert git_state.read(repository) == GitState(first, False)
    linked = tmp_path / "linked"
    git(repository, "worktree", "add", "--quiet", str(linked), "main")
    assert git_state.read(linked) == GitState(second, False)
    write(linked / CODE, "changed\n")
    assert git_state.read(linked) == GitState(second, True)
    assert git_state.read(repository) == GitState(first, False)
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", "--shared", str(repository), str(clone))
    assert git_state.read(clone) == GitState(first, False)
    shallow = tmp_path / "shallow"
    git(
        tmp_path, "clone", "--quiet", "--depth", "1", "--branch", "main", f"file://{repository}", str(shallow)
    )
    assert git_state.read(shallow) == GitState(second, False)
    git(tmp_path, "init", "--quiet", "--separate-git-dir", str(tmp_path / "separate"), str(clone))
    assert git_state.read(clone) == GitState(first, False)


def test_a_clone_without_all_objects(tmp_path: Path) -> None:
    repository = make(tmp_path / "repository")
    git(repository, "config", "uploadpack.allowFilter", "true")
    clone = tmp_path / "clone"
    words = ("--filter=blob:none", "--no-checkout", f"file://{repository}", str(clone))
    git(tmp_path, "clone", "--quiet", *words)
    write(clone / CODE, "x = 1\n")
    shutil.rmtree(repository)
    assert git_state.read(clone).dirty is False
    write(clone / CODE, "x = 2\n")
    assert git_state.read(clone).dirty is True


def test_hashes_of_another_kind(tmp_path: Path) -> None:
    repository = make(tmp_path / "repository", "--object-format=sha256")
    head = git(repository, "rev-parse", "HEAD")
    assert len(head) == 64
    assert git_state.read(repository) == GitState(head, False)
    write(repository / CODE, "x = 2\n")
    assert git_state.read(repository) == GitState(head, True)


@pytest.mark.thorough
def test_submodules(tmp_path: Path) -> None:
    inner = make(tmp_path / "inner")
    repository = make(tmp_path / "repository")
    git(repository, "submodule", "--quiet", "add", str(inner), "part")
    head = commit(repository)
    assert git_state.read(repository) == GitState(head, False)
    write(repository / "part" / CODE, "x = 2\n")
    assert git_state.read(repository).dirty is True
    commit(repository / "part")
    assert git_state.read(repository).dirty is True
    commit(repository)
    assert git_state.read(repository).dirty is False
    write(repository / "part" / "stray", "")
    assert git_state.read(repository).dirty is True
    plain = tmp_path / "plain"
    git(tmp_path, "clone", "--quiet", str(repository), str(plain))
    assert git_state.read(plain).dirty is False  # not fetched: an empty folder
    write(plain / "part" / "stray", "")
    assert git_state.read(plain).dirty is True


def test_without_a_commit_without_a_repository_and_without_git(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert git_state.read(tmp_path) == GitState(None, None)
    git(tmp_path, "init", "--quiet", "unborn")
    assert git_state.read(tmp_path).unknown is None
    unborn = git_state.read(tmp_path / "unborn")
    assert unborn == GitState(None, None)
    assert unborn.unknown == "its HEAD names no commit"
    repository = make(tmp_path / "repository")
    head = git(repository, "rev-parse", "HEAD")
    monkeypatch.setenv("PATH", str(tmp_path))
    found = git_state.read(repository)
    assert found == GitState(head, None)
    assert found.unknown == "git is not installed"


def test_references_in_a_format_that_is_not_read(tmp_path: Path) -> None:
    """As gitformat-reftable(5) has it: HEAD is there for programs that do not know the format."""
    repository = make(tmp_path / "repository")
    shutil.rmtree(repository / ".git" / "refs")
    (repository / ".git" / "refs").mkdir()
    (repository / ".git" / "refs" / "heads").write_text("this repository uses the reftable format\n")
    (repository / ".git" / "reftable").mkdir()
    (repository / ".git" / "HEAD").write_text("ref: refs/heads/.invalid\n")
    assert "reftable" in (git_state.read(repository).unknown or "")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="only root may give files to another user")
def test_a_repository_of_another_user(tmp_path: Path) -> None:
    repository = make(tmp_path / "repository")
    head = git(repository, "rev-parse", "HEAD")
    for path in (repository, *repository.rglob("*")):
        os.chown(path, 1234, 1234, follow_symlinks=False)
    git(tmp_path, "config", "--global", "--unset", "safe.directory")
    assert git_state.read(repository) == GitState(head, False)
