"""What has the name of a file, and is a link, a pipe, a folder or a device, is neither followed nor waited for."""

import os
import socket
from pathlib import Path

import pytest

from my_submission.weights import DownloadError, WeightsError, find, verify
from my_submission.weights.errors import WrongContent
from my_submission.weights.fetch import set_aside
from my_submission.weights.store import RECORD_FILE, write_record
from tests.hub_server import COMMIT
from tests.my_submission.weights.raw_server import (
    CONTENTS,
    NOTHING_KNOWN,
    SHA256,
    answer,
    fetched,
    rows,
)


@pytest.fixture
def precious(tmp_path: Path) -> Path:
    """Somebody's file, which must stay as it is."""
    path = tmp_path / "elsewhere" / "precious"
    path.parent.mkdir()
    path.write_bytes(b"mine")
    return path


def untouched(precious: Path) -> bool:
    return precious.read_bytes() == b"mine" and [path.name for path in precious.parent.iterdir()] == [
        "precious"
    ]


@pytest.mark.parametrize("name", ["net.th", "net.th.part"])
@pytest.mark.parametrize("kind", ["link", "dangling", "hard", "pipe"])
def test_what_has_the_name_of_a_file_to_write_is_replaced_and_not_followed(
    weights: Path, precious: Path, name: str, kind: str
) -> None:
    place = weights / name
    if kind == "hard":
        os.link(precious, place)
    elif kind == "pipe":
        os.mkfifo(place)
    else:
        place.symlink_to(precious if kind == "link" else precious.with_name("nothing"))
    if (name, kind) == ("net.th", "pipe"):
        with pytest.raises(DownloadError, match=r"net\.th is a named pipe, expected a file"):
            fetched(weights, answer())
    else:
        path = fetched(weights, answer())
        assert path.read_bytes() == CONTENTS
        assert not path.is_symlink()
    assert untouched(precious)


def test_a_wrong_file_behind_a_link_stays_where_it_is(weights: Path, precious: Path) -> None:
    (weights / "net.th").symlink_to(precious)
    aside = set_aside(weights / "net.th")
    assert aside.is_symlink()
    assert not os.path.lexists(weights / "net.th")
    assert untouched(precious)


def test_a_name_that_leads_out_of_the_hubs_cache_stays_where_it_leads(cache: Path, precious: Path) -> None:
    name = cache / "models--owner--nets" / "snapshots" / COMMIT / "net.th"
    name.parent.mkdir(parents=True)
    name.symlink_to(precious)
    set_aside(name)
    assert untouched(precious)


@pytest.mark.parametrize("linked", ["folder", "file"])
def test_locks_are_not_made_through_links(weights: Path, precious: Path, linked: str) -> None:
    locks = weights / ".locks"
    if linked == "folder":
        locks.symlink_to(precious.parent)
    else:
        locks.mkdir()
        (locks / "net.th.lock").symlink_to(precious)
    with pytest.raises(DownloadError, match="is a link, which is not followed; remove it"):
        fetched(weights, answer())
    assert untouched(precious)


@pytest.mark.parametrize("name", [RECORD_FILE, f"{RECORD_FILE}.draft"])
def test_hashes_are_not_recorded_through_links(weights: Path, precious: Path, name: str) -> None:
    precious.write_bytes(b"{}")
    (weights / name).symlink_to(precious)
    write_record(weights / RECORD_FILE, {"net/net.th": SHA256})
    assert SHA256 in (weights / RECORD_FILE).read_text()
    assert precious.read_bytes() == b"{}"


# --- what is no file --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "said"), [("folder", "a folder"), ("pipe", "a named pipe"), ("socket", "a socket")]
)
def test_what_is_no_file_is_an_error_and_is_not_waited_for(tmp_path: Path, kind: str, said: str) -> None:
    path = tmp_path / "net.th"
    with socket.socket(socket.AF_UNIX) as listener:
        if kind == "folder":
            path.mkdir()
        elif kind == "pipe":
            os.mkfifo(path)
        else:
            listener.bind(str(path))
        (row,) = rows(tmp_path, "http://nowhere", **NOTHING_KNOWN)
        with pytest.raises(WeightsError, match=rf"net: .*net\.th is {said}, expected a file"):
            find(row)
        with pytest.raises(WrongContent, match=rf"net: .*net\.th is {said}, expected a file"):
            verify(row, path)


def test_a_device_is_no_file(tmp_path: Path) -> None:
    (tmp_path / "net.th").symlink_to("/dev/zero")
    (row,) = rows(tmp_path, "http://nowhere", **NOTHING_KNOWN)
    with pytest.raises(WeightsError, match=r"net\.th is a device, expected a file"):
        find(row)


@pytest.mark.parametrize("kind", ["pipe", "deep", "large"])
def test_an_odd_record_of_hashes_is_an_error(tmp_path: Path, kind: str) -> None:
    record = tmp_path / RECORD_FILE
    if kind == "pipe":
        os.mkfifo(record)
    else:
        record.write_text("[" * 100_000 if kind == "deep" else " " * 2_000_000)
    (tmp_path / "net.th").write_bytes(CONTENTS)
    (row,) = rows(tmp_path, "http://nowhere", **NOTHING_KNOWN)
    with pytest.raises(WeightsError, match=rf"{RECORD_FILE}: cannot be read as JSON: .*restore or delete it"):
        verify(row, tmp_path / "net.th")
