"""Fetching with the real hub client and the real downloader from a server on loopback that misbehaves."""

import hashlib
import json
import multiprocessing
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub.constants
import pytest
import yaml

from my_submission.weights import Checkpoint, DownloadError, WrongContent, find, require, store, verify
from my_submission.weights.allowance import Patience
from my_submission.weights.fetch import fetch
from my_submission.weights.manifest import read_manifests
from my_submission.weights.store import RECORD_FILE, TAIL_BYTES
from tests.hub_server import HubServer, Reply

HUB_NAME = "owner/nets"
CONTENTS = bytes(range(256)) * 2000  # 512,000 bytes: several blocks
SHA256 = hashlib.sha256(CONTENTS).hexdigest()
QUICK = Patience(connect_seconds=2, read_seconds=2, attempts=3, first_pause_seconds=0.01)
HTML = Reply(body=b"<!DOCTYPE html><html>please log in</html>", content_type="text/html; charset=utf-8")
SILENT_HTML = Reply(body=b"\n<HTML>blocked by your school</HTML>")


@pytest.fixture
def server() -> Iterator[HubServer]:
    with HubServer() as server:
        yield server


def clock_without_sleep(pauses: list[float] | None = None) -> SimpleNamespace:
    """A stand-in for the module `time` in one other module only; collects what would have been slept."""
    return SimpleNamespace(sleep=(pauses if pauses is not None else []).append, time=time.time)


@pytest.fixture
def hub_cache(server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The real client talks to `server` and caches in this folder, as HF_ENDPOINT and HF_HUB_CACHE would have it.

    Both are read when the client is imported, so here their results are replaced; the slow test sets the variables.
    """
    constants, cache = huggingface_hub.constants, tmp_path / "hub-cache"
    monkeypatch.setattr(constants, "ENDPOINT", server.endpoint)
    template = server.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr("huggingface_hub.utils._http.time", clock_without_sleep())
    return cache


@pytest.fixture
def net(tmp_path: Path) -> Path:
    path = tmp_path / "served.th"
    path.write_bytes(CONTENTS)
    return path


def rows(folder: Path, *origins: dict[str, str], **changes: object) -> list[Checkpoint]:
    """One checkpoint `net`, in a manifest in `folder`, with the known size and hash of `net`."""
    folder.mkdir(exist_ok=True)
    row = {
        "architecture": "htdemucs",
        "sources": ["vocals"],
        "file": "net.th",
        "bytes": len(CONTENTS),
        "sha256": SHA256,
        "licence": "MIT",
        "origins": list(origins),
        **changes,
    }
    path = folder / "manifest.yaml"
    path.write_text(yaml.safe_dump({"checkpoints": {"net": row}}))
    return list(read_manifests(path).checkpoints.values())


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return tmp_path / "weights"


@pytest.fixture
def hub_rows(server: HubServer, hub_cache: Path, net: Path, weights: Path) -> list[Checkpoint]:
    server.publish(HUB_NAME, "folder/net.th", net)
    return rows(weights, {"hub": HUB_NAME, "path": "folder/net.th"})


@pytest.fixture
def url_rows(server: HubServer, hub_cache: Path, net: Path, weights: Path) -> list[Checkpoint]:
    return rows(weights, {"url": server.publish_plain("net.th", net)})


def left_behind(*folders: Path) -> list[str]:
    """Everything on disk that something could take for weights, except what was set aside."""
    files = (path for folder in folders for path in folder.rglob("*") if path.is_file())
    return sorted(
        path.name
        for path in files
        if path.name != "manifest.yaml" and path.stat().st_size and ".rejected" not in path.name
        and path.name not in ("CACHEDIR.TAG", "main") and path.suffix != ".lock"
    )  # fmt: skip


# --- what goes well ---------------------------------------------------------------------------------


def test_an_installed_kit_keeps_what_it_fetches_in_the_users_folder(
    server: HubServer, net: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hashes, too; those that came with the kit hold as well."""
    origin = {"url": server.publish_plain("net.th", net)}
    home, demo = tmp_path / "home" / "weights", weights / "demo"
    weights.mkdir()
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


# --- what goes wrong ---------------------------------------------------------------------------------


def test_a_wrong_file_from_the_hub_is_moved_aside_and_named(
    hub_rows: list[Checkpoint], net: Path, hub_cache: Path
) -> None:
    net.write_bytes(CONTENTS[::-1])
    with pytest.raises(DownloadError, match=r"the sha256 is .* expected .* it was moved to") as caught:
        fetch(hub_rows)
    aside = Path(str(caught.value).rsplit("it was moved to ", 1)[1].strip())
    assert aside.read_bytes() == CONTENTS[::-1]
    assert left_behind(hub_cache) == []

    net.write_bytes(CONTENTS)  # the mirror is repaired
    assert fetch(hub_rows)["net"].read_bytes() == CONTENTS
    assert aside.exists()


def test_a_wrong_file_from_a_plain_url_is_moved_aside_and_named(
    url_rows: list[Checkpoint], net: Path, weights: Path
) -> None:
    net.write_bytes(CONTENTS[::-1])
    for number in (1, 2):
        with pytest.raises(
            DownloadError, match=rf"it was moved to {weights}/net\.th\.part\.rejected{number}"
        ):
            fetch(url_rows, patience=QUICK)
    assert left_behind(weights) == []


def test_a_wrong_file_that_is_here_is_moved_aside_and_fetched_anew(
    url_rows: list[Checkpoint], weights: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (weights / "net.th").write_bytes(CONTENTS[:-1])
    assert fetch(url_rows, patience=QUICK)["net"].read_bytes() == CONTENTS
    assert (weights / "net.th.rejected1").read_bytes() == CONTENTS[:-1]
    assert f"it was moved to {weights}/net.th.rejected1" in caplog.text


def test_a_users_own_file_is_never_moved(weights: Path) -> None:
    (row,) = rows(weights)
    document = yaml.safe_load(row.manifest.read_text())
    document["checkpoints"]["net"]["path"] = document["checkpoints"]["net"].pop("file")
    row.manifest.write_text(yaml.safe_dump(document))
    (weights / "net.th").write_bytes(b"mine")
    with pytest.raises(DownloadError, match="has 4 bytes"):
        fetch(read_manifests(row.manifest).checkpoints.values())
    assert (weights / "net.th").read_bytes() == b"mine"


def test_a_users_own_file_may_change(weights: Path) -> None:
    own = rows(weights, sha256=None, bytes=None)
    for contents in (b"first", b"retrained"):
        (weights / "net.th").write_bytes(contents)
        assert fetch(own) == {"net": weights / "net.th"}
    assert not (weights / RECORD_FILE).exists()


@pytest.mark.parametrize("page", [HTML, SILENT_HTML])
@pytest.mark.parametrize("known", [True, False])
def test_an_html_page_with_status_200_is_no_file(
    server: HubServer, hub_cache: Path, net: Path, weights: Path, page: Reply, known: bool
) -> None:
    nothing_known = {} if known else {"bytes": None, "sha256": None}
    url_row = rows(weights, {"url": server.publish_plain("net.th", net)}, **nothing_known)
    server.misbehave("net.th", page)
    with pytest.raises(DownloadError, match=r"HTML page|offers \d+ bytes, expected 512,000"):
        fetch(url_row, patience=QUICK)
    assert left_behind(weights) == []

    server.publish(HUB_NAME, "net.th", net)
    hub_row = rows(weights, {"hub": HUB_NAME, "path": "net.th"}, **nothing_known)
    server.misbehave("net.th", page)
    with pytest.raises(DownloadError, match=r"size 512000|HTML page"):
        fetch(hub_row)
    server.misbehave("net.th", Reply(to_head=True, body=page.body, content_type=page.content_type))
    with pytest.raises(DownloadError, match="X-Repo-Commit"):
        fetch(hub_row)
    assert left_behind(hub_cache) == []


def test_the_hub_answers_404(hub_rows: list[Checkpoint], server: HubServer, weights: Path) -> None:
    row = rows(weights, {"hub": "owner/none", "path": "net.th"}, {"hub": HUB_NAME, "path": "none/net.th"})
    with pytest.raises(DownloadError) as caught:
        fetch(row)
    message = str(caught.value)
    assert message.splitlines()[0] == "1 of 1 could not be fetched:"
    assert "owner/none/net.th@main: 404 Client Error" in message
    assert f"{HUB_NAME}/none/net.th@main: 404 Client Error" in message


@pytest.mark.parametrize("status", [429, 500, 503])
def test_the_hub_is_asked_again_after_a_passing_failure(
    hub_rows: list[Checkpoint], server: HubServer, status: int
) -> None:
    server.misbehave("net.th", Reply(status, to_head=True), Reply(status, to_head=True))
    assert fetch(hub_rows)["net"].read_bytes() == CONTENTS


def test_the_hub_cuts_the_connection_and_the_client_asks_again(
    hub_rows: list[Checkpoint], server: HubServer
) -> None:
    server.misbehave("net.th", Reply(cut_after=100_000), Reply(cut_after=100_000))
    received: list[int] = []
    assert fetch(hub_rows, progress=received.append)["net"].read_bytes() == CONTENTS
    assert len(server.gets("net.th")) == 3
    assert sum(received) == len(CONTENTS)


def test_the_hub_gone_for_good_is_reported(
    hub_rows: list[Checkpoint], server: HubServer, hub_cache: Path
) -> None:
    server.misbehave("net.th", *[Reply(500, to_head=True)] * 20)
    with pytest.raises(DownloadError, match=rf"{HUB_NAME}/folder/net\.th@main: .*500"):
        fetch(hub_rows)
    assert left_behind(hub_cache) == []


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_plain_url_that_refuses_is_asked_once(
    url_rows: list[Checkpoint], server: HubServer, status: int
) -> None:
    server.misbehave("net.th", Reply(status))
    with pytest.raises(DownloadError, match=f"/plain/net.th: HTTP {status}"):
        fetch(url_rows, patience=QUICK)
    assert len(server.gets("net.th")) == 1


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_a_plain_url_is_asked_again_after_a_passing_failure(
    url_rows: list[Checkpoint], server: HubServer, status: int
) -> None:
    server.misbehave("net.th", Reply(status), Reply(status))
    assert fetch(url_rows, patience=QUICK)["net"].read_bytes() == CONTENTS


def test_a_plain_url_that_keeps_failing_is_given_up(url_rows: list[Checkpoint], server: HubServer) -> None:
    server.misbehave("net.th", *[Reply(503)] * 5)
    with pytest.raises(DownloadError, match=r"HTTP 503.*\(tried 3 times\)"):
        fetch(url_rows, patience=QUICK)
    assert len(server.gets("net.th")) == QUICK.attempts


def test_the_servers_wish_to_wait_is_granted_within_limits(
    url_rows: list[Checkpoint], server: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("my_submission.weights.download.time", clock_without_sleep(pauses))
    server.misbehave(
        "net.th", Reply(429, headers={"Retry-After": "7"}), Reply(503, headers={"Retry-After": "999"})
    )
    assert fetch(url_rows, patience=QUICK)["net"].exists()
    assert pauses == [7, QUICK.longest_pause_seconds]


def test_a_cut_connection_is_resumed_as_long_as_bytes_come(
    url_rows: list[Checkpoint], server: HubServer
) -> None:
    server.misbehave("net.th", *[Reply(cut_after=100_000)] * 4)  # more cuts than attempts
    received: list[int] = []
    assert fetch(url_rows, progress=received.append, patience=QUICK)["net"].read_bytes() == CONTENTS
    assert [request.start for request in server.gets("net.th")] == [0, 100_000, 200_000, 300_000, 400_000]
    assert sum(received) == len(CONTENTS)


@pytest.mark.parametrize("sends_etags", [True, False])
def test_a_file_that_changes_while_it_comes_is_not_pieced_together(
    server: HubServer,
    hub_cache: Path,
    net: Path,
    weights: Path,
    monkeypatch: pytest.MonkeyPatch,
    sends_etags: bool,
) -> None:
    """Where no whole hash would tell: by the etag, or, without one, by starting over."""
    server.sends_etags = sends_etags
    row = rows(weights, {"url": server.publish_plain("net.th", net)}, sha256=None, bytes=None)
    changed = CONTENTS[::-1]
    uploading = SimpleNamespace(sleep=lambda _: net.write_bytes(changed))
    monkeypatch.setattr("my_submission.weights.download.time", uploading)
    server.misbehave("net.th", Reply(cut_after=100_000))
    received: list[int] = []
    assert fetch(row, progress=received.append, patience=QUICK)["net"].read_bytes() == changed
    assert sum(received) == len(changed)


def test_a_stalled_server_is_left_after_the_time_out(url_rows: list[Checkpoint], server: HubServer) -> None:
    impatient = Patience(connect_seconds=1, read_seconds=0.2, attempts=2, first_pause_seconds=0.01)
    server.misbehave("net.th", Reply(pause_seconds=1))
    assert fetch(url_rows, patience=impatient)["net"].read_bytes() == CONTENTS
    assert server.gets("net.th")[1].start > 0


def test_what_an_earlier_run_left_is_gone_on_with_if_the_hash_is_known(
    url_rows: list[Checkpoint], server: HubServer, weights: Path, net: Path
) -> None:
    (weights / "net.th.part").write_bytes(CONTENTS[:300_000])
    fetch(url_rows, patience=QUICK)
    assert [request.start for request in server.gets("net.th")] == [300_000]

    (weights / "net.th").unlink()
    (weights / "net.th.part").write_bytes(CONTENTS[:300_000])
    unknown = rows(weights, {"url": server.publish_plain("net.th", net)}, sha256=SHA256[:8], bytes=None)
    fetch(unknown, patience=QUICK)
    assert server.gets("net.th")[-1].start == 0


@pytest.mark.parametrize("size_known", [True, False])
def test_a_part_that_is_complete_or_too_long(
    server: HubServer, hub_cache: Path, net: Path, weights: Path, size_known: bool
) -> None:
    size = {} if size_known else {"bytes": None}
    row = rows(weights, {"url": server.publish_plain("net.th", net)}, **size)
    (weights / "net.th.part").write_bytes(CONTENTS)
    fetch(row, patience=QUICK)
    assert sum(request.start == 0 for request in server.gets("net.th")) == 0, "all of it was here"

    (weights / "net.th").unlink()
    (weights / "net.th.part").write_bytes(CONTENTS + b"more")
    fetch(row, patience=QUICK)
    assert (weights / "net.th").read_bytes() == CONTENTS


def test_a_part_with_other_contents_is_set_aside_and_the_next_run_starts_over(
    url_rows: list[Checkpoint], weights: Path
) -> None:
    (weights / "net.th.part").write_bytes(b"x" * 1000)
    with pytest.raises(DownloadError, match="it was moved to"):
        fetch(url_rows, patience=QUICK)
    assert fetch(url_rows, patience=QUICK)["net"].read_bytes() == CONTENTS


def test_a_server_without_ranges_starts_over(
    url_rows: list[Checkpoint], server: HubServer, weights: Path
) -> None:
    (weights / "net.th.part").write_bytes(CONTENTS[:1000])
    server.misbehave("net.th", Reply(body=CONTENTS))
    received: list[int] = []
    assert fetch(url_rows, progress=received.append, patience=QUICK)["net"].read_bytes() == CONTENTS
    assert sum(received) == len(CONTENTS)


def test_a_host_that_cannot_be_reached_is_tried_once_a_run(
    server: HubServer, hub_cache: Path, net: Path, weights: Path
) -> None:
    nowhere = "http://127.0.0.1:1"
    path = weights / "manifest.yaml"
    rows(weights, {"url": f"{nowhere}/net.th"}, {"url": server.publish_plain("net.th", net)})
    document = yaml.safe_load(path.read_text())
    document["checkpoints"]["second"] = {
        **document["checkpoints"]["net"],
        "origins": [{"url": f"{nowhere}/second.th"}],
    }
    document["checkpoints"]["second"]["file"] = "second.th"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    with pytest.raises(DownloadError) as caught:
        fetch(read_manifests(path).checkpoints.values(), patience=QUICK)
    message = str(caught.value)
    assert "1 of 2 could not be fetched; the other 1 are here and verified" in message
    assert "127.0.0.1:1 could not be reached a moment ago" in message
    assert (weights / "net.th").exists()


def test_without_origins_the_place_is_named(weights: Path) -> None:
    with pytest.raises(DownloadError, match=f"no origins.*; put your own file here: {weights}/net.th$"):
        fetch(rows(weights))


def test_offline_nothing_is_asked_for(
    hub_rows: list[Checkpoint], server: HubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = fetch(hub_rows)["net"]
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    server.requests.clear()
    assert fetch(hub_rows) == {"net": path}, "what is in the cache is found offline"
    path.unlink()
    with pytest.raises(DownloadError, match="HF_HUB_OFFLINE forbids downloading"):
        fetch(hub_rows)
    assert server.requests == []


# --- processes and disks ----------------------------------------------------------------------------

FORK = multiprocessing.get_context("fork")


@pytest.mark.parametrize("kind", ["hub_rows", "url_rows"])
def test_two_processes_at_once(
    request: pytest.FixtureRequest, server: HubServer, weights: Path, hub_cache: Path, kind: str
) -> None:
    checkpoints = request.getfixturevalue(kind)
    server.misbehave("net.th", Reply(pause_seconds=0.05))
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
