"""Commit and dirty state of a stranger's folder: true in all that git knows, and nothing of theirs is run."""

import os
import shutil
import subprocess
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import pytest

from evaluator.running import git_objects, git_state
from evaluator.running.git_state import GitState
from evaluator.running.submission import identify

CODE = "my_submission/code.py"
POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:{hash}\nsize {size}\n"


@pytest.fixture(autouse=True)
def _nobodys_configuration(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """No configuration but that of a test's own repositories."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "xdg"))
    who = '[user]\nname = A\nemail = a@b\n[protocol "file"]\nallow = always\n[safe]\ndirectory = *\n'
    (home / ".gitconfig").write_text(who + "[init]\ndefaultBranch = main\n")


def git(folder: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def write(file: Path, content: str | bytes) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


def commit(folder: Path, message: str = "message") -> str:
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", message)
    return git(folder, "rev-parse", "HEAD")


def make(folder: Path, *options: str, **files: str) -> Path:
    """A repository with one commit: the code, and other files by their names."""
    folder.mkdir(parents=True)
    git(folder, "init", "--quiet", *options)
    for name, content in {CODE: "x = 1\n", **files}.items():
        write(folder / name, content)
    commit(folder)
    return folder


def run(marker: Path, then: str = "") -> str:
    """A shell command that leaves a trace."""
    return f"touch {marker}; {then}"


def program(file: Path, marker: Path, then: str = "") -> Path:
    write(file, f"#!/bin/sh\n{run(marker, then)}\n").chmod(0o755)
    return file


def configure(file: Path, **values: str) -> None:
    """Append to a configuration, by keys with "__" for dots."""
    for key, value in values.items():
        git(file.parent, "config", "--file", str(file), "--add", key.replace("__", "."), value)


# Attacks


def filesystem_monitor(repository: Path, marker: Path) -> None:
    configure(
        repository / ".git" / "config", core__fsmonitor=str(program(marker.with_name("monitor"), marker))
    )


def included_file(repository: Path, marker: Path) -> None:
    configure(repository / "more", core__fsmonitor=str(program(marker.with_name("monitor"), marker)))
    configure(repository / ".git" / "config", include__path="../more")


def conditional_include(repository: Path, marker: Path) -> None:
    configure(repository / "more", core__fsmonitor=str(program(marker.with_name("monitor"), marker)))
    git(repository, "config", "includeIf.gitdir:/.path", str(repository / "more"))


def configuration_of_the_worktree(repository: Path, marker: Path) -> None:
    configure(repository / ".git" / "config", extensions__worktreeConfig="true")
    monitor = program(marker.with_name("monitor"), marker)
    configure(repository / ".git" / "config.worktree", core__fsmonitor=str(monitor))


def filter_by_attributes(repository: Path, marker: Path) -> None:
    write(repository / ".gitattributes", "* filter=evil\n")
    configure(
        repository / ".git" / "config", filter__evil__clean=run(marker, "cat"), filter__evil__required="true"
    )


def filter_process(repository: Path, marker: Path) -> None:
    write(repository / ".git" / "info" / "attributes", "* filter=evil\n")
    configure(repository / ".git" / "config", filter__evil__process=run(marker))


def out_of_date(repository: Path) -> None:
    """So that git refreshes its index: a file that has not changed looks as if it might have."""
    unchanged = write(repository / "unchanged", "as it was\n")
    commit(repository)
    os.utime(unchanged, (1, 1))


def hook_of_the_index(repository: Path, marker: Path) -> None:
    out_of_date(repository)
    program(repository / ".git" / "hooks" / "post-index-change", marker)


def hooks_elsewhere(repository: Path, marker: Path) -> None:
    out_of_date(repository)
    program(repository / "hooks" / "post-index-change", marker)
    configure(repository / ".git" / "config", core__hooksPath="hooks")


def configuration_of_a_submodule(repository: Path, marker: Path) -> None:
    inner = make(repository.with_name("inner"))
    git(repository, "submodule", "--quiet", "add", str(inner), "part")
    commit(repository)
    monitor = program(marker.with_name("monitor"), marker)
    configure(repository / ".git" / "modules" / "part" / "config", core__fsmonitor=str(monitor))


def lazy_fetch(repository: Path, marker: Path) -> None:
    """An object that is not there, and a remote that promises it by running a command."""
    blob = git(repository, "rev-parse", f"HEAD:{CODE}")
    (repository / ".git" / "objects" / blob[:2] / blob[2:]).unlink()
    write(repository / CODE, "x = 2\n")
    values = {
        "core__repositoryFormatVersion": "1",
        "extensions__partialClone": "origin",
        "remote__origin__url": f"ext::sh -c touch% {marker}",
        "remote__origin__promisor": "true",
        "protocol__ext__allow": "always",
    }
    configure(repository / ".git" / "config", **values)


COMMAND_OF_STATUS = ("status", "--porcelain")
ATTACKS: dict[Callable[[Path, Path], None], tuple[str, ...]] = {  # by what makes git fall for it
    filesystem_monitor: COMMAND_OF_STATUS,
    included_file: COMMAND_OF_STATUS,
    conditional_include: COMMAND_OF_STATUS,
    configuration_of_the_worktree: COMMAND_OF_STATUS,
    filter_by_attributes: COMMAND_OF_STATUS,
    filter_process: COMMAND_OF_STATUS,
    hook_of_the_index: COMMAND_OF_STATUS,
    hooks_elsewhere: COMMAND_OF_STATUS,
    configuration_of_a_submodule: COMMAND_OF_STATUS,
    lazy_fetch: ("diff",),
}


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.__name__)
def test_nothing_that_git_would_run_is_run(attack: Callable[[Path, Path], None], tmp_path: Path) -> None:
    repository = make(tmp_path / "repository")
    marker = tmp_path / "marks" / "here"
    marker.parent.mkdir()
    attack(repository, marker)
    head = (repository / ".git" / "refs" / "heads" / "main").read_text().strip()
    write(repository / CODE, "x = 2\n")
    assert git_state.read(repository) == GitState(head, True)
    assert identify(repository, None).commit == head
    assert not marker.exists()
    victim = ["git", "-C", str(repository), *ATTACKS[attack]]
    subprocess.run(victim, check=False, capture_output=True)
    assert marker.exists(), "the attack itself works"


PROGRAMS = (
    *("core__pager", "pager__status", "pager__ls-tree", "pager__config", "core__editor", "sequence__editor"),
    *("core__sshCommand", "core__askPass", "core__gitProxy", "core__alternateRefsCommand", "diff__external"),
    *("core__virtualFilesystem", "diff__evil__textconv", "diff__evil__command", "merge__evil__driver"),
    *(
        "credential__helper",
        "gpg__program",
        "gpg__ssh__program",
        "uploadpack__packObjectsHook",
        "web__browser",
    ),
    *("interactive__diffFilter", "filter__lfs__clean", "filter__lfs__process", "filter__lfs__smudge"),
)


def test_no_other_program_of_a_configuration_is_run(tmp_path: Path) -> None:
    """Those that some other command of git would run, all in one repository."""
    repository = make(tmp_path / "repository")
    marker = tmp_path / "here"
    evil = str(program(tmp_path / "evil", marker, "cat"))
    hook = repository / ".git" / "hooks"
    for sample in hook.glob("*.sample"):
        program(sample.with_suffix(""), marker)
    values = dict.fromkeys(PROGRAMS, evil)
    values |= {
        f"alias__{name}": f"!{evil}" for name in ("status", "ls-tree", "cat-file", "check-ignore", "config")
    }
    values |= {
        "core__worktree": str(tmp_path),
        "submodule__part__update": f"!{evil}",
        "submodule__recurse": "true",
    }
    values |= {
        "remote__origin__url": f"ext::{evil}",
        "protocol__allow": "always",
        "log__showSignature": "true",
    }
    configure(repository / ".git" / "config", **values)
    write(repository / ".gitattributes", "* diff=evil merge=evil filter=lfs\n")
    head = commit_with_plumbing(repository)
    assert not marker.exists()
    assert git_state.read(repository) == GitState(head, False)
    write(repository / CODE, "x = 2\n")
    assert git_state.read(repository) == GitState(head, True)
    assert not marker.exists()


def commit_with_plumbing(repository: Path) -> str:
    """Commit what lies there with another configuration than the repository's own."""
    other = repository.with_name("other")
    shutil.copytree(repository, other, ignore=shutil.ignore_patterns("config", "hooks"))
    write(other / ".git" / "config", "[core]\nrepositoryFormatVersion = 0\nbare = false\n")
    head = commit(other)
    shutil.rmtree(repository / ".git" / "objects")
    shutil.copytree(other / ".git" / "objects", repository / ".git" / "objects")
    write(repository / ".git" / "refs" / "heads" / "main", head + "\n")
    return head


def test_no_git_of_the_repository_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = make(tmp_path / "repository")
    marker = tmp_path / "here"
    program(repository / "git", marker)
    program(repository / "bin" / "git", marker)
    monkeypatch.chdir(repository)
    monkeypatch.setenv("PATH", f".:{repository}/bin::{os.environ['PATH']}")
    assert git_state.read(repository).dirty is True
    assert not marker.exists()


def test_our_own_variables_for_git_do_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = make(tmp_path / "repository")
    head = git(repository, "rev-parse", "HEAD")
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_EXTERNAL_DIFF"):
        monkeypatch.setenv(name, str(tmp_path / "nowhere"))
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "core.fsmonitor")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", str(program(tmp_path / "evil", tmp_path / "here")))
    assert git_state.read(repository) == GitState(head, False)
    assert not (tmp_path / "here").exists()


# What a repository can forge


def hide_by_time(repository: Path) -> None:
    file = repository / CODE
    before = file.stat()
    file.write_text("y = 1\n")
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def hide_by_flag(flag: str) -> Callable[[Path], None]:
    def hide(repository: Path) -> None:
        git(repository, "update-index", flag, CODE)
        write(repository / CODE, "y = 1\n")

    return hide


def hide_by_the_index(repository: Path) -> None:
    """A changed file that is in the index, which still has the commit's hash for it."""
    write(repository / CODE, "y = 1\n")
    git(repository, "config", "core.trustctime", "false")
    git(repository, "config", "core.checkStat", "minimal")
    hide_by_time(repository)


def hide_by_private_excludes(repository: Path) -> None:
    write(repository / ".git" / "info" / "exclude", "*\n")
    write(repository / "my_submission" / "more.py", "")


def hide_by_own_excludes_of_the_repository(repository: Path) -> None:
    write(repository / ".git" / "excludes", "*\n")
    git(repository, "config", "core.excludesFile", str(repository / ".git" / "excludes"))
    write(repository / "my_submission" / "more.py", "")


def hide_by_a_file_that_ignores_itself(repository: Path) -> None:
    write(repository / "soundfile" / ".gitignore", "*\n")
    write(repository / "soundfile" / "__init__.py", "")


def hide_by_rules_that_are_not_committed(repository: Path) -> None:
    write(repository / ".gitignore", "*\n")
    write(repository / "soundfile.py", "")


def hide_by_a_linked_folder(repository: Path) -> None:
    shutil.copytree(repository / "my_submission", repository.with_name("elsewhere"))
    shutil.rmtree(repository / "my_submission")
    (repository / "my_submission").symlink_to(repository.with_name("elsewhere"))


def hide_by_a_link(repository: Path) -> None:
    (repository / CODE).rename(repository.with_name("code.py"))
    (repository / CODE).symlink_to(repository.with_name("code.py"))


def hide_by_attributes(repository: Path) -> None:
    """Attributes that make git take $Id: anything$ for $Id$, in a file that is not in the commit."""
    write(repository / ".git" / "info" / "attributes", "* ident text eol=crlf\n")
    write(repository / CODE, "x = 1\r\n")


def hide_by_grafting(repository: Path) -> None:
    write(repository / CODE, "y = 1\n")
    old, new = git(repository, "rev-parse", f"HEAD:{CODE}"), git(repository, "hash-object", "-w", CODE)
    git(repository, "replace", old, new)


HIDDEN = {
    "time": hide_by_time,
    "index": hide_by_the_index,
    "assume-unchanged": hide_by_flag("--assume-unchanged"),
    "skip-worktree": hide_by_flag("--skip-worktree"),
    "info/exclude": hide_by_private_excludes,
    "core.excludesFile": hide_by_own_excludes_of_the_repository,
    "ignores itself": hide_by_a_file_that_ignores_itself,
    "rules not committed": hide_by_rules_that_are_not_committed,
    "linked folder": hide_by_a_linked_folder,
    "link": hide_by_a_link,
    "attributes": hide_by_attributes,
    "replace": hide_by_grafting,
}


@pytest.mark.parametrize("name", HIDDEN)
def test_a_change_cannot_be_hidden(name: str, tmp_path: Path) -> None:
    repository = make(tmp_path / "repository")
    assert git_state.read(repository).dirty is False
    HIDDEN[name](repository)
    assert git_state.read(repository).dirty is True


# The truth


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
    content = os.urandom(3_000_000)
    pointer = POINTER.format(hash=sha256(content).hexdigest(), size=len(content))
    repository = make(tmp_path / "repository", **{"weights.th": pointer})
    assert git_state.read(repository).dirty is False  # not fetched
    write(repository / "weights.th", content)
    assert git_state.read(repository).dirty is False
    for other in (content[:-1], content[:-1] + bytes([content[-1] ^ 1]), b"", pointer.encode() + b"\n"):
        write(repository / "weights.th", other)
        assert git_state.read(repository).dirty is True


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


# What is no repository, and what never ends


def test_references_lead_nowhere_else(tmp_path: Path) -> None:
    repository = make(tmp_path / "repository")
    head = git(repository, "rev-parse", "HEAD")
    secret = write(tmp_path / "secret", head)
    write(repository / ".git" / "refs" / "heads" / "a.lock", head)
    write(repository / ".git" / "secret", head)
    (repository / ".git" / "refs" / "heads" / "link").symlink_to(secret)
    (repository / ".git" / "refs" / "linked").symlink_to(tmp_path)
    (repository / ".git" / "refs" / "loop").write_text("ref: refs/loop\n")
    file = repository / ".git" / "HEAD"
    for said in (
        "ref: refs/heads/../../../../secret",
        f"ref: {secret}",
        "ref: ../secret",
        "ref: secret",
        "ref: refs//heads/main",
        "ref: refs/./heads/main",
        "ref: refs/heads/a.lock",
        "ref: refs/heads/link",
        "ref: refs/linked/secret",
        "ref: refs/loop",
        "ref: refs/heads/main\nref: refs/heads/main",
        "ref: refs/heads/ma\0in",
        head.upper(),
        head[:-1],
        head + "\n" * 5000,
        "--upload-pack=x",
        "",
    ):
        file.write_text(said)
        assert git_state.read(repository) == GitState(None, None), said
    file.write_text("ref:  refs/heads/main \n")
    assert git_state.read(repository) == GitState(head, False)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with a name")
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (".git/HEAD", GitState(None, None)),
        (".git/refs/heads/main", GitState(None, None)),
        (".git/packed-refs", None),
        (".git/config", None),
        (".git/index", None),
        (".git/info/exclude", None),
        (".git/objects/info/commit-graph", None),
        (".gitattributes", True),
        (".gitignore", True),
        (CODE, True),
    ],
)
def test_a_pipe_in_the_place_of_a_file_does_not_hold_us(
    name: str, expected: GitState | bool | None, tmp_path: Path
) -> None:
    repository = make(tmp_path / "repository", **{".gitattributes": "", ".gitignore": ""})
    head = git(repository, "rev-parse", "HEAD")
    (repository / name).unlink(missing_ok=True)
    os.mkfifo(repository / name)
    found = git_state.read(repository)
    assert found == (expected if isinstance(expected, GitState) else GitState(head, bool(expected)))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with a name")
def test_git_is_ended_where_it_waits_for_an_object(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(git_objects, "COMMAND_SECONDS", 0.3)
    repository = make(tmp_path / "repository")
    head = git(repository, "rev-parse", "HEAD")
    object_file = repository / ".git" / "objects" / head[:2] / head[2:]
    object_file.unlink()
    os.mkfifo(object_file)
    assert git_state.read(repository) == GitState(head, None)


def test_a_commit_that_is_not_there_or_says_too_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repository = make(tmp_path / "repository", **{f"{i}.py": "" for i in range(50)})
    head = git(repository, "rev-parse", "HEAD")
    monkeypatch.setattr(git_objects, "LISTED_BYTES", 100)
    assert git_state.read(repository) == GitState(head, None)
    monkeypatch.undo()
    write(repository / ".git" / "HEAD", "1" * 40)
    assert git_state.read(repository) == GitState("1" * 40, None)
    shutil.rmtree(repository / ".git" / "objects")
    assert git_state.read(repository) == GitState(None, None)


@pytest.mark.parametrize("name", ["../evil.py", ".git/hooks/x", "a/../../evil.py"])
def test_a_commit_with_files_that_no_folder_can_have(name: str, tmp_path: Path) -> None:
    """Made by hand, since git refuses to: a tree names its entries as it likes."""
    repository = make(tmp_path / "repository")
    blob = bytes.fromhex(git(repository, "rev-parse", f"HEAD:{CODE}"))
    tree = b""
    for part in reversed(name.split("/")):
        mode = b"40000" if tree else b"100644"
        content = mode + b" " + part.encode() + b"\0" + blob
        file = write(tmp_path / "tree", content)
        words = ("hash-object", "--literally", "-t", "tree", "-w", str(file))
        tree = bytes.fromhex(git(repository, *words))
        blob = tree
    head = git(repository, "commit-tree", "-m", "evil", tree.hex())
    write(repository / ".git" / "refs" / "heads" / "main", head)
    assert git_state.read(repository) == GitState(head, None)
    assert not (tmp_path / "evil.py").exists()
