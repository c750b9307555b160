"""Fetching from hosts that refuse, cut, stall, change or send something else."""

from pathlib import Path
from types import SimpleNamespace

import huggingface_hub.constants
import pytest
import yaml

from my_submission.weights import Checkpoint, DownloadError
from my_submission.weights.allowance import Patience
from my_submission.weights.fetch import fetch
from my_submission.weights.manifest import read_manifests
from my_submission.weights.store import RECORD_FILE
from tests.hub_server import HubServer, Reply
from tests.my_submission.weights.served import (
    CONTENTS,
    HUB_NAME,
    QUICK,
    SHA256,
    clock_without_sleep,
    left_behind,
    rows,
)

HTML = Reply(body=b"<!DOCTYPE html><html>please log in</html>", content_type="text/html; charset=utf-8")
SILENT_HTML = Reply(body=b"\n<HTML>blocked by your school</HTML>")


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
