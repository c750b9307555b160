"""Signals that memory would not hold are kept in files, and nobody can tell but by the type."""

import os
from collections import namedtuple
from pathlib import Path

import numpy as np
import pytest
import torch

from my_submission import MusicSeparationModel, separator
from my_submission.signal import arrays
from my_submission.signal.chunking import reader
from tests.my_submission.files_model import write_tiny_preset
from tests.thinned import one_in

STEMS = ("bass", "drums")
BYTES = 2 * 1_000 * 2 * 4
Usage = namedtuple("Usage", ["total", "used", "free"])


def allow(monkeypatch: pytest.MonkeyPatch, disk: int = 10**9) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda folder: Usage(disk, 0, disk))


@pytest.mark.parametrize(
    ("memory", "mapped"), [(None, False), (2 * BYTES, False), (2 * BYTES - 1, True), (0, True)]
)
def test_arrays_are_in_memory_while_it_holds_them(
    memory: int | None, mapped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    allow(monkeypatch, disk=BYTES)
    made = arrays.result_arrays(STEMS, (1_000, 2), memory)
    assert list(made) == list(STEMS)
    for array in made.values():
        assert isinstance(array, np.memmap) == mapped
        assert array.shape == (1_000, 2)
        assert array.dtype == np.float32
        assert not array.any()


def test_files_have_no_name_and_do_not_outlive_their_arrays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    allow(monkeypatch)
    before = set(os.listdir("/proc/self/fd"))
    made = arrays.result_arrays(STEMS, (1_000, 2), 0)
    made["bass"][:] = 1.0
    assert list(tmp_path.iterdir()) == []
    assert str(tmp_path) in Path("/proc/self/maps").read_text()
    assert made["bass"].sum() == 2_000
    assert not made["drums"].any()
    del made
    assert str(tmp_path) not in Path("/proc/self/maps").read_text()
    assert set(os.listdir("/proc/self/fd")) == before


def test_no_room_anywhere_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    allow(monkeypatch, disk=BYTES - 1)
    with pytest.raises(MemoryError, match=r"the stems take 0.0 GiB: expected .* set TMPDIR"):
        arrays.result_arrays(STEMS, (1_000, 2), 0)


@pytest.mark.parametrize("rate", one_in(2, [48_000, 44_100]))
def test_a_track_whose_stems_spill(rate: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = MusicSeparationModel(
        preset=write_tiny_preset(tmp_path), device="cpu", precision="fp32", overlap=0
    )
    mixture = 0.1 * np.random.default_rng(0).standard_normal((15_000, 2))
    expected, _ = model.separate_music_file(mixture, rate)
    allow(monkeypatch)
    monkeypatch.setattr(separator, "available_bytes", lambda: 0)
    found, _ = model.separate_music_file(mixture, rate)
    for stem, array in found.items():
        assert isinstance(array, np.memmap)
        np.testing.assert_array_equal(array, expected[stem])
    silence, _ = model.separate_music_file(np.zeros((100, 1)), rate)
    assert not any(array.any() for array in silence.values())


def test_a_spooled_signal_reads_like_the_whole_one(tmp_path: Path) -> None:
    whole = torch.randn(2, 50, generator=torch.Generator().manual_seed(0))
    with arrays.SpooledSignal(2, tmp_path) as spooled:
        for block in torch.split(whole, [1, 30, 0, 19], dim=1):
            spooled.append(block)
        assert spooled.samples == 50
        for start, length in [(-3, 10), (0, 50), (20, 5), (45, 10), (60, 3), (-9, 4)]:
            assert torch.equal(spooled.read(start, length), reader(whole)(start, length))
    assert list(tmp_path.iterdir()) == []


def test_a_spool_without_a_folder_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(arrays.SpoolFailed, match="nowhere: cannot write .* choose an output folder"):
        arrays.SpooledSignal(2, tmp_path / "nowhere")
