"""FLAC as libsndfile decodes it, in a child without rights that says nothing but samples."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from evaluator.isolation import decoder, namespaces, process_tree, seccomp
from evaluator.isolation.decoder import DecodingError
from evaluator.isolation.variables import THREAD_VARIABLES
from evaluator.locations import REPOSITORY
from tests.evaluator import processes
from tests.thinned import one_in

FRAMES, CHANNELS = 40_000, 2
SOON_SECONDS = 60.0  # half a second, on a machine that is busy
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks /proc")


def write(path: Path, subtype: str = "PCM_16", frames: int = FRAMES, channels: int = CHANNELS) -> Path:
    """A FLAC file of noise and silence, whose blocks are packed differently."""
    samples = (
        np.random.default_rng(5).uniform(-1, 1, (frames, channels))
        * (np.arange(frames) % 9000 > 4000)[:, None]
    )
    soundfile.write(path, samples, 44100, subtype=subtype, format="FLAC")
    return path


def decoded(path: Path, bits: int, expected_bytes: int) -> bytes:
    with path.open("rb") as file:
        file.read(42)  # as somebody who has looked at its header
        return b"".join(decoder.samples(file, bits, expected_bytes))


@pytest.mark.parametrize(
    ("subtype", "bits", "channels"),
    one_in(
        5,
        [
            *[("PCM_16", 16, channels) for channels in (2, 1, 5)],
            *[("PCM_S8", 16, channels) for channels in (1, 2)],
            *[("PCM_24", 32, channels) for channels in (5, 1, 2)],
            ("PCM_S8", 16, 5),
        ],
    ),
)
def test_samples_are_those_of_libsndfile_bit_for_bit(
    tmp_path: Path, subtype: str, bits: int, channels: int
) -> None:
    path = write(tmp_path / "a.flac", subtype, 20_001, channels)
    expected, _ = soundfile.read(path, dtype=f"int{bits}", always_2d=True)
    assert decoded(path, bits, expected.nbytes) == expected.tobytes()
    assert np.abs(expected).max() > 0


@pytest.mark.thorough
def test_a_file_without_samples_has_none(tmp_path: Path) -> None:
    assert decoded(write(tmp_path / "a.flac", frames=0), 16, 0) == b""


@pytest.mark.parametrize("stated", one_in(3, [FRAMES - 1, FRAMES + 1, 1 << 36]))
def test_other_samples_than_were_stated_are_an_error(tmp_path: Path, stated: int) -> None:
    with pytest.raises(DecodingError, match=r"^it decodes to .* that it states$"):
        decoded(write(tmp_path / "a.flac"), 16, stated * CHANNELS * 2)


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def cut_in_the_header(content: bytes) -> bytes:
    return content[:30]


def overwrite(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + b"\0" * 5000 + content[middle + 5000 :]


def claim_billions(content: bytes) -> bytes:
    """The 36 bits for the number of samples, all set, and nothing after the header."""
    return content[:21] + bytes([content[21] | 0x0F]) + b"\xff" * 4 + content[26:242]


def only_a_mark(content: bytes) -> bytes:
    return b"fLaC"


def no_flac(content: bytes) -> bytes:
    return b"RIFF" + content[4:]


@pytest.mark.parametrize(
    "spoil", one_in(3, [cut, cut_in_the_header, overwrite, claim_billions, only_a_mark, no_flac])
)
def test_damaged_and_lying_files_are_an_error_soon(tmp_path: Path, spoil: Callable[[bytes], bytes]) -> None:
    path = write(tmp_path / "a.flac")
    path.write_bytes(spoil(path.read_bytes()))
    before = time.monotonic()
    with pytest.raises(DecodingError, match=r"^it decodes to \d+ of the 160000 bytes of samples"):
        decoded(path, 16, FRAMES * CHANNELS * 2)
    assert time.monotonic() - before < SOON_SECONDS


@pytest.mark.thorough
def test_bits_flipped_anywhere_are_an_error_or_other_samples(tmp_path: Path) -> None:
    """Whatever the decoder makes of it: as many samples as were stated, or an error; never an end of ours."""
    path = write(tmp_path / "a.flac", frames=500)
    content = path.read_bytes()
    for place in np.random.default_rng(2).integers(4, len(content), 6):
        path.write_bytes(content[:place] + bytes([content[place] ^ 0x55]) + content[place + 1 :])
        try:
            assert len(decoded(path, 16, 2000)) == 2000
        except DecodingError:
            continue


def test_a_decoder_that_takes_too_long_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoder, "START_SECONDS", 0.0)
    monkeypatch.setattr(decoder, "BYTES_PER_SECOND", 1e12)
    with pytest.raises(DecodingError, match="it decodes to 0 of the"):
        decoded(write(tmp_path / "a.flac"), 16, FRAMES * CHANNELS * 2)


def decoders() -> set[int]:
    """Processes of ours that decode."""
    ours = process_tree.descendants(os.getpid())
    return ours & set(processes.with_argument("evaluator.isolation.decoder"))


@pytest.mark.thorough
@linux
def test_a_decoder_whose_samples_nobody_takes_is_ended(tmp_path: Path) -> None:
    with write(tmp_path / "a.flac", frames=3_000_000).open("rb") as file:
        blocks = decoder.samples(file, 16, 12_000_000)
        next(blocks)
        assert decoders()
        blocks.close()  # type: ignore[attr-defined]
    assert not decoders()


@pytest.mark.thorough
@linux
def test_a_decoder_has_one_thread_on_a_machine_of_any_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Address space is limited, and every thread of a library takes some before anything is decoded."""
    for name in THREAD_VARIABLES:
        monkeypatch.setenv(name, "2")
    with write(tmp_path / "a.flac", frames=3_000_000).open("rb") as file:
        blocks = decoder.samples(file, 16, 12_000_000)
        next(blocks)
        (pid,) = decoders()
        assert len(os.listdir(f"/proc/{pid}/task")) == 1
        blocks.close()  # type: ignore[attr-defined]


# What the child may do, asked of a child that has given up its rights.
CHILD = """
import ctypes, json, os, socket, sys
from evaluator.isolation import decoder

def refused(attempt):
    try:
        attempt()
    except (OSError, MemoryError) as error:
        return type(error).__name__
    return "allowed"

decoder.give_up_rights(60)
libc = ctypes.CDLL(None, use_errno=True)

def call(*arguments):
    if libc.syscall(*arguments) < 0:
        raise OSError(ctypes.get_errno(), "")

def connect():
    with socket.socket() as out:
        out.connect(("127.0.0.1", {port}))

said = {{
    "user": os.getuid(), "group": os.getgid(), "groups": os.getgroups(),
    "root": os.listdir("/"),
    "inode of the root is that outside": os.stat("/").st_ino == {inode} and os.stat("/").st_dev == {device},
    "reads": refused(lambda: open({path!r})),
    "writes in its root": refused(lambda: open("/new", "w")),
    "makes folders": refused(lambda: os.mkdir("/new")),
    "leaves by its root": refused(lambda: os.chroot("/")),
    "sees processes": refused(lambda: os.listdir("/proc")),
    "connects": refused(connect),
    "namespaces": refused(lambda: call({unshare}, 0x10000000)),
    "becomes root": refused(lambda: os.setresuid(0, 0, 0)),
    "signals": refused(lambda: os.kill(os.getpid(), 0)),
    "starts processes": refused(os.fork),
    "becomes another program": refused(lambda: os.execv(sys.executable, [sys.executable, "-c", ""])),
    "allocates": refused(lambda: bytearray(2 << 30)),
}}
os.write(1, json.dumps(said).encode())
"""


@linux
def test_the_child_has_no_rights(tmp_path: Path) -> None:
    if not namespaces.probe().own_root or not seccomp.is_known_machine():
        pytest.skip("this system gives us no namespaces, or no filter of system calls")
    (tmp_path / "secret").write_text("secret")
    outside = os.stat("/")
    with socket.create_server(("127.0.0.1", 0)) as server:
        code = CHILD.format(
            path=str(tmp_path / "secret"),
            port=server.getsockname()[1],
            inode=outside.st_ino,
            device=outside.st_dev,
            unshare=272 if os.uname().machine == "x86_64" else 97,
        )
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False
        )
    assert done.returncode == 0, done.stderr
    said: dict[str, Any] = json.loads(done.stdout)
    assert (said.pop("user"), said.pop("group")) == (namespaces.USER, namespaces.USER)
    if os.geteuid() == 0:
        assert said.pop("groups") == []
    said.pop("groups", None)
    assert said.pop("root") == []
    assert said.pop("inode of the root is that outside") is False
    assert {what: how for what, how in said.items() if how == "allowed"} == {}
