"""Downloads end: whatever a server sends, they stop at a size and a time, and write where they were told to alone."""

import contextlib
import threading
import time
from pathlib import Path

import pytest

from my_submission.weights import DownloadError, verify
from my_submission.weights import store as store_module
from my_submission.weights.allowance import Allowance, Patience
from my_submission.weights.download import download, retry_after
from my_submission.weights.errors import WrongContent
from my_submission.weights.store import LARGEST_UNKNOWN_BYTES
from tests.my_submission.weights.raw_server import (
    BRIEF,
    CONTENTS,
    NOTHING_KNOWN,
    PATIENT,
    Conversation,
    answer,
    circle,
    dribbling,
    endless,
    fetched,
    first,
    head,
    one_byte_each_time,
    rows,
    sending_again_and_again,
    serving,
)
from tests.thinned import one_in

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
@pytest.mark.parametrize("known", one_in(2, [True, False]))
def test_a_server_that_dribbles_for_ever_is_left(weights: Path, talk: Conversation, known: bool) -> None:
    complaint = r"given up after \d+ s with [\d,]+ bytes: expected 1,000,000 bytes a second after"
    patience = BRIEF
    if talk is one_byte_each_time and not known:
        # Each try begins anew, where neither hash nor etag holds them together.
        complaint, patience = r"\(tried 3 times\)", PATIENT
    with pytest.raises(DownloadError, match=complaint):
        fetched(weights, talk, patience, **({} if known else NOTHING_KNOWN))


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
        time.sleep(0.1)
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


@pytest.mark.parametrize("text", [text for text in ODD_WAITS if text.isascii()])
def test_whatever_the_server_wishes_the_file_comes(weights: Path, text: str) -> None:
    assert fetched(weights, first("503 Later", Retry_After=text)).read_bytes() == CONTENTS
