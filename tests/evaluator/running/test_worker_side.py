"""What a worker of an engine hands over through a folder that it shares."""

import errno
import os
import shutil
from pathlib import Path

import pytest

from evaluator.running.worker_side import share

pytestmark = pytest.mark.quick


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    folder = tmp_path / "kept"
    folder.mkdir()
    (folder / "bass.wav").write_bytes(b"bass")
    return folder


def test_a_folder_is_replaced_as_a_whole_whatever_is_left_of_others(kept: Path, tmp_path: Path) -> None:
    final = tmp_path / "out" / "song"
    final.mkdir(parents=True)
    (final / "old.wav").touch()
    (final.parent / f".song-{os.getpid()}").mkdir()  # of a container whose processes have the same numbers
    share(kept, final, ".mark")
    assert [(each.name, each.read_bytes()) for each in final.iterdir()] == [("bass.wav", b"bass")]
    assert not list(final.parent.glob(".mark*"))


def test_a_full_disk_is_said_as_one_and_leaves_nothing(
    kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fill(source: object, target: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), source)

    for copy in ("copyfile", "copy2"):
        monkeypatch.setattr(shutil, copy, fill)
    with pytest.raises(OSError, match="No space left") as raised:
        share(kept, tmp_path / "out" / "song", ".mark")
    assert (raised.value.errno, raised.value.filename) == (errno.ENOSPC, str(tmp_path / "out"))
    assert not list((tmp_path / "out").iterdir())
