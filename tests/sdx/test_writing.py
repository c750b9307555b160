"""What the system refuses is said as it says it, whoever writes."""

import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from sdx.writing import written

pytestmark = pytest.mark.quick

SAMPLES = np.zeros((30_000, 2), np.int16)
FULL = Path("/dev/full")  # takes nothing, as a disk that is full


def write_sound(file: Path) -> None:
    soundfile.write(file, SAMPLES, 44_100, format="WAV")


def save_array(file: Path) -> None:
    np.save(file, SAMPLES)


def say_nothing(file: Path) -> None:
    """As NumPy does for a large array."""
    raise OSError("30000 requested and 12784 written")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /dev/full")
@pytest.mark.parametrize("write", [write_sound, save_array, say_nothing])
def test_a_full_disk_is_one(write: Callable[[Path], None], tmp_path: Path) -> None:
    file = tmp_path / "full.npy"
    file.symlink_to(FULL)
    with pytest.raises(OSError, match="No space left") as raised, written(file):
        write(file)
    assert (raised.value.errno, raised.value.filename) == (errno.ENOSPC, str(file))


@pytest.mark.parametrize("write", [write_sound, save_array])
def test_a_folder_that_is_not_there_is_said_with_its_number(
    write: Callable[[Path], None], tmp_path: Path
) -> None:
    file = tmp_path / "nowhere" / "a.npy"
    with pytest.raises(OSError, match=os.strerror(errno.ENOENT)) as raised, written(file):
        write(file)
    assert raised.value.errno == errno.ENOENT


def test_what_is_no_fault_of_the_systems_stays_what_it_is(tmp_path: Path) -> None:
    file = tmp_path / "a.wav"
    with pytest.raises(soundfile.LibsndfileError), written(file):
        soundfile.write(file, SAMPLES, 0)
    with written(file):
        write_sound(file)
    assert len(soundfile.read(file)[0]) == len(SAMPLES)
