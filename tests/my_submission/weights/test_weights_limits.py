"""Downloads end: whatever a server sends, they stop at a size and a time, and write where they were told to alone."""

import contextlib
import hashlib
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub.constants
import pytest
import yaml

from my_submission.weights import Checkpoint, DownloadError, WeightsError, find, verify
from my_submission.weights import store as store_module
from my_submission.weights.allowance import Allowance, Patience
from my_submission.weights.download import download, retry_after
from my_submission.weights.errors import WrongContent
from my_submission.weights.fetch import fetch, set_aside
from my_submission.weights.manifest import read_manifests
from my_submission.weights.store import LARGEST_UNKNOWN_BYTES, RECORD_FILE, write_record
from tests.hub_server import COMMIT

CONTENTS = bytes(range(256)) * 40  # 10,240 bytes
SHA256 = hashlib.sha256(CONTENTS).hexdigest()
REPOSITORY = "owner/nets"
PATIENT = Patience(
    connect_seconds=5, read_seconds=60, attempts=3, first_pause_seconds=0.01, longest_pause_seconds=0.05
)  # fmt: skip
BRIEF = replace(
    PATIENT, grace_seconds=0.4, least_bytes_per_second=1e6
)  # where the download is to be given up

Conversation = Callable[[socket.socket, bytes], None]
"""What a server does with a connection, once it has the request."""


@contextlib.contextmanager
def serving(talk: Conversation) -> Iterator[str]:
    """The address of a server that treats every connection so, until the client goes away."""
    listener = socket.create_server(("127.0.0.1", 0))

    def one(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            request = b""
            while b"\r\n\r\n" not in request:
                received = connection.recv(65_536)
                if not received:
                    return
                request += received
            talk(connection, request)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=one, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def head(status: str = "200 OK", **headers: object) -> bytes:
    lines = [f"HTTP/1.1 {status}", *(f"{key.replace('_', '-')}: {value}" for key, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode()


def answer(body: bytes = CONTENTS, status: str = "200 OK", **headers: object) -> Conversation:
    """One whole answer."""
    content = head(status, Content_Length=len(body), Connection="close", **headers) + body
    return lambda connection, _: connection.sendall(content)


def endless(connection: socket.socket, _: bytes) -> None:
    """A body without a stated size that never ends."""
    connection.sendall(head(Transfer_Encoding="chunked"))
    while True:
        connection.sendall(b"10000\r\n" + bytes(0x10000) + b"\r\n")


def dribbling(before: bytes, drop: bytes) -> Conversation:
    """Something, and then a drop every now and then, for ever."""

    def talk(connection: socket.socket, _: bytes) -> None:
        connection.sendall(before)
        while True:
            connection.sendall(drop)
            time.sleep(0.05)

    return talk


def one_byte_each_time(connection: socket.socket, request: bytes) -> None:
    """One more byte to every request, and then the connection ends."""
    lines = request.decode().splitlines()
    start = next((int(line.split("=")[1].rstrip("-")) for line in lines if line.startswith("Range")), 0)
    place = {"Content_Range": f"bytes {start}-{len(CONTENTS) - 1}/{len(CONTENTS)}"} if start else {}
    connection.sendall(
        head("206 Partial Content" if start else "200 OK", Content_Length=len(CONTENTS) - start, **place)
    )
    connection.sendall(CONTENTS[start : start + 1])


def sending_again_and_again(connection: socket.socket, request: bytes) -> None:
    """Half a file, and then another range than was asked for, so that all begins anew."""
    if b"Range:" in request:
        connection.sendall(head("206 Partial Content", Content_Range="bytes 7-8/9", Content_Length=2) + b"xx")
    else:
        connection.sendall(head(Content_Length=len(CONTENTS)) + CONTENTS[:5000])


def circle(connection: socket.socket, _: bytes) -> None:
    connection.sendall(head("302 Found", Location="/net.th", Content_Length=0, Connection="close"))


def rows(folder: Path, url: str, **changes: object) -> list[Checkpoint]:
    """One checkpoint `net` that comes from there, of known size and hash."""
    folder.mkdir(exist_ok=True)
    row = {
        "architecture": "htdemucs", "sources": ["vocals"], "file": "net.th", "bytes": len(CONTENTS),
        "sha256": SHA256, "licence": "MIT", "origins": [{"url": f"{url}/net.th"}], **changes,
    }  # fmt: skip
    (folder / "manifest.yaml").write_text(yaml.safe_dump({"checkpoints": {"net": row}}))
    return list(read_manifests(folder / "manifest.yaml").checkpoints.values())


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    (tmp_path / "weights").mkdir()
    return tmp_path / "weights"


def fetched(weights: Path, talk: Conversation, patience: Patience = PATIENT, **changes: object) -> Path:
    with serving(talk) as url:
        return fetch(rows(weights, url, **changes), patience=patience)["net"]


NOTHING_KNOWN: dict[str, Any] = {"bytes": None, "sha256": None}


# --- sizes ------------------------------------------------------------------------------------------


def test_an_endless_file_ends_at_the_known_size(weights: Path) -> None:
    with pytest.raises(DownloadError, match=r"sends [\d,]+ bytes or more, expected at most 10,240 \(its row"):
        fetched(weights, endless)
    assert not (weights / "net.th.part").exists(), "it cannot be the beginning of the file"


def test_an_endless_file_of_unknown_size_ends_at_the_stated_maximum(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("my_submission.weights.download.LARGEST_UNKNOWN_BYTES", 1_000_000)
    with pytest.raises(
        DownloadError, match=r"expected at most 1,000,000 \(the most for a row without bytes\)"
    ):
        fetched(weights, endless, **NOTHING_KNOWN)
    assert not (weights / "net.th.part").exists()


@pytest.mark.parametrize("size", [LARGEST_UNKNOWN_BYTES + 1, 10**18 - 1])
def test_a_stated_size_beyond_the_maximum_is_refused_before_anything_comes(weights: Path, size: int) -> None:
    talk = dribbling(head(Content_Length=size), b"x")
    with pytest.raises(DownloadError, match=rf"sends {size:,} bytes or more"):
        fetched(weights, talk, **NOTHING_KNOWN)


def test_a_file_of_unknown_size_within_the_maximum_is_taken(weights: Path) -> None:
    assert fetched(weights, answer(), **NOTHING_KNOWN).read_bytes() == CONTENTS


def test_a_row_that_states_its_size_may_be_larger_than_the_maximum(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in ("store", "download"):
        monkeypatch.setattr(f"my_submission.weights.{place}.LARGEST_UNKNOWN_BYTES", 100)
    assert fetched(weights, answer(), sha256=None).read_bytes() == CONTENTS


def test_a_file_that_is_here_is_held_to_the_same_maximum_before_it_is_hashed(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sparse file of terabytes costs nothing to make, and hours to read."""
    monkeypatch.setattr(store_module, "sha256_of", lambda *_: pytest.fail("it was read"))
    with (weights / "net.th").open("wb") as file:
        file.truncate(LARGEST_UNKNOWN_BYTES + 1)
    (row,) = rows(weights, "http://nowhere", **NOTHING_KNOWN)
    with pytest.raises(WrongContent, match=r"has 4,294,967,297 bytes, expected at most 4,294,967,296"):
        verify(row, weights / "net.th")


# --- time -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "talk",
    [
        dribbling(b"", b""),
        dribbling(b"HTTP/1.1 200 OK\r\n", b"X-More: and more\r\n"),
        dribbling(b"", b"HTTP/1.1 103 Early Hints\r\n\r\n"),
        dribbling(head(Content_Length=len(CONTENTS)), b"x"),
        dribbling(head(Transfer_Encoding="chunked"), b"1\r\nx\r\n"),
        one_byte_each_time,
    ],
    ids=["silence", "headers", "early-hints", "body", "chunks", "a-byte-each-time"],
)
@pytest.mark.parametrize("known", [True, False])
def test_a_server_that_dribbles_for_ever_is_left(weights: Path, talk: Conversation, known: bool) -> None:
    complaint = r"given up after \d+ s with [\d,]+ bytes: expected 1,000,000 bytes a second after"
    if talk is one_byte_each_time and not known:
        complaint = (
            r"\(tried 3 times\)"  # each try begins anew, where neither hash nor etag holds them together
        )
    with pytest.raises(DownloadError, match=complaint):
        fetched(weights, talk, BRIEF, **({} if known else NOTHING_KNOWN))


def test_a_server_that_sends_the_file_again_and_again_is_left(weights: Path) -> None:
    with pytest.raises(DownloadError, match="another range than asked for"):
        fetched(weights, sending_again_and_again)


def test_redirects_in_a_circle_end(weights: Path) -> None:
    with pytest.raises(DownloadError, match="redirects"):
        fetched(weights, circle)


def test_nothing_is_written_after_a_download_was_given_up(weights: Path) -> None:
    """The thread that still reads the socket finds the file closed to it: another may be using its name."""
    part = weights / "net.th.part"
    with serving(dribbling(head(Transfer_Encoding="chunked"), b"1\r\nx\r\n")) as url:
        with pytest.raises(DownloadError, match="given up"):
            download(
                f"{url}/x",
                part,
                expected_bytes=None,
                hash_known=True,
                progress=lambda _: None,
                patience=BRIEF,
            )
        size = part.stat().st_size
        time.sleep(0.3)
        assert part.stat().st_size == size


def test_a_download_that_was_given_up_does_not_go_on() -> None:
    """Here one that tries again whatever happens, as a library's would."""
    tries: list[int] = []

    def again_and_again() -> None:
        while True:
            with contextlib.suppress(Exception):
                tries.append(threading.get_ident())
                time.sleep(0.01)

    with pytest.raises(DownloadError, match="given up"):
        Allowance(1, "a test", BRIEF).wait(again_and_again)
    deadline = time.monotonic() + 60
    while any(thread.ident == tries[0] for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_bytes_earn_time_but_repetition_does_not() -> None:
    allowance = Allowance(1_000_000, "a test", Patience(grace_seconds=100, least_bytes_per_second=1_000))
    assert allowance.seconds_left() == pytest.approx(100, abs=50)
    allowance.arrived(500_000)
    assert allowance.seconds_left() == pytest.approx(600, abs=50)
    for _ in range(100):
        allowance.arrived(500_000)
    assert allowance.seconds_left() == pytest.approx(1100, abs=50)


def test_an_allowance_passes_on_what_is_returned_and_what_is_raised() -> None:
    def fail() -> None:
        raise ZeroDivisionError

    assert Allowance(1, "a test", BRIEF).wait(lambda: 3) == 3
    with pytest.raises(ZeroDivisionError):
        Allowance(1, "a test", BRIEF).wait(fail)


ODD_WAITS = [
    "-5", "nan", "inf", "-inf", "1e9", "9" * 5_000, "²", "٣" * 3, "Wed, 21 Oct 2099 07:28:00 GMT", "soon", "",
    "0x10", "1,5", "99999999999", "1 2",
]  # fmt: skip


@pytest.mark.parametrize("text", ODD_WAITS)
def test_an_odd_wish_to_wait_is_a_number_of_seconds_or_none(text: str) -> None:
    assert retry_after(text) in (None, 99_999_999_999.0)


@pytest.mark.parametrize("text", ["7", " 120 ", "0"])
def test_a_wish_to_wait(text: str) -> None:
    assert retry_after(text) == float(text)


def first(status: str, **headers: str) -> Conversation:
    """That to the first request, the file to those after it."""
    replies = iter([answer(b"", status, **headers)])
    return lambda connection, request: next(replies, answer())(connection, request)


@pytest.mark.parametrize("text", [text for text in ODD_WAITS if text.isascii()])
def test_whatever_the_server_wishes_the_file_comes(weights: Path, text: str) -> None:
    assert fetched(weights, first("503 Later", Retry_After=text)).read_bytes() == CONTENTS


# --- the hub ----------------------------------------------------------------------------------------


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def hub(get: Conversation, etag: str = f'"{SHA256}"') -> Conversation:
    """A hub that says what the file is, and does that to those who ask for its bytes."""
    described = answer(b"", X_Repo_Commit=COMMIT, ETag=etag, X_Linked_Size=len(CONTENTS))

    def talk(connection: socket.socket, request: bytes) -> None:
        (described if request.startswith(b"HEAD") else get)(connection, request)

    return talk


def from_hub(
    weights: Path,
    monkeypatch: pytest.MonkeyPatch,
    talk: Conversation,
    patience: Patience = PATIENT,
    **changes: object,
) -> dict[str, Path]:
    with serving(talk) as url:
        constants = huggingface_hub.constants
        monkeypatch.setattr(constants, "ENDPOINT", url)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}"
        )
        origin = {"hub": REPOSITORY, "path": "net.th"}
        return fetch(rows(weights, url, origins=[origin], **changes), patience=patience)


def left_in(cache: Path) -> list[Path]:
    return [path for path in cache.rglob("*") if path.is_file() and path.stat().st_size > 1_000]


@pytest.mark.usefixtures("cache")
def test_the_hub_gives_a_file(weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert from_hub(weights, monkeypatch, hub(answer()))["net"].read_bytes() == CONTENTS


@pytest.mark.parametrize("known", [True, False])
def test_an_endless_file_from_the_hub_ends(
    weights: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    monkeypatch.setattr("my_submission.weights.download.LARGEST_UNKNOWN_BYTES", 1_000_000)
    with pytest.raises(DownloadError, match=r"bytes or more, expected at most (10,240|1,000,000)"):
        from_hub(weights, monkeypatch, hub(endless), **({} if known else NOTHING_KNOWN))
    assert left_in(cache) == []


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize(
    "talk",
    [
        dribbling(b"HTTP/1.1 200 OK\r\n", b"X-More: and more\r\n"),
        hub(dribbling(head(Transfer_Encoding="chunked"), b"1\r\nx\r\n")),
        circle,
    ],
    ids=["headers", "body", "circle"],
)
def test_a_hub_that_never_ends_is_left(
    weights: Path, monkeypatch: pytest.MonkeyPatch, talk: Conversation
) -> None:
    with pytest.raises(DownloadError, match=r"given up after \d+ s|redirects"):
        from_hub(weights, monkeypatch, talk, BRIEF)


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize(
    "headers",
    [{"Retry_After": text} for text in ("99999999999", "9" * 5_000, "-3", "nan", "soon")]
    + [{"RateLimit": '"api";r=0;t=99999999999'}],
)
def test_a_hub_is_not_waited_for_as_long_as_it_likes(
    weights: Path, monkeypatch: pytest.MonkeyPatch, headers: dict[str, str]
) -> None:
    pauses: list[float] = []
    clock = SimpleNamespace(sleep=pauses.append, time=time.time)
    monkeypatch.setattr("huggingface_hub.utils._http.time", clock)
    talk = hub(first("429 Slowly", **headers))
    assert from_hub(weights, monkeypatch, talk)["net"].read_bytes() == CONTENTS
    assert sum(pauses) <= 1 + PATIENT.longest_pause_seconds


@pytest.mark.usefixtures("cache")
def test_a_page_that_says_why_there_is_no_file_may_be_larger_than_it(
    weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = answer(b"x" * 50_000, "404 Not Found", ETag='"a/version/with/slashes"')
    with pytest.raises(DownloadError, match="404 Not Found"):
        from_hub(weights, monkeypatch, hub(page))


@pytest.mark.parametrize("etag", ['"../../../owned"', '"/{place}/owned"', '"a\\\\b"', '".."'])
def test_a_version_that_is_a_path_writes_nothing(
    weights: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, etag: str
) -> None:
    owned = weights / "owned"
    talk = hub(answer(), etag.format(place=str(weights).lstrip("/")))
    with pytest.raises(DownloadError, match="which is a path and no version"):
        from_hub(weights, monkeypatch, talk)
    assert not owned.exists()
    assert left_in(cache) == []


@pytest.mark.parametrize("place", [".locks", "models--owner--nets/refs", "models--owner--nets/refs/main"])
def test_links_in_the_hubs_cache_are_not_followed(
    weights: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, place: str, tmp_path: Path
) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "main").write_text("mine")
    link = cache / place
    link.parent.mkdir(parents=True)
    link.symlink_to(precious / "main" if place.endswith("main") else precious)
    with pytest.raises(DownloadError, match=rf"{link} is a link, which is not followed"):
        from_hub(weights, monkeypatch, hub(answer()))
    assert [path.name for path in precious.iterdir()] == ["main"]
    assert (precious / "main").read_text() == "mine"


# --- links ------------------------------------------------------------------------------------------


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
