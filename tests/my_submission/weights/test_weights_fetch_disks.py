"""Fetching in several processes, and to disks that are full or read-only."""

import hashlib
import multiprocessing
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub.constants
import pytest

from my_submission.weights import Checkpoint, DownloadError, WrongContent, find, require
from my_submission.weights.fetch import fetch
from tests.hub_server import HubServer, Reply
from tests.my_submission.weights.served import (
    CONTENTS,
    HUB_NAME,
    QUICK,
    left_behind,
    rows,
)

FORK = multiprocessing.get_context("fork")


@pytest.mark.parametrize("kind", ["hub_rows", "url_rows"])
def test_two_processes_at_once(
    request: pytest.FixtureRequest, server: HubServer, weights: Path, hub_cache: Path, kind: str
) -> None:
    checkpoints = request.getfixturevalue(kind)
    server.misbehave("net.th", Reply(pause_seconds=0.02))
    processes = [FORK.Process(target=fetch, args=(checkpoints,)) for _ in range(2)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(90)
    assert [process.exitcode for process in processes] == [0, 0]
    assert find(checkpoints[0]).read_bytes() == CONTENTS
    assert len(server.gets("net.th")) == 1, "the second waited for the first and found its file"
    assert len(left_behind(weights)) == (kind == "url_rows")


@pytest.mark.thorough
@pytest.mark.parametrize("kind", ["hub_rows", "url_rows"])
def test_a_killed_download(
    request: pytest.FixtureRequest, server: HubServer, weights: Path, kind: str
) -> None:
    checkpoints = request.getfixturevalue(kind)
    server.misbehave("net.th", Reply(pause_seconds=1.0))
    process = FORK.Process(target=fetch, args=(checkpoints,))
    process.start()
    part = weights / "net.th.part"  # the hub's client has another, and writes nothing before 10 MB have come
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline:
        if server.gets("net.th") if kind == "hub_rows" else part.exists() and part.stat().st_size:
            break
        time.sleep(0.02)
    assert process.pid
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    with pytest.raises(RuntimeError, match="is missing"):
        require(checkpoints, download=False)
    if kind == "url_rows":
        assert 0 < part.stat().st_size < len(CONTENTS)
    assert fetch(checkpoints, patience=QUICK)["net"].read_bytes() == CONTENTS
    assert (server.gets("net.th")[-1].start > 0) == (kind == "url_rows")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own of 256 KB; mounting needs rights that a user seldom has, .ci/run has them."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a full or read-only disk is made with `mount`, which this user may not do")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def read_only(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)


@pytest.mark.parametrize("size_known", [True, False])
def test_a_full_disk(
    server: HubServer, hub_cache: Path, net: Path, small_disk: Path, size_known: bool
) -> None:
    known = {} if size_known else {"bytes": None}
    row = rows(small_disk / "weights", {"url": server.publish_plain("net.th", net)}, **known)
    complaint = r"0\.2 MB free|0\.3 MB free" if size_known else "is full"
    with pytest.raises(DownloadError, match=f"({complaint}).*make room"):
        fetch(row, patience=QUICK)
    assert left_behind(small_disk) == []


@pytest.mark.filterwarnings("ignore:Not enough free disk space")
def test_a_full_disk_under_the_hubs_cache(
    hub_rows: list[Checkpoint], small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(small_disk))
    with pytest.raises(
        DownloadError, match=r"the disk of the hub's cache .* is full: make room or set HF_HOME"
    ):
        fetch(hub_rows)
    assert left_behind(small_disk) == []


@pytest.mark.thorough
def test_a_cache_on_a_read_only_disk(
    server: HubServer,
    hub_rows: list[Checkpoint],
    url_rows: list[Checkpoint],
    net: Path,
    small_disk: Path,
    weights: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(small_disk / "hub"))
    net.write_bytes(CONTENTS[:50_000])
    small = {"bytes": 50_000, "sha256": hashlib.sha256(net.read_bytes()).hexdigest()}
    hub_row = rows(weights, {"hub": HUB_NAME, "path": "folder/net.th"}, **small)
    fetch(hub_row)
    read_only(small_disk)
    assert fetch(hub_row)["net"].is_relative_to(small_disk), "what is in it is used"
    assert require(hub_row, download=False)["net"].is_relative_to(small_disk)

    server.publish(HUB_NAME, "other.th", net)
    other = {"file": "other.th", **small}
    with pytest.raises(DownloadError, match=r"the hub's cache .* cannot be written: set HF_HOME"):
        fetch(rows(weights, {"hub": HUB_NAME, "path": "other.th"}, **other))
    url = server.publish_plain("other.th", net)
    both = rows(weights, {"hub": HUB_NAME, "path": "other.th"}, {"url": url}, **other)
    assert fetch(both, patience=QUICK)["net"] == weights / "other.th", "the next origin needs no cache"


def test_weights_on_a_read_only_disk(server: HubServer, hub_cache: Path, net: Path, small_disk: Path) -> None:
    row = rows(small_disk / "weights", {"url": server.publish_plain("net.th", net)})
    read_only(small_disk)
    with pytest.raises(DownloadError, match=r"cannot write to .*weights: .*Read-only.*make it writable"):
        fetch(row, patience=QUICK)


def test_a_wrong_file_that_cannot_be_moved_is_not_used(
    server: HubServer, hub_cache: Path, net: Path, small_disk: Path
) -> None:
    row = rows(small_disk / "weights", {"url": server.publish_plain("net.th", net)})
    (small_disk / "weights" / "net.th").write_bytes(b"wrong")
    read_only(small_disk)
    with pytest.raises(DownloadError, match=r"must not be used, but cannot be moved .*; move it away"):
        fetch(row, patience=QUICK)
    with pytest.raises(WrongContent):
        require(row, download=False)
