"""Of a stranger's repository, nothing is run that git would run."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from evaluator.running import git_state
from evaluator.running.git_state import GitState
from evaluator.running.submission import identify
from tests.evaluator.running.git_repositories import CODE, commit, git, make, write

pytestmark = pytest.mark.usefixtures("nobodys_configuration")


def run(marker: Path, then: str = "") -> str:
    """A shell command that leaves a trace."""
    return f"touch {marker}; {then}"


def program(file: Path, marker: Path, then: str = "") -> Path:
    write(file, f"#!/bin/sh\n{run(marker, then)}\n").chmod(0o755)
    return file


def configure(file: Path, **values: str) -> None:
    """Append to a configuration, by keys with "__" for dots."""
    with file.open("a") as lines:
        for key, value in values.items():
            section, *sub, name = key.split("__")
            title = f'{section} "{".".join(sub)}"' if sub else section
            quoted = value.replace("\\", "\\\\").replace('"', '\\"')
            lines.write(f'[{title}]\n\t{name} = "{quoted}"\n')


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
