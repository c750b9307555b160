"""One program at a time."""

import errno
from pathlib import Path

import pytest

from sdx import sole


def test_a_second_one_is_told_at_once_and_the_next_has_it(tmp_path: Path) -> None:
    lock = tmp_path / ".lock"
    with sole.held(lock), pytest.raises(sole.Timeout), sole.held(lock):
        raise AssertionError("held twice")
    with sole.held(lock):
        assert lock.exists()
    assert not lock.exists()


@pytest.mark.filterwarnings("ignore:flock not supported")
@pytest.mark.parametrize("number", [errno.ENOTSUP, errno.ENOLCK, errno.ENOSYS])
def test_a_file_system_without_locks_is_no_obstacle(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fcntl = pytest.importorskip("fcntl")

    def refused(*_: object) -> None:
        raise OSError(number, "no locks here")

    monkeypatch.setattr(fcntl, "flock", refused)
    with sole.held(tmp_path / ".lock"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()  # a folder that is missing would be made
    with pytest.raises(FileExistsError), sole.held(tmp_path / "file" / ".lock"):
        raise AssertionError("held nothing")
