"""Folders of a submission: counted and emptied whatever they hold, and nothing outside is touched."""

import os
import stat
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from evaluator.isolation import folders
from evaluator.isolation.folders import MOST_DEPTH, Size
from tests.evaluator import ordinary_user

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="has neither links nor open folders")

LEVELS = 2100  # of names of one letter: a path has 4096 at most


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder to empty, beside one that must stay as it is; in memory where the system has files there."""
    with TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as folder:
        root = Path(folder)
        (root / "place").mkdir()
        (root / "outside" / "inner").mkdir(parents=True)
        (root / "outside" / "inner" / "file").write_text("x" * 5000)
        os.chmod(root / "outside" / "inner", 0o500)
        before = state(root / "outside")
        yield root / "place"
        assert state(root / "outside") == before
        os.chmod(root / "outside" / "inner", 0o700)
        folders.clear(folder)


def state(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Mode, number of names and size of all that is in a folder."""
    found = {}
    for path in (folder, *folder.rglob("*")):
        status = path.lstat()
        if not stat.S_ISDIR(status.st_mode) or path != folder:
            found[str(path)] = (status.st_mode, status.st_nlink, status.st_size)
    return found


def write_deep(folder: Path, levels: int, content: bytes = b"") -> None:
    """Folders in folders, deeper than any path can name, and a file in the last."""
    here = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(levels):
        os.mkdir("a", dir_fd=here)
        inner = os.open("a", os.O_RDONLY | os.O_DIRECTORY, dir_fd=here)
        os.close(here)
        here = inner
    file = os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=here)
    os.write(file, content)
    os.close(file)
    os.close(here)


def links(folder: Path) -> None:
    """To a folder, a file, nothing and itself, at the top and below it."""
    for place in (folder, folder / "below"):
        place.mkdir(exist_ok=True)
        (place / "folder").symlink_to(folder.parent / "outside")
        (place / "file").symlink_to(folder.parent / "outside" / "inner" / "file")
        (place / "nothing").symlink_to("/nowhere")
        (place / "itself").symlink_to("itself")
        (place / "up").symlink_to("..")


def deep(folder: Path) -> None:
    write_deep(folder, LEVELS)


def names_like_those_it_gives(folder: Path) -> None:
    """Files, folders and links that are called as what is moved up would be."""
    for number in range(0, 12, 3):
        (folder / f".{number}").mkdir()
        (folder / f".{number}" / f".{number}").mkdir()
        (folder / f".{number}" / f".{number}" / f".{number + 1}").write_text("")
        (folder / f".{number + 1}").write_text("")
        (folder / f".{number + 2}").symlink_to(folder.parent / "outside")


def wide(folder: Path) -> None:
    for number in range(60):
        (folder / f"{number}" / "x" / "y").mkdir(parents=True)
        for name in ("x", "x/y"):
            (folder / f"{number}" / name / "file").write_text("")


def odd_files(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    (folder / "below").mkdir()
    os.mkfifo(folder / "below" / "pipe")
    (folder / os.fsdecode(b"\xff\n\x1b[2J")).write_text("")
    (folder / ("x" * 255)).mkdir()
    (folder / ("x" * 255) / "-rf").write_text("")
    os.link(folder / "below" / "pipe", folder / "second name")


def without_rights(folder: Path) -> None:
    """Folders that may not be written to, not be searched, or not even be looked into."""
    for mode in (0o000, 0o100, 0o400, 0o500, 0o600):
        inner = folder / f"mode {mode:o}" / "inner" / "more"
        inner.mkdir(parents=True)
        (inner / "file").write_text("")
        for place in (inner, inner.parent, inner.parent.parent):
            os.chmod(place, mode)


MADE = [links, deep, names_like_those_it_gives, wide, odd_files, without_rights]


@pytest.mark.parametrize("make", MADE)
def test_everything_in_a_folder_is_removed_and_nothing_else(
    place: Path, make: Callable[[Path], None]
) -> None:
    make(place)
    before = place.stat().st_ino
    folders.clear(str(place))
    assert os.listdir(place) == []
    assert place.stat().st_ino == before


def test_a_folder_is_removed_with_everything_in_it(place: Path) -> None:
    wide(place)
    folders.remove(str(place))
    assert not place.exists()
    folders.remove(str(place))  # again, where nothing is


def test_a_link_in_place_of_the_folder_is_not_followed(place: Path) -> None:
    place.rmdir()
    place.symlink_to(place.parent / "outside")
    with pytest.raises(OSError):  # noqa: PT011 (which differs between systems)
        folders.clear(str(place))
    folders.remove(str(place))
    assert place.is_symlink()


def test_without_open_folders_the_same_is_removed(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "HAS_DESCRIPTORS", False)
    for make in (links, wide, odd_files):
        make(place)
        folders.clear(str(place))
        assert os.listdir(place) == []


# As an ordinary user, whom rights concern: the tests may be root's.
AS_USER = """
import os, sys
from pathlib import Path
from evaluator.isolation import folders
from tests.evaluator.isolation import test_folders as made
place = Path(sys.argv[1]) / "place"
place.mkdir()
for make in (made.without_rights, made.wide, made.links):
    make(place)
os.chmod(place, 0o000)
print(os.geteuid() != 0, folders.size(str(place), None).exceeded)
folders.clear(str(place))
print(os.listdir(place))
"""


@pytest.mark.thorough
def test_an_ordinary_user_removes_what_has_no_rights() -> None:
    with ordinary_user.folder() as folder:
        done = ordinary_user.run(["-c", AS_USER, folder])
    assert done.stdout.splitlines() == ["True True", "[]"], done.stderr


def test_the_size_is_that_of_what_lies_there(place: Path) -> None:
    assert folders.size(str(place), None) == Size(0, exceeded=False)
    for name in ("a", "b/c", "b/d/e"):
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(b"x" * (1 << 20))
    links(place)
    found = folders.size(str(place), None)
    assert not found.exceeded
    assert 3 << 20 <= found.bytes < (3 << 20) + (1 << 17)  # some for folders and links


def test_holes_take_no_room(place: Path) -> None:
    with (place / "sparse").open("wb") as file:
        file.truncate(1 << 40)
    assert folders.size(str(place), 1 << 20).bytes < 1 << 20


def test_it_looks_no_further_than_the_limit(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(20):
        (place / f"{number}").mkdir()
        (place / f"{number}" / "file").write_bytes(b"x" * (1 << 16))
    looked_into: list[object] = []
    scandir = os.scandir

    def look(path: str) -> "os._ScandirIterator[str]":
        looked_into.append(path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", look)
    assert folders.size(str(place), 3 << 16).exceeded
    assert len(looked_into) < 10
    assert not folders.size(str(place), 40 << 16).exceeded


def test_too_many_entries_are_too_much(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "MOST_ENTRIES", 100)
    for number in range(100):
        os.mknod(place / f"{number}")
    assert not folders.size(str(place), None).exceeded
    (place / "one more").touch()
    assert folders.size(str(place), None).exceeded


def test_what_is_too_deep_to_be_looked_at_is_too_much(place: Path) -> None:
    """Else any number of bytes could be kept there, or each look would take long."""
    write_deep(place, MOST_DEPTH, b"x" * (1 << 20))
    assert not folders.size(str(place), 1 << 24).exceeded
    assert folders.size(str(place), 1 << 24).bytes >= 1 << 20
    folders.clear(str(place))
    write_deep(place, LEVELS, b"x" * (1 << 20))
    before = time.process_time()
    assert folders.size(str(place), 1 << 30).exceeded
    assert time.process_time() - before < 0.5


def test_what_comes_and_goes_meanwhile_hides_nothing(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(10):
        (place / f"{number}").write_bytes(b"x" * (1 << 16))
    whole = folders.size(str(place), None).bytes
    scandir = os.scandir

    class WithGone:
        def __init__(self, path: str) -> None:
            self._entries = scandir(path)

        def __enter__(self) -> "WithGone":
            return self

        def __exit__(self, *_: object) -> None:
            self._entries.close()

        def __iter__(self) -> Iterator[os.DirEntry[str]]:
            (place / "gone").touch()
            with scandir(place) as entries:
                gone = next(entry for entry in entries if entry.name == "gone")
            (place / "gone").unlink()
            return iter([gone, *self._entries])

    with monkeypatch.context() as racing:
        racing.setattr(os, "scandir", WithGone)
        assert folders.size(str(place), None) == Size(whole, exceeded=False)


def test_a_folder_that_is_not_there_has_nothing(place: Path) -> None:
    assert folders.size(str(place / "nowhere"), 1) == Size(0, exceeded=False)
