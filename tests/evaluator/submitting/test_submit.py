"""Submissions with real git and git-lfs to a bare repository on disk: pushed whole, or nothing changed."""

import functools
import shutil
from importlib import metadata
from pathlib import Path
from typing import TextIO

import pytest

from evaluator.__main__ import main
from evaluator.submitting.git import GitError, Remote, Repository, without_secrets
from tests.evaluator import audio
from tests.evaluator.submit_repository import Workshop, git_settings, make_workshop
from tests.thinned import one_in

installed = functools.cache(metadata.packages_distributions)
"""Of which packages modules are: to read it takes a third of a second, and nothing is installed meanwhile."""
needs_lfs = pytest.mark.skipif(shutil.which("git-lfs") is None, reason="git-lfs is not installed")


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("submit")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in git_settings(folder).items():
            patch.setenv(name, value)
        make_workshop(folder)
    return folder


@pytest.fixture
def workshop(tmp_path: Path, template: Path, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    for name in ("ours", "server.git"):
        shutil.copytree(template / name, tmp_path / name)
    for name, value in git_settings(tmp_path).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(metadata, "packages_distributions", installed)
    made = Workshop(tmp_path / "ours", tmp_path / "server.git")
    made.git("remote", "set-url", "aicrowd", str(made.server))
    return made


def submit(workshop: Workshop, *arguments: str) -> int:
    """Run the command without its dry run."""
    return main(["submit", "--submission", str(workshop.root), "--no-dry-run", *arguments])


@pytest.mark.parametrize("submissions", one_in(2, [1, 2]))
def test_first_and_second_submission(
    workshop: Workshop, submissions: int, capsys: pytest.CaptureFixture[str]
) -> None:
    first = workshop.git("rev-parse", "HEAD")
    assert submit(workshop, "one", "--yes") == 0
    assert workshop.server_refs() == {"refs/heads/main": first, "refs/tags/submission-one": first}
    assert workshop.git("cat-file", "-t", "submission-one") == "tag"  # annotated
    if submissions == 1:
        return
    workshop.write("notes.txt", "a change")
    second = workshop.commit()
    assert submit(workshop, "two", "--yes") == 0
    assert workshop.server_refs() == {
        "refs/heads/main": second,
        "refs/tags/submission-one": first,
        "refs/tags/submission-two": second,
    }
    assert "1 new commits" in capsys.readouterr().out


@pytest.mark.thorough
def test_check_changes_nothing(workshop: Workshop, capsys: pytest.CaptureFixture[str]) -> None:
    before = workshop.refs()
    assert submit(workshop, "--check") == 0
    assert "ready to submit" in capsys.readouterr().out
    assert (workshop.refs(), workshop.server_refs()) == (before, {})
    assert workshop.git("status", "--porcelain") == ""


@pytest.mark.thorough
def test_without_yes_and_without_a_terminal_nothing_is_pushed(workshop: Workshop) -> None:
    assert submit(workshop, "one") == 1
    assert workshop.server_refs() == {}
    assert workshop.git("tag") == ""


@pytest.mark.thorough
@pytest.mark.parametrize("answer", ["y", "n"])
def test_it_shows_where_and_asks(
    workshop: Workshop, answer: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("builtins.input", lambda question: answer)
    assert submit(workshop, "one") == (0 if answer == "y" else 1)
    assert f"to aicrowd ({workshop.server}):" in capsys.readouterr().out
    assert ("refs/tags/submission-one" in workshop.server_refs()) is (answer == "y")


@pytest.mark.slow
def test_the_same_name_again(workshop: Workshop, capsys: pytest.CaptureFixture[str]) -> None:
    assert submit(workshop, "one", "--yes") == 0
    workshop.write("notes.txt", "a change")
    workshop.commit()
    assert submit(workshop, "one", "--yes") == 1
    assert "[FAIL] tag: refs/tags/submission-one is here already" in capsys.readouterr().out
    workshop.git("tag", "--delete", "submission-one")
    assert submit(workshop, "one", "--yes") == 1
    assert "[FAIL] tag: refs/tags/submission-one is on aicrowd already" in capsys.readouterr().out


@pytest.mark.slow
def test_the_same_commit_again(workshop: Workshop, capsys: pytest.CaptureFixture[str]) -> None:
    assert submit(workshop, "one", "--yes") == 0
    assert submit(workshop, "two", "--yes") == 1
    assert "was submitted as submission-one; a second tag on it triggers nothing" in capsys.readouterr().out
    assert workshop.git("tag") == "submission-one"


@pytest.mark.thorough
def test_a_rejected_push_leaves_everything_as_it_was(
    workshop: Workshop, capsys: pytest.CaptureFixture[str]
) -> None:
    workshop.refuse_pushes()
    before = workshop.refs()
    assert submit(workshop, "one", "--yes") == 1
    assert "quota is used up" in capsys.readouterr().err
    assert (workshop.refs(), workshop.server_refs()) == (before, {})


@pytest.mark.thorough
def test_an_interruption_during_the_push_removes_the_tag(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(self: Repository, *arguments: str, output: TextIO) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Repository, "show", interrupted)
    before = workshop.refs()
    assert submit(workshop, "one", "--yes") == 130
    assert workshop.refs() == before


@pytest.mark.thorough
def test_other_tags_of_mine_stay_here(workshop: Workshop) -> None:
    workshop.git("tag", "--annotate", "--message", "mine", "submission-never-sent")
    workshop.git("config", "push.followTags", "true")
    workshop.write("notes.txt", "a change")
    workshop.commit()
    assert submit(workshop, "one", "--yes") == 0
    assert set(workshop.server_refs()) == {"refs/heads/main", "refs/tags/submission-one"}


@pytest.mark.thorough
def test_a_push_that_arrived_counts_though_the_connection_broke(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    show = Repository.show

    def broken(self: Repository, *arguments: str, output: TextIO) -> None:
        show(self, *arguments, output=output)
        if arguments[0] == "push":
            raise GitError("the connection broke")

    monkeypatch.setattr(Repository, "show", broken)
    assert submit(workshop, "one", "--yes") == 0
    assert workshop.git("tag") == "submission-one"


@pytest.mark.slow
def test_a_branch_that_diverged(workshop: Workshop, capsys: pytest.CaptureFixture[str]) -> None:
    assert submit(workshop, "one", "--yes") == 0
    workshop.git("commit", "--quiet", "--amend", "--message", "Another history")
    before = workshop.server_refs()
    assert submit(workshop, "two", "--yes") == 1
    out = capsys.readouterr().out
    assert "[FAIL] branch: main on aicrowd has commits" in out
    assert "git fetch aicrowd && git merge aicrowd/main" in out
    assert workshop.server_refs() == before


@pytest.mark.slow
def test_the_server_moved_on_after_the_check(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    assert submit(workshop, "one", "--yes") == 0
    tree = workshop.git("rev-parse", "HEAD^{tree}")
    ahead = workshop.git("commit-tree", tree, "-p", "HEAD", "-m", "by somebody else")
    workshop.write("notes.txt", "a change")
    workshop.commit()

    def push_something(question: str) -> str:
        workshop.git("push", "--quiet", "aicrowd", f"{ahead}:refs/heads/main")
        return "y"

    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("builtins.input", push_something)
    assert submit(workshop, "two") == 1
    assert workshop.git("tag") == "submission-one"
    assert "refs/tags/submission-two" not in workshop.server_refs()


@pytest.mark.thorough
def test_a_remote_that_is_missing_or_does_not_answer(
    workshop: Workshop, capsys: pytest.CaptureFixture[str]
) -> None:
    workshop.git("remote", "rename", "aicrowd", "elsewhere")
    assert submit(workshop, "one", "--yes") == 1
    assert "git remote add aicrowd ADDRESS" in capsys.readouterr().out
    shutil.rmtree(workshop.server)
    assert submit(workshop, "one", "--yes", "--remote", "elsewhere") == 1
    assert "[FAIL] remote:" in capsys.readouterr().out
    assert workshop.git("tag") == ""


@pytest.mark.thorough
def test_tokens_are_not_printed(workshop: Workshop, capsys: pytest.CaptureFixture[str]) -> None:
    workshop.git("remote", "set-url", "aicrowd", "http://user:SECRET@localhost:1/team/repo.git")
    assert submit(workshop, "one", "--yes") == 1
    printed = "".join(capsys.readouterr())
    assert "http://***@localhost:1/team/repo.git" in printed
    assert "SECRET" not in printed


@pytest.mark.parametrize(
    ("url", "page"),
    [
        ("https://oauth2:token@host.example/team/repo.git", "https://host.example/team/repo"),
        ("ssh://git@host.example:2222/team/repo.git", "https://host.example/team/repo"),
        ("git@host.example:team/repo.git", "https://host.example/team/repo"),
        ("/srv/repo.git", None),
    ],
)
def test_the_page_to_watch(url: str, page: str | None) -> None:
    remote = Remote("aicrowd", url)
    assert remote.web_page == page
    assert "token" not in remote.shown


def test_secrets_are_masked_wherever_an_address_stands() -> None:
    said = "fatal: unable to access 'https://a:b@host/x/': and https://c@host, not git@host:x"
    masked = "fatal: unable to access 'https://***@host/x/': and https://***@host, not git@host:x"
    assert without_secrets(said) == masked


@pytest.mark.thorough
@needs_lfs
def test_files_of_git_lfs_arrive(workshop: Workshop, capsys: pytest.CaptureFixture[str]) -> None:
    workshop.add_weights()
    workshop.commit()
    assert submit(workshop, "one", "--yes") == 0
    out = capsys.readouterr().out
    assert "[ok]   weights: 1 file" in out
    assert "[ok]   git-lfs: 1 files, 6.0 MB" in out
    objects = [path for path in (workshop.server / "lfs" / "objects").rglob("*") if path.is_file()]
    assert [path.stat().st_size for path in objects] == [(workshop.root / "weights/large.bin").stat().st_size]


@pytest.mark.thorough
@needs_lfs
def test_without_git_lfs_installed(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    workshop.add_weights()
    workshop.commit()
    (tmp_path / "bin").mkdir()
    for tool in ("git", "sh"):
        (tmp_path / "bin" / tool).symlink_to(shutil.which(tool) or "")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert submit(workshop, "one", "--yes") == 1
    assert "[FAIL] git-lfs: not installed, but 1 files need it" in capsys.readouterr().out
    monkeypatch.undo()
    assert workshop.git("tag") == ""


def test_wrong_usage(workshop: Workshop, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert submit(workshop) == 2
    assert submit(workshop, "submission-one") == 2
    shutil.rmtree(workshop.root / ".git")
    assert submit(workshop, "one") == 2
    assert "not a git repository" in capsys.readouterr().err


@pytest.mark.thorough
def test_dry_run_of_what_is_committed(
    workshop: Workshop, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = audio.write_music(tmp_path / "data")
    arguments = ["submit", "--submission", str(workshop.root), "--check", "--data", str(data)]
    assert main(arguments) == 0
    assert "s, process runner): ok in" in capsys.readouterr().out
    workshop.write("my_submission/helper.py", "VALUE = 1\n")
    source = workshop.root / "my_submission" / "user_config.py"
    source.write_text(
        f"import importlib\nimportlib.import_module('my_submission.helper')\n{source.read_text()}"
    )
    workshop.write(".gitignore", "__pycache__/\nhelper.py\n")  # here it works, on the server it would not
    workshop.commit()
    assert main(arguments) == 1
    assert "No module named 'my_submission.helper'" in capsys.readouterr().out
