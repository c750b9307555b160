"""Downloads from the hub end, too, and write to its cache alone, whatever it answers."""

import socket
import time
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub.constants
import pytest

from my_submission.weights import DownloadError
from my_submission.weights.allowance import Patience
from my_submission.weights.fetch import fetch
from tests.hub_server import COMMIT
from tests.my_submission.weights.raw_server import (
    BRIEF,
    CONTENTS,
    NOTHING_KNOWN,
    PATIENT,
    REPOSITORY,
    SHA256,
    Conversation,
    answer,
    circle,
    dribbling,
    endless,
    first,
    head,
    rows,
    serving,
)


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
