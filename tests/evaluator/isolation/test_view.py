"""What a submission may see: a list of paths, of which every one has a reason to be there."""

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from evaluator.isolation import namespaces, view
from evaluator.isolation.view import NOT_SUBMITTED, SYSTEM, View, _outermost, chain, is_below_any
from evaluator.locations import REPOSITORY

pytestmark = [
    pytest.mark.quick,
    pytest.mark.skipif(sys.platform == "win32", reason="has other paths, and no root of its own"),
]
PACKAGES = ("/opt/python/lib/python3.11", "/opt/python/lib/python3.11/site-packages")


# Links on the way to a path


@pytest.fixture
def real(tmp_path: Path) -> Path:
    """A folder whose own path has no links."""
    return Path(os.path.realpath(tmp_path))


LINKS: dict[str, tuple[dict[str, str], str, list[str], str]] = {
    # name: (links to make, path, the links that it passes, where it ends)
    "none": ({}, "a/file", [], "a/file"),
    "relative": ({"l": "a"}, "l/file", ["l"], "a/file"),
    "absolute": ({"l": "{root}/a"}, "l/file", ["l"], "a/file"),
    "the last part": ({"a/l": "file"}, "a/l", ["a/l"], "a/file"),
    "one to another": ({"l": "m", "m": "n", "n": "a"}, "l/file", ["l", "m", "n"], "a/file"),
    "one below another": ({"l": "a", "a/m": "../b"}, "l/m/file", ["l", "a/m"], "b/file"),
    "one in a link's target": ({"l": "m/b", "m": "a"}, "l/file", ["l", "m"], "a/b/file"),
    "up out of a link": ({"l": "a/b"}, "l/../file", ["l"], "a/file"),  # not the folder that holds the link
    "up in a target": ({"a/b/l": "../../b/file"}, "a/b/l", ["a/b/l"], "b/file"),
    "up above the root": ({"l": "../../../../../../../../../../../..{root}/a"}, "l/file", ["l"], "a/file"),
    "dots and slashes": ({"l": ".//./a/."}, "./l//./file", ["l"], "a/file"),
    "twice": ({"l": "a"}, "l/../l/file", ["l"], "a/file"),
    "to nothing": ({"l": "nowhere"}, "l/file", ["l"], "nowhere/file"),
    "names that begin alike": ({"a/bc": "b"}, "a/bc/file", ["a/bc"], "a/b/file"),
}


@pytest.mark.parametrize(("made", "path", "passed", "end"), LINKS.values(), ids=LINKS)
def test_a_path_is_followed_as_the_kernel_does(
    real: Path, made: dict[str, str], path: str, passed: list[str], end: str
) -> None:
    for name in ("a/b", "b"):
        (real / name).mkdir(parents=True)
        (real / name / "file").touch()
    (real / "a" / "file").touch()
    for name, target in made.items():
        (real / name).symlink_to(target.format(root=real))
    links, found = chain(f"{real}/{path}")
    assert found == str(real / end)
    assert found == os.path.realpath(f"{real}/{path}")
    assert links == {str(real / name): made[name].format(root=real) for name in passed}


@pytest.mark.parametrize(
    "made", [{"l": "l"}, {"l": "m", "m": "l"}, {"l": "m/x", "m": "l"}, {"l": "./l/../l"}]
)
def test_links_in_a_circle_are_an_error(real: Path, made: dict[str, str]) -> None:
    for name, target in made.items():
        (real / name).symlink_to(target)
    with pytest.raises(OSError, match="more than 40 links"):
        chain(f"{real}/l")


@pytest.mark.parametrize(("number", "allowed"), [(40, True), (41, False)])
def test_as_many_links_as_the_kernel_follows(real: Path, number: int, allowed: bool) -> None:
    (real / "0").touch()
    for index in range(number):
        (real / f"{index + 1}").symlink_to(f"{index}")
    assert (real / f"{number}").exists() is allowed
    if allowed:
        assert chain(str(real / f"{number}"))[1] == str(real / "0")
    else:
        with pytest.raises(OSError, match="more than 40 links"):
            chain(str(real / f"{number}"))


def test_the_root_is_where_it_is() -> None:
    assert chain("/") == ({}, "/")
    assert chain("/../..") == ({}, "/")


# Paths below others


@pytest.mark.parametrize(
    ("paths", "expected"),
    [
        ([], []),
        (["/a"], ["/a"]),
        (["/a", "/a"], ["/a"]),
        (["/a/b", "/a"], ["/a"]),
        (["/a/b/c/d", "/a/b", "/a/b/c"], ["/a/b"]),
        (["/ab", "/a"], ["/a", "/ab"]),
        (["/a", "/a/b", "/ab", "/a-b", "/a.b/c", "/a b"], ["/a b", "/a-b", "/a.b/c", "/a", "/ab"]),
        (["/a/b", "/a/c"], ["/a/b", "/a/c"]),
        (["/a/bc", "/a/b/c", "/a/b"], ["/a/b", "/a/bc"]),
    ],
)
def test_only_the_outermost_are_kept(paths: list[str], expected: list[str]) -> None:
    assert sorted(_outermost(paths)) == sorted(expected)
    assert sorted(_outermost(reversed(paths))) == sorted(expected)


def test_below_is_by_whole_names() -> None:
    assert is_below_any("/a", ["/b", "/a"])
    assert is_below_any("/a/b/c", ["/a"])
    for path in ("/ab", "/", "/b/a", "/a b", "/a-/b"):
        assert not is_below_any(path, ["/a"])


# A submission's folder


@pytest.fixture
def submission(real: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A submission's folder with all that may lie around there, and something outside."""
    monkeypatch.setattr(view, "_packages", lambda: PACKAGES)
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
    folder = real / "outside" / "submission"
    for name in (
        *("my_submission/user_config.py", "my_submission/presets/a.yaml", "weights/a.th", "aicrowd.json"),
        *(f"{name}/x" for name in NOT_SUBMITTED),
        *("models/deep/b.th", "-rf", "a b/c"),
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    for name in ("weights.th", "more/c.th", "submission2/secret"):
        (folder.parent / name).parent.mkdir(parents=True, exist_ok=True)
        (folder.parent / name).touch()
    return folder


def seen(submission: Path, more: list[Path] | None = None, hidden: list[Path] | None = None) -> View:
    return view.of_submission(submission, more or [], hidden or [], REPOSITORY, gpu=False)


def shown_of(made: View, place: Path) -> set[str]:
    """What is shown at and below a folder, relative to it."""
    return {os.path.relpath(path, place) for path in made.shown if is_below_any(path, [str(place)])}


def test_of_its_own_folder_it_sees_what_is_submitted(submission: Path) -> None:
    made = seen(submission)
    assert shown_of(made, submission.parent.parent) == {
        f"outside/submission/{name}"
        for name in ("my_submission", "weights", "models", "aicrowd.json", "-rf", "a b")
    }


def test_neither_the_folders_above_nor_those_beside_it_are_shown(submission: Path) -> None:
    made = seen(submission)
    for path in (
        submission,
        submission.parent,
        submission.parent / "submission2",
        REPOSITORY,
        "/",
        "/etc",
        "/home",
    ):
        assert str(path) not in made.shown
    for path in ("/proc", "/run", "/var", "/tmp", "/dev", "/sys", "/etc/passwd", "/etc/shadow", "/root"):
        assert not is_below_any(path, made.shown)


INSIDE: dict[str, tuple[str, bool]] = {
    # name of a link at the top of the folder: (where it leads, whether that is seen there)
    "to a file": ("aicrowd.json", True),
    "to a folder": ("models", True),
    "to a file in a folder": ("models/deep/b.th", True),
    "absolute": ("{folder}/models", True),
    "by way of another": ("to a file", True),
    "to what is not submitted": (".git", False),
    "into what is not submitted": (".git/x", False),
    "to results": ("runs", False),
    "into references": ("local_data/x", False),
    "through what is submitted": ("models/../.git", False),
    "to the folder itself": (".", False),
    "to a file outside": ("../weights.th", False),
    "to a folder outside": ("../more", False),
    "to a folder beside with a longer name": ("../submission2", False),
    "to the folder above": ("..", False),
    "to the root": ("/", False),
    "to a process": ("/proc/self/root", False),
    "to nothing": ("nowhere", False),
    "to itself": ("to itself", False),
}


def test_links_in_it_lead_where_it_may_go(submission: Path) -> None:
    for name, (target, _) in INSIDE.items():
        (submission / name).symlink_to(target.format(folder=submission))
    made = seen(submission)
    links = dict(made.links)
    for name, (target, allowed) in INSIDE.items():
        assert (str(submission / name) in links) is allowed, name
        if allowed:
            assert links[str(submission / name)] == target.format(folder=submission)
    assert shown_of(made, submission.parent.parent) == {
        f"outside/submission/{name}"
        for name in ("my_submission", "weights", "models", "aicrowd.json", "-rf", "a b")
    }


def test_links_that_are_called_as_what_is_not_submitted_are_not(submission: Path) -> None:
    (submission / "runs" / "x").unlink()
    (submission / "runs").rmdir()
    (submission / "runs").symlink_to("models")
    assert str(submission / "runs") not in dict(seen(submission).links)


def test_links_that_lead_out_are_named(submission: Path) -> None:
    for name, (target, _) in INSIDE.items():
        (submission / name).symlink_to(target.format(folder=submission))
    (submission / "my_submission" / "weights").symlink_to("../../more")
    (submission / "my_submission" / "within").symlink_to("../models")
    shutil.rmtree(submission / ".venv")
    (submission / ".venv").symlink_to(submission.parent)
    assert {str(path.relative_to(submission)) for path in view.links_out(submission)} == {
        *("to a file outside", "to a folder outside", "to a folder beside with a longer name"),
        *("to the folder above", "to the root", "to a process", "my_submission/weights"),
    }


def test_what_it_may_read_besides_is_shown_with_the_links_that_lead_there(submission: Path) -> None:
    outside = submission.parent
    (submission / "my_submission" / "weights").symlink_to(outside / "more")
    (outside / "link").symlink_to("more")
    made = seen(submission, [outside / "link", outside / "weights.th", outside / "nowhere"])
    assert {"more", "weights.th"} <= shown_of(made, outside)
    assert (str(outside / "link"), "more") in made.links
    assert "nowhere" not in shown_of(made, outside)


@pytest.mark.parametrize("target", ["/", "/..", "{folder}/../../../../../../../../.."])
def test_the_machines_root_is_shown_in_no_way(submission: Path, target: str) -> None:
    """Else everything would be."""
    link = submission.parent / "link"
    link.symlink_to(target.format(folder=submission))
    for more in ([link], [Path("/")], [Path("/usr/..")]):
        assert "/" not in seen(submission, more).shown


def test_a_path_is_followed_before_it_goes_up(submission: Path) -> None:
    """What is shown is what was asked for, not what a path says when its links are not looked at."""
    outside = submission.parent
    (outside / "more" / "deep").mkdir()
    (outside / "link").symlink_to("more/deep")
    made = seen(submission, [Path(f"{outside}/link/../c.th")])
    assert "more/c.th" in shown_of(made, outside)


def test_what_is_hidden_is_named_by_where_it_is(submission: Path) -> None:
    (submission.parent / "link").symlink_to("more")
    hidden = [submission.parent / "link", submission / "models", submission.parent / "nowhere"]
    assert seen(submission, hidden=hidden).hidden == sorted(
        str(path)
        for path in (submission.parent / "more", submission / "models", submission.parent / "nowhere")
    )


# The interpreter and its packages


def test_the_interpreter_and_the_systems_libraries_are_shown(submission: Path) -> None:
    made = seen(submission)
    wanted = (sys.executable, sys.prefix, sys.base_prefix, *(path for path in SYSTEM if os.path.exists(path)))
    for path in wanted:
        assert is_below_any(os.path.realpath(path), made.shown), path


def test_links_on_the_way_are_there_unless_what_holds_them_is(submission: Path) -> None:
    made = seen(submission)
    for path, target in made.links:
        assert os.readlink(path) == target
        assert not is_below_any(path, made.shown)
    for path in made.shown:
        assert os.path.realpath(path) == path


def test_where_a_script_looks_for_modules_is_not_shown(
    submission: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder above the tests, the evaluator's own, or one that a variable names may hold anything."""
    (submission.parent / "pythonpath").mkdir()
    before = seen(submission)
    monkeypatch.syspath_prepend(str(submission.parent / "pythonpath"))
    monkeypatch.setenv("PYTHONPATH", str(submission.parent / "pythonpath"))
    monkeypatch.setattr(sys, "argv", [str(submission.parent / "pythonpath" / "script.py")])
    assert seen(submission) == before


@pytest.mark.parametrize("entry", [str(REPOSITORY), f"{REPOSITORY}/../{REPOSITORY.name}"])
def test_an_installed_kit_on_everybodys_path_is_not_shown(
    submission: Path, monkeypatch: pytest.MonkeyPatch, entry: str
) -> None:
    monkeypatch.setattr(view, "_packages", lambda: (*PACKAGES, entry))
    assert not is_below_any(str(REPOSITORY / "evaluator" / "__main__.py"), seen(submission).shown)


def test_the_kits_own_submission_does_not_see_the_evaluator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(view, "_packages", lambda: PACKAGES)
    worker = REPOSITORY / "evaluator" / "isolation" / "worker.py"
    made = view.of_submission(REPOSITORY, [worker], [], REPOSITORY, gpu=False)
    assert shown_of(made, REPOSITORY / "evaluator") == {"isolation/worker.py"}
    assert is_below_any(str(REPOSITORY / "my_submission" / "user_config.py"), made.shown)
    for name in (".git", "runs", "local_data", ".cache"):
        assert not is_below_any(str(REPOSITORY / name / "x"), made.shown)


def test_library_folders_of_a_variable_are_shown(submission: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", f":{submission.parent / 'more'}:/nowhere::")
    assert "more" in shown_of(seen(submission), submission.parent)


def test_without_a_gpu_there_are_no_nodes_of_one(submission: Path) -> None:
    assert seen(submission).devices == []
    made = view.of_submission(submission, [], [], REPOSITORY, gpu=True)
    assert all(path.startswith("/dev/") for path in made.devices)


# Files that only their owner may read


def test_what_is_its_owners_is_shown_but_for_the_machines(submission: Path) -> None:
    shown = seen(submission, more=[Path("/etc")])
    assert str(submission / "my_submission") in shown.as_owner
    assert "/usr" in shown.shown
    assert "/etc" in shown.shown
    assert not {"/usr", "/etc"} & set(shown.as_owner)


@pytest.mark.parametrize(
    ("spoil", "name"),
    [
        (lambda package: (package / "user_config.py").chmod(0o600), "user_config.py"),
        (lambda package: (package / "presets").chmod(0o700), "presets"),
        (lambda package: (package / "presets").chmod(0o744), "presets"),
        (lambda package: package.chmod(0o700), ""),
        (lambda package: (package / "link").symlink_to("/etc/shadow"), None),
        (lambda package: (package / "link").symlink_to("nowhere"), None),
        (lambda package: None, None),
    ],
)
def test_files_that_another_user_cannot_read_are_found(
    submission: Path, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[Path], None], name: str | None
) -> None:
    package = submission / "my_submission"
    for path in (package, *package.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    spoil(package)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(namespaces, "can_copy_for_owner", lambda path: False)
    assert view.unreadable(submission) == (None if name is None else package / name)
    monkeypatch.setattr(namespaces, "can_copy_for_owner", lambda path: True)
    assert view.unreadable(submission) is None
    monkeypatch.setattr(namespaces, "can_copy_for_owner", lambda path: False)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert view.unreadable(submission) is None
