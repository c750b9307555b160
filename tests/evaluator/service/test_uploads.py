"""Uploads by tus: any pieces, any interruption, the same bytes; and what is refused before a byte travels."""

import asyncio
import base64
import errno
import hashlib
import os
from collections.abc import AsyncIterator, Iterator
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
from starlette.requests import Request

from evaluator.service import receiving, security, uploads
from evaluator.service.errors import Refused
from evaluator.service.settings import DAY_SECONDS, Settings
from evaluator.service.tables import Upload
from tests import thinned
from tests.evaluator.service.world import PATCH, World, estimates, zipped

CONTENT = bytes(range(256)) * 30  # of the length of a file that fits
NAME = "a_bass.wav"


def begun(world: World, content: bytes = CONTENT, name: str = NAME) -> str:
    """The location of a new upload."""
    (upload,) = world.declare("ann", world.begin("ann"), {name: content})
    return str(upload["location"])


def offset_of(world: World, location: str) -> int:
    return int(world.program("ann").head(location).headers["Upload-Offset"])


def bytes_of(world: World, location: str) -> bytes:
    with world.database.reading() as session:
        upload = session.get_one(Upload, location.rpartition("/")[2])
        return uploads.path_of(world.settings, upload).read_bytes()


@pytest.mark.parametrize("pieces", thinned.one_in(2, [[1, 7679], [7680], [5000, 0, 2680], [2560] * 3]))
def test_any_pieces_make_the_same_bytes(world: World, pieces: list[int]) -> None:
    location, offset = begun(world), 0
    for length in pieces:
        answer = world.program("ann").patch(
            location,
            content=CONTENT[offset : offset + length],
            headers={**PATCH, "Upload-Offset": str(offset)},
        )
        offset += length
        assert (answer.status_code, answer.headers["Upload-Offset"]) == (204, str(offset))
        assert offset_of(world, location) == offset
    assert bytes_of(world, location) == CONTENT


def test_a_connection_that_breaks_keeps_what_came(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """At every byte, also where the machine has more on its disk than it said it had."""
    monkeypatch.setattr(receiving, "BLOCK_BYTES", 1000)
    monkeypatch.setattr(receiving, "FLUSHED_BYTES", 2000)
    location = begun(world)
    for broken in (1, 999, 1500, 2500):
        before = offset_of(world, location)
        send_and_break(world, location, CONTENT[before:][:broken], before)
        assert offset_of(world, location) == before + broken
    with world.database.reading() as session:
        path = uploads.path_of(world.settings, session.get_one(Upload, location.rpartition("/")[2]))
    with path.open("ab") as file:
        file.write(b"of a write that was not noted any more")
    assert world.send("ann", location, CONTENT, offset_of(world, location)).status_code == 204
    assert bytes_of(world, location)[: len(CONTENT)] == CONTENT


def send_and_break(world: World, location: str, content: bytes, offset: int, is_silent: bool = False) -> None:
    """A PATCH whose sender is gone after `content`, or says no more, as the server sees it."""
    messages: list[dict[str, Any]] = [
        {"type": "http.request", "body": content, "more_body": True},
        {"type": "http.disconnect"},
    ]
    headers = {**PATCH, "Upload-Offset": str(offset), "Host": "127.0.0.1"}
    headers["Authorization"] = f"Bearer {world.token('ann')}"
    scope = {
        "type": "http", "method": "PATCH", "path": location, "raw_path": location.encode(), "query_string": b"",
        "headers": [(name.lower().encode(), value.encode()) for name, value in headers.items()],
        "scheme": "http", "server": ("127.0.0.1", 8000), "client": ("127.0.0.1", 1), "http_version": "1.1",
        "root_path": "",
    }  # fmt: skip

    async def receive() -> dict[str, Any]:
        if is_silent and len(messages) == 1:
            await asyncio.sleep(3600)
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        pass

    asyncio.run(world.app(scope, receive, send))


def test_a_silent_sender_is_given_up_and_what_came_is_kept(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(security, "SMALL_SECONDS", 0.01)
    location = begun(world)
    send_and_break(world, location, CONTENT[:1000], 0, is_silent=True)
    assert offset_of(world, location) == 1000


def test_another_offset_another_hash_and_too_much_are_refused(world: World) -> None:
    location = begun(world)
    assert world.send("ann", location, CONTENT, 5).status_code == 409
    more = world.send("ann", location, CONTENT + b"more")
    assert more.status_code == 413
    streamed = world.program("ann").patch(
        location, content=in_parts(CONTENT + b"more"), headers={**PATCH, "Upload-Offset": "0"}
    )
    assert streamed.status_code == 413
    other = world.send("ann", location, CONTENT[::-1])
    assert other.status_code == 460
    assert hashlib.sha256(CONTENT).hexdigest() in other.json()["error"]
    assert offset_of(world, location) == 0, "it begins again"
    assert world.send("ann", location, CONTENT).status_code == 204
    wrong = world.program("ann").patch(location, content=b"", headers={"Upload-Offset": "0"})
    assert wrong.status_code == 415


def in_parts(content: bytes) -> Iterator[bytes]:
    """A body that does not say how long it is."""
    yield content[:5000]
    yield content[5000:]


def test_one_connection_at_a_time_sends_an_upload(world: World) -> None:
    location = begun(world)
    with world.app.state.service.at_once(f"upload {location.rpartition('/')[2]}", 1, Refused("")):
        assert world.send("ann", location, CONTENT).status_code == 423
    assert world.send("ann", location, CONTENT).status_code == 204


def test_an_offset_stays_true_from_when_it_is_looked_up(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another connection that ended just then would have what it has sent be written over."""
    location, find = begun(world), receiving._find
    others: list[int] = []
    another = world.program("ann")
    another.portal = None  # an event loop of its own: that of the service stands still meanwhile

    def slow(*asked: Any) -> Any:
        found = find(*asked)
        if not others:
            others.append(0)
            answer = another.patch(location, content=CONTENT, headers={**PATCH, "Upload-Offset": "0"})
            others.append(answer.status_code)
        return found

    monkeypatch.setattr(receiving, "_find", slow)
    assert world.send("ann", location, CONTENT).status_code == 204
    assert others == [0, 423]


def test_nobody_sees_or_changes_the_upload_of_another(world: World) -> None:
    location = begun(world)
    eve = world.program("eve")
    assert eve.head(location).status_code == 404
    assert world.send("eve", location, CONTENT).status_code == 404
    assert eve.delete(location).status_code == 404
    assert world.program(None).head(location).status_code == 401


REFUSED = {
    "zzz_bass.wav": "named after no track",
    "a_banjo.wav": "found the stem banjo, expected one of bass, drums, other, vocals",
    "../../etc/passwd": "named after no track",
    "/etc/a_bass.wav": "named after no track",
    "a\\b_bass.wav": "named after no track",
    "a_bass.exe": "",
    "a_bass\x1b.wav": "no name that a file may have",
}


def test_every_name_that_does_not_fit_is_said_before_a_byte_travels(world: World) -> None:
    entry = world.begin("ann")
    files = [{"name": name, "length": 5000} for name in REFUSED if name != "a_bass.exe"]
    answer = world.program("ann").post(f"/api/v1/entries/{entry}/files", json={"files": files})
    assert answer.status_code == 422
    for problem, (name, expected) in zip(answer.json()["problems"], REFUSED.items(), strict=False):
        assert expected in problem, name
    assert len(answer.json()["problems"]) == len(files)
    assert not (world.settings.entry_folder(entry)).exists()


def test_lengths_follow_from_the_track(world: World) -> None:
    entry = world.begin("ann")
    for length in (0, 41, 1500 * 2 * 8 + (1 << 16) + 1, 1 << 40):
        files = [{"name": NAME, "length": length}]
        answer = world.program("ann").post(f"/api/v1/entries/{entry}/files", json={"files": files})
        assert answer.status_code == 422, length
        assert "by the length of its track" in answer.json()["problems"][0]


def test_a_zip_and_files_do_not_mix(world: World) -> None:
    entry = world.begin("ann")
    world.declare("ann", entry, {"a.zip": zipped(estimates())})
    for name in ("b.zip", NAME):
        files = [{"name": name, "length": 5000}]
        answer = world.program("ann").post(f"/api/v1/entries/{entry}/files", json={"files": files})
        assert "expected one zip, or one file for each stem" in answer.json()["problems"][0]
    entry = world.begin("ann")
    files = [{"name": name, "length": 5000} for name in (NAME, "a/bass.flac")]
    answer = world.program("ann").post(f"/api/v1/entries/{entry}/files", json={"files": files})
    assert answer.json()["problems"] == [
        "a/bass.flac: cannot be beside a_bass.wav; expected one zip, or one file for each stem"
    ]


def test_the_same_files_said_again_go_on_where_they_are(world: World) -> None:
    entry = world.begin("ann")
    (first,) = world.declare("ann", entry, {NAME: CONTENT})
    world.program("ann").patch(
        first["location"], content=CONTENT[:10], headers={**PATCH, "Upload-Offset": "0"}
    )
    (again,) = world.declare("ann", entry, {NAME: CONTENT})
    assert again == {**first, "offset": 10}


def test_a_file_that_was_changed_takes_the_place_of_what_it_was(world: World) -> None:
    entry = world.begin("ann")
    (first,) = world.declare("ann", entry, {NAME: CONTENT})
    world.send("ann", first["location"], CONTENT)
    (second,) = world.declare("ann", entry, {NAME: CONTENT[::-1]})
    assert second["offset"] == 0
    assert world.program("ann").head(first["location"]).status_code == 404
    world.send("ann", second["location"], CONTENT[::-1])
    assert [path.name for path in world.settings.entry_folder(entry).iterdir()] == [
        second["location"].rpartition("/")[2]
    ]


def test_tus_clients_begin_and_end_an_upload(world: World) -> None:
    entry, ann = world.begin("ann"), world.program("ann")
    about = ann.options("/api/v1/uploads")
    assert about.headers["Tus-Version"] == "1.0.0"
    pairs = {"filename": NAME, "entry": str(entry)}
    said = ",".join(f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in pairs.items())
    made = ann.post("/api/v1/uploads", headers={"Upload-Length": str(len(CONTENT)), "Upload-Metadata": said})
    assert made.status_code == 201
    assert "Upload-Expires" in made.headers
    location = made.headers["Location"]
    assert ann.head(location).headers["Upload-Length"] == str(len(CONTENT))
    assert ann.delete(location).status_code == 204
    assert ann.head(location).status_code == 404
    for headers in (
        {"Upload-Length": "-1", "Upload-Metadata": said},
        {"Upload-Length": "5", "Upload-Metadata": "filename !!!"},
        {"Upload-Metadata": said},
        {"Upload-Length": "5000"},
    ):
        assert ann.post("/api/v1/uploads", headers=headers).status_code == 400


def test_a_full_disk_and_a_full_day_refuse_more(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = world.begin("ann")
    files = {"files": [{"name": NAME, "length": 5000}]}
    with monkeypatch.context() as full:
        full.setattr(Settings, "has_room_for", lambda self, size_bytes: False)
        answer = world.program("ann").post(f"/api/v1/entries/{entry}/files", json=files)
        assert (answer.status_code, "disk" in answer.json()["error"]) == (507, True)
    object.__setattr__(world.settings, "bytes_a_day", 6000)
    assert world.program("ann").post(f"/api/v1/entries/{entry}/files", json=files).status_code == 200
    files["files"][0]["name"] = "a_drums.wav"
    assert world.program("ann").post(f"/api/v1/entries/{entry}/files", json=files).status_code == 429
    world.seconds += DAY_SECONDS + 1
    assert world.program("ann").post(f"/api/v1/entries/{entry}/files", json=files).status_code == 200


def test_a_disk_that_fills_up_meanwhile_keeps_what_it_has(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    location = begun(world)
    world.program("ann").patch(location, content=CONTENT[:100], headers={**PATCH, "Upload-Offset": "0"})

    def full(*arguments: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as filled:
        filled.setattr("evaluator.service.uploads.os.write", full)
        assert world.send("ann", location, CONTENT, 100).status_code == 507
    assert offset_of(world, location) == 100
    assert world.send("ann", location, CONTENT, 100).status_code == 204
    assert bytes_of(world, location) == CONTENT


def test_uploads_together_leave_what_is_kept_free(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each found room when it was begun; what had come by the time that there is none is kept."""

    async def blocks(request: Request) -> AsyncIterator[bytes]:
        content = await request.body()
        for start in range(0, len(content), 1000):
            yield content[start : start + 1000]

    location = begun(world)
    monkeypatch.setattr(receiving, "_blocks", blocks)
    monkeypatch.setattr(receiving, "FLUSHED_BYTES", 1000)
    looks = iter([True, True, False])
    with monkeypatch.context() as filled:
        filled.setattr(Settings, "has_room_for", lambda self, size_bytes: next(looks, False))
        assert world.send("ann", location, CONTENT).status_code == 507
        came = offset_of(world, location)
        assert 0 < came < len(CONTENT)
        assert world.send("ann", location, CONTENT, came).status_code == 507
        assert offset_of(world, location) == came
    assert world.send("ann", location, CONTENT, came).status_code == 204
    assert bytes_of(world, location) == CONTENT


def test_bytes_stay_bytes_where_files_may_be_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "O_BINARY", 1 << 30, raising=False)
    assert uploads._flags() & os.O_BINARY  # type: ignore[attr-defined, unused-ignore]  # of Windows


def test_what_was_forgotten_is_cancelled_and_removed(world: World) -> None:
    location = begun(world)
    told = world.send("ann", location, CONTENT).headers["Upload-Expires"]
    assert parsedate_to_datetime(told).timestamp() == world.now() + world.settings.upload_seconds
    world.seconds += world.settings.upload_seconds - 1
    world.worker().sweep()
    assert offset_of(world, location) == len(CONTENT)
    world.seconds += 2
    world.worker().sweep()
    assert world.program("ann").head(location).status_code == 410
    assert world.show("ann", 1)["state"] == "cancelled"
    assert "24 hours" in world.show("ann", 1)["problems"][0]
    assert not world.settings.entry_folder(1).exists()


def test_a_hash_that_was_not_compared_any_more_is_compared_at_the_end(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The service was ended after the last byte and before the comparison."""
    entry = world.begin("ann")
    files = estimates(stems=("bass",))
    with monkeypatch.context() as ended:
        ended.setattr(receiving, "_verify", lambda *arguments: None)
        for upload, content in zip(world.declare("ann", entry, files), files.values(), strict=True):
            world.send("ann", upload["location"], content)
    assert world.submit("ann", entry).status_code == 202
