"""What a worker of an engine takes of its machine, and hands over through a folder that it shares."""

import errno
import os
import shutil
import tempfile
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from evaluator.isolation.sandbox import SandboxError
from evaluator.running import dataset, worker_data, worker_side
from evaluator.running.assignment import Assignment
from evaluator.running.worker_side import share
from sdx.engines.held import UnfitError
from sdx.engines.slots import Slot, own_folder
from tests.evaluator import audio

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


def test_a_station_that_cannot_be_made_gives_back_what_it_took(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*given: object) -> None:
        raise SandboxError("no namespaces here")

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(worker_side, "_submission", lambda assignment: tmp_path)
    monkeypatch.setattr(f"{worker_side.__name__}.machine.number_of_gpus", lambda: 0)
    monkeypatch.setattr(f"{worker_side.__name__}.worker_data.load", lambda *given: None)
    monkeypatch.setattr(f"{worker_side.__name__}.preparation.runner_on_worker", refuse)
    data = SimpleNamespace(path="", only=None, left_out=())
    plan: Any = SimpleNamespace(submission=None, challenge="music", data=data)
    assignment = Assignment("run", plan, (), False, 1.0, str(tmp_path), ".mark", False, False)
    for _ in range(2):
        with pytest.raises(SandboxError) as raised:  # which holds what was made in vain
            worker_side.Station(assignment)
        assert raised.value.args == ("no namespaces here",)
        assert not list(own_folder().glob("scratch-*"))
        slot = Slot()
        assert slot.number == 0
        slot.close()


def test_a_disk_without_room_for_a_track_is_the_machines_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a sandbox without namespaces the submission would fail there, and be blamed for it."""
    (track,) = dataset.load(audio.write_music(tmp_path / "data", {"a": 1000})).tracks
    needed = 9 * 1000 * 2 * 2
    for free, fits in ((needed, True), (needed - 1, False)):
        usage = SimpleNamespace(free=free)
        monkeypatch.setattr(shutil, "disk_usage", lambda place, usage=usage: usage)
        with (
            nullcontext()
            if fits
            else pytest.raises(UnfitError, match=f"has a full disk at {tmp_path}: .* for a")
        ):
            worker_side.require_room(tmp_path / "scratch", track)


def test_data_that_cannot_be_read_is_the_machines_fault_and_not_the_tracks(tmp_path: Path) -> None:
    data = dataset.load(audio.write_music(tmp_path / "data", {"a": 1000}))
    sha256 = dataset.track_hash(data.tracks[0])
    assert worker_data.track_of(data, "a", sha256) == data.tracks[0]
    (tmp_path / "data" / "a" / "bass.wav").unlink()
    with pytest.raises(UnfitError, match=r"cannot read its data: .*bass\.wav: No such file"):
        worker_data.track_of(data, "a", sha256)
