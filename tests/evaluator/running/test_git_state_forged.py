"""A stranger's repository hides no change, leads nowhere else, and never makes us wait for ever."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from evaluator.running import git_objects, git_state
from evaluator.running.git_state import GitState
from tests.evaluator.running.git_repositories import CODE, git, make, write

pytestmark = pytest.mark.usefixtures("nobodys_configuration")


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
