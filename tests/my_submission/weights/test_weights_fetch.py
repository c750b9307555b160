"""Fetching with the real hub client and the real downloader from a server on loopback that misbehaves."""

import hashlib
import json
from pathlib import Path

import pytest

from my_submission.weights import Checkpoint, DownloadError, WrongContent, find, require, store, verify
from my_submission.weights.fetch import fetch
from my_submission.weights.store import RECORD_FILE, TAIL_BYTES
from tests.hub_server import HubServer
from tests.my_submission.weights.served import (
    CONTENTS,
    HUB_NAME,
    QUICK,
    SHA256,
    left_behind,
    rows,
)


def test_an_installed_kit_keeps_what_it_fetches_in_the_users_folder(
    server: HubServer, net: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hashes, too; those that came with the kit hold as well."""
    origin = {"url": server.publish_plain("net.th", net)}
    home, demo = tmp_path / "home" / "weights", weights / "demo"
    (row,) = rows(demo, origin, sha256=None)
    monkeypatch.setattr(store, "WEIGHTS_FOLDER", weights)
    monkeypatch.setenv("SDX_HOME", str(home.parent))
    before = sorted(weights.rglob("*"))
    assert fetch([row]) == {"net": home / "demo" / "net.th"}
    assert find(row) == home / "demo" / "net.th"
    assert verify(row, find(row)).against == "recorded"
    assert sorted(weights.rglob("*")) == before

    (home / "demo" / RECORD_FILE).unlink()
    (demo / RECORD_FILE).write_text(json.dumps({"net/net.th": "0" * 64}))
    with pytest.raises(WrongContent, match=r"0{64} was recorded"):
        verify(row, find(row))
    (own,) = rows(tmp_path / "own", origin)
    assert fetch([own]) == {"net": tmp_path / "own" / "net.th"}


def test_a_file_from_the_hub_stays_in_the_hubs_cache(
    hub_rows: list[Checkpoint], hub_cache: Path, server: HubServer
) -> None:
    received: list[int] = []
    paths = fetch(hub_rows, progress=received.append)
    assert paths == {"net": find(hub_rows[0])}
    assert paths["net"].is_relative_to(hub_cache)
    assert paths["net"].read_bytes() == CONTENTS
    assert sum(received) == len(CONTENTS)
    requests = len(server.requests)
    assert fetch(hub_rows) == paths
    assert len(server.requests) == requests, "what is here and right is not asked for again"


def test_a_file_from_a_plain_url_goes_beside_the_manifest(url_rows: list[Checkpoint], weights: Path) -> None:
    received: list[int] = []
    assert fetch(url_rows, progress=received.append, patience=QUICK) == {"net": weights / "net.th"}
    assert (weights / "net.th").read_bytes() == CONTENTS
    assert sum(received) == len(CONTENTS)
    assert left_behind(weights) == ["net.th"]


def test_construction_downloads_only_if_it_may(
    hub_rows: list[Checkpoint], server: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AICROWD_DATASET_DIR", raising=False)
    monkeypatch.setenv("SDX_DOWNLOAD", "1")
    with pytest.raises(RuntimeError, match="is missing"):
        require(hub_rows, download=False)
    assert server.requests == []
    assert require(hub_rows)["net"].read_bytes() == CONTENTS


def test_a_revision_is_asked_for(server: HubServer, hub_cache: Path, net: Path, weights: Path) -> None:
    server.publish(HUB_NAME, "net.th", net, revision="v2")
    origin = {"hub": HUB_NAME, "path": "net.th", "revision": "v2"}
    assert fetch(rows(weights, origin))["net"].read_bytes() == CONTENTS
    assert server.requests[0].path == f"/{HUB_NAME}/resolve/v2/net.th"


def test_origins_are_tried_in_order(
    server: HubServer, hub_cache: Path, net: Path, weights: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server.publish(HUB_NAME, "net.th", net)
    url = server.publish_plain("net.th", net)
    first = {"hub": "owner/nothing", "path": "net.th"}
    assert fetch(rows(weights, first, {"hub": HUB_NAME, "path": "net.th"}, {"url": url}))["net"].exists()
    assert "owner/nothing/net.th@main" in caplog.text
    assert not any(request.path.startswith("/plain") for request in server.requests)


def test_an_unpublished_hash_is_recorded_and_must_stay(
    server: HubServer, hub_cache: Path, net: Path, weights: Path
) -> None:
    server.publish(HUB_NAME, "net.safetensors", net)
    (row,) = rows(weights, {"hub": HUB_NAME, "path": "net.safetensors"})
    path = fetch([row])["net"]
    assert verify(row, path).against == "recorded"
    assert (weights / RECORD_FILE).read_text() == f'{{\n  "net/net.safetensors": "{SHA256}"\n}}\n'

    for file in hub_cache.rglob("*"):  # the user empties the cache; the author uploads other weights
        if file.is_file():
            file.unlink()
    net.write_bytes(CONTENTS[::-1])
    with pytest.raises(DownloadError, match=f"but {SHA256} was recorded"):
        fetch([row])
    assert left_behind(hub_cache) == []


def test_a_tail_md5_is_compared_where_it_is_all_that_is_known(
    server: HubServer, net: Path, weights: Path
) -> None:
    origin = {"url": server.publish_plain("net.th", net)}
    known = {"sha256": None, "tail_md5": hashlib.md5(CONTENTS[-TAIL_BYTES:]).hexdigest()}
    net.write_bytes(CONTENTS[:-1] + b"!")
    with pytest.raises(DownloadError, match=r"the md5 of its last .* expected .* it was moved to"):
        fetch(rows(weights, origin, **known))
    net.write_bytes(CONTENTS)
    (row,) = rows(weights, origin, **known)
    fetch([row])
    assert verify(row, find(row)).against == "recorded"  # with the sha256 that it had
