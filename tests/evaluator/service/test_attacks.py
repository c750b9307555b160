"""What an attacker tries over HTTP, one kind in each test; attacks by files are in test_archive.py and elsewhere."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from sqlalchemy import func, select

from evaluator.service import accounts, connections, forms, one_piece, uploads
from evaluator.service.connections import Connection
from evaluator.service.errors import Refused, TooSlow
from evaluator.service.tables import ApiToken, Attempt, Entry, Invite, Reset
from tests.evaluator import audio
from tests.evaluator.service.test_entries import scored
from tests.evaluator.service.test_uploads import CONTENT, NAME, begun
from tests.evaluator.service.world import FRAMES, PASSWORD, PATCH, World, estimates, sound

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def test_a_token_to_read_changes_nothing_that_its_owner_may_change(world: World) -> None:
    location = begun(world)
    with world.database.writing() as session:
        text = accounts.issue_token(session, world.caller("ann"), "read", "read", world.now())
    reading = world.program(None)
    reading.headers["Authorization"] = f"Bearer {text}"
    assert reading.head(location).headers["Upload-Offset"] == "0"
    assert reading.get("/api/v1/entries/1").status_code == 200
    tries = [
        reading.patch(location, content=b"x", headers={**PATCH, "Upload-Offset": "0"}),
        reading.delete(location),
        reading.delete("/api/v1/entries/1"),
        reading.post("/api/v1/entries/1/submit"),
        reading.post("/account/tokens", data={"scope": "read"}),
        reading.post("/account/tokens/1/revoke", headers=FORM),
    ]
    assert {answer.status_code for answer in tries} == {403}
    assert reading.head(location).status_code == 200


OF_BROWSERS = (
    *("/account/tokens", "/account/tokens/1/revoke", "/account/password", "/account/sign-out"),
    *("/account/oidc", "/account/oidc/1/unlink"),
    *(
        "/organiser/invitations",
        "/organiser/resets",
        "/organiser/accounts/1/revoke",
        "/organiser/entries/1/show",
    ),
)


def test_a_token_that_leaked_is_taken_back_with_all_that_came_of_it(world: World) -> None:
    """Tokens make no tokens, nor any other way in; those of organisers are for uploading, too."""
    world.token("olga", "organiser")
    entry = scored(world, "ann", visibility="private", suspicion="bass is silent")
    olga, fields = world.program("olga"), {"name": "olga", "role": "organiser", "scope": "submit"}
    answers = {path: olga.post(path, data=fields) for path in OF_BROWSERS}
    assert {answer.status_code for answer in answers.values()} == {403}, answers
    assert {olga.get(path).status_code for path in ("/account", "/organiser")} == {403}
    assert olga.get(f"/api/v1/entries/{entry}").status_code == 404, "others' are for who has signed in"
    assert olga.delete(f"/api/v1/entries/{entry}").status_code == 404
    assert world.signed_in("olga").get(f"/api/v1/entries/{entry}").json()["means"] is not None
    with world.database.reading() as session:
        for table, number in ((ApiToken, 2), (Invite, 2), (Reset, 0)):
            assert session.scalar(select(func.count()).select_from(table)) == number, table


UNREADABLE = (
    ("Host", "["),
    ("Host", "127.0.0.1]"),
    ("Origin", "http://["),
    ("Origin", "\xe9"),
    ("Cookie", "sdx=\xff"),
    ("Authorization", "Bearer \xff"),
)


def test_headers_that_cannot_be_read_are_refused_or_passed_over(world: World) -> None:
    browser = world.browser()
    del browser.headers["Sec-Fetch-Site"]
    for name, value in UNREADABLE:
        headers = {name.encode(): value.encode("latin-1")}
        for answer in (browser.get("/", headers=headers), browser.post("/sign-out", headers=headers)):
            assert answer.status_code < 500, (name, value)


NOWHERE = (
    "/api/v1/benchmarks/%00",
    "/api/v1/benchmarks/..%2f..%2fservice.sqlite",
    "/api/v1/benchmarks/bench%2f..%2fbench/mixtures.zip",
    "/api/v1/leaderboards/bench?text=%00",
    "/api/v1/uploads/%00",
    "/invitation/%00",
    f"/entries/{10**30}",
    f"/api/v1/entries/{10**30}/submit",
    f"/account/tokens/{10**30}/revoke",
    f"/account/oidc/{-(10**30)}/unlink",
    f"/organiser/accounts/{10**30}/revoke",
    f"/organiser/entries/{10**30}/show",
    "/entries/1/tracks/0/..%2f..%2ftask.json",
    "/static/..%2fservice.css",
    "/static/%2e%2e%2f%2e%2e%2fapp.py",
)


@pytest.mark.thorough
def test_addresses_that_lead_nowhere_are_no_fault_of_ours(world: World) -> None:
    world.token("olga", "organiser")
    for client in (world.program("ann"), world.signed_in("olga")):
        for path in NOWHERE:
            for answer in (client.get(path), client.post(path, headers=FORM)):
                assert answer.status_code < 500, path
    assert world.browser().post("/sign-in", data={"name": "\0", "password": "\0"}).status_code in (400, 403)


def test_what_is_said_of_an_entry_cannot_break_its_page(world: World) -> None:
    given = {"benchmark": "bench", "name": "x", "named_from": 1e300}
    assert world.program("ann").post("/api/v1/entries", json=given).status_code == 422
    entry = scored(world, "ann", visibility="anonymous", named_from=253402300799.0)
    assert world.program("ann").get(f"/entries/{entry}/edit").status_code == 200


def test_a_header_of_tus_that_is_no_text_is_refused(world: World) -> None:
    headers = {b"Upload-Length": b"5000", b"Upload-Metadata": b"filename \xe9"}
    answer = world.program("ann").post("/api/v1/uploads", headers=headers)
    assert answer.status_code == 400


@pytest.mark.slow
def test_many_guesses_at_once_are_no_more_than_one_after_the_other(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each compares its password only after all others have been let in, if they are."""
    world.token("ann")
    compared: list[str] = []
    gate = threading.Event()

    def compare(hashed: str, password: str) -> bool:
        compared.append(password)
        gate.wait(5)
        return False

    monkeypatch.setattr(accounts, "fits", compare)
    with ThreadPoolExecutor(24) as pool:

        def guess(number: int) -> int:
            return int(
                world.browser()
                .post("/sign-in", data={"name": "ann", "password": f"guess {number}"})
                .status_code
            )

        answers = [pool.submit(guess, number) for number in range(24)]
        while sum(answer.done() for answer in answers) < 14:
            pass
        gate.set()
        found = [answer.result() for answer in answers]
    assert len(compared) == accounts.MOST_ATTEMPTS
    assert sorted(found) == [403] * 10 + [429] * 14


def test_who_signs_in_rightly_is_never_locked_out(world: World) -> None:
    world.token("ann")
    for _ in range(12):
        done = world.browser().post("/sign-in", data={"name": "ann", "password": PASSWORD})
        assert done.status_code == 303
    with world.database.reading() as session:
        assert session.scalar(select(func.count()).select_from(Attempt)) == 0


def test_a_name_that_nobody_has_costs_as_much_as_one_that_somebody_has(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.token("ann")
    compared: list[str] = []

    def compare(hashed: str, password: str) -> bool:
        compared.append(hashed)
        return False

    monkeypatch.setattr(accounts, "fits", compare)
    answers = [
        world.browser().post("/sign-in", data={"name": name, "password": "x"}).text.replace(name, "")
        for name in ("ann", "eve")
    ]
    assert len(compared) == 2
    assert answers[0] == answers[1]


def test_parallel_requests_begin_and_submit_no_more_than_may_be(world: World) -> None:
    first = world.placed("ann", estimates(stems=("bass",)))
    new = {"benchmark": "bench", "name": "x"}
    programs = [world.program("ann") for _ in range(6)]
    with ThreadPoolExecutor(6) as pool:
        begun = [
            each.status_code for each in pool.map(lambda one: one.post("/api/v1/entries", json=new), programs)
        ]
        sent = [
            each.status_code
            for each in pool.map(lambda one: one.post(f"/api/v1/entries/{first}/submit"), programs)
        ]
    assert begun.count(201) == world.settings.open_uploads - 1
    assert set(sent) <= {202, 409}
    with world.database.reading() as session:
        states = session.scalars(select(Entry.state).where(Entry.id == first)).all()
    assert states == ["queued"]
    assert len(world.program(None).get("/api/v1/queue").json()["entries"]) == 1


@pytest.mark.usefixtures("judged_here")
def test_what_is_refused_for_its_loudness_tells_nothing_of_the_reference(world: World) -> None:
    """Refusals cost no score; by one that came of the SDR, references would be weighed without a limit."""
    for level, state in ((0.9 * 2**15, "done"), (1.1 * 2**15, "refused")):
        square = {
            f"{track}_bass.wav": sound(np.full((frames, 2), level), subtype="FLOAT")
            for track, frames in FRAMES.items()
        }
        entry = world.scored("ann", square)
        assert world.show("ann", entry)["state"] == state


def test_mvseps_calls_tell_no_more_of_an_entry_than_its_page(world: World) -> None:
    entry = world.placed("ann", estimates(stems=("bass",)), {"name": "secret", "visibility": "public"})
    shown = world.program(None).get("/api/quality_checker/entry", params={"id": entry})
    assert shown.status_code == 200
    assert "secret" not in shown.text


def test_a_password_of_mvseps_is_hashed_for_nobody(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        accounts, "hash_password", lambda password: pytest.fail("a tenth of a second for anybody")
    )
    fields = {"api_token": "sdx_none", "password": "x", "dataset_type": "0", "algo_name": "x"}
    answer = world.program(None).post("/api/quality_checker/add", data=fields, files={"zipfile": b"PK"})
    assert answer.status_code == 401


def test_a_form_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forms, "MOST_OTHER_BYTES", 10_000)
    part = b'--b\r\nContent-Disposition: form-data; name="%d"\r\n\r\n\r\n'
    sent = 0

    async def parts() -> Any:
        nonlocal sent
        for number in range(100_000):
            sent += len(part)
            yield part % number

    headers = {"content-type": "multipart/form-data; boundary=b"}
    reader = forms.FormReader(SimpleNamespace(headers=headers, stream=parts))  # type: ignore[arg-type]

    async def read() -> None:
        async for _ in reader.blocks():
            pass

    with pytest.raises(Refused):
        asyncio.run(read())
    assert sent < 20_000


def trickling(field: str) -> Any:
    """A request whose form's first field, of this disposition, comes a byte at a time and never ends."""

    async def stream() -> Any:
        yield f"--b\r\nContent-Disposition: form-data; {field}\r\n\r\n".encode()
        while True:
            await asyncio.sleep(0.01)
            yield b"x"

    headers = {"content-type": "multipart/form-data; boundary=b"}
    return SimpleNamespace(headers=headers, stream=stream, scope={"client": ("192.0.2.1", 1)})


def test_forms_of_nobody_that_trickle_in_are_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each would have a connection for as long as it likes, before a zip begins of which there is one at a time."""
    monkeypatch.setattr(one_piece, "SMALL_SECONDS", 0.05)

    with pytest.raises(TooSlow):
        asyncio.run(one_piece.take(SimpleNamespace(), trickling('name="x"')))  # type: ignore[arg-type]


def test_a_zip_of_nobody_that_trickles_in_leaves_its_place_to_others(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be no silence, and cost the sender nothing."""
    monkeypatch.setattr(one_piece, "NOBODYS_SECONDS", 0.05)

    world.add("synth", dataset_type=0)
    form = trickling('name="zipfile"; filename="x.zip"')
    with pytest.raises(TooSlow):
        asyncio.run(one_piece.take(world.app.state.service, form))
    assert not world.app.state.service.busy
    assert list((world.settings.root / uploads.INCOMING).iterdir()) == []


def test_a_form_whose_boundary_cannot_be_is_refused() -> None:
    headers = {"content-type": f"multipart/form-data; boundary={300 * 'b'}"}
    with pytest.raises(Refused, match="cannot be read"):
        forms.FormReader(SimpleNamespace(headers=headers))  # type: ignore[arg-type]


def test_what_is_verified_is_not_hashed_again_however_often_it_is_asked_for(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    location = begun(world)
    assert world.send("ann", location, CONTENT).status_code == 204
    monkeypatch.setattr(uploads, "digest", None)
    for _ in range(2):
        assert world.send("ann", location, CONTENT, len(CONTENT)).status_code == 204


class Line:
    """The transport of a connection, as far as it can be closed."""

    is_closed = False

    def close(self) -> None:
        self.is_closed = True

    def is_closing(self) -> bool:
        return self.is_closed

    def get_extra_info(self, name: str) -> None:
        return None


@pytest.mark.parametrize(
    "sent", [b"", b"GET / HTTP/1.1\r\nHost: x\r\n", b"GET / HTTP/1.1\r\nX: " + 70_000 * b"x"]
)
def test_headers_that_do_not_end_are_given_up(monkeypatch: pytest.MonkeyPatch, sent: bytes) -> None:
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.02 if len(sent) < 70_000 else 3600.0)

    async def connect() -> bool:
        import uvicorn
        from uvicorn.server import ServerState

        async def app(scope: Any, receive: Any, send: Any) -> None:
            raise AssertionError("the request is not there yet")

        line = Line()
        connection = Connection(uvicorn.Config(app), ServerState(), {}, asyncio.get_running_loop())
        connection.connection_made(line)
        if sent:
            connection.data_received(sent)
        await asyncio.sleep(0.1)
        return line.is_closed

    assert asyncio.run(connect())


def test_a_name_of_a_file_never_stands_in_a_header(world: World) -> None:
    entry = world.begin("ann", said={"name": 'x"\r\nSet-Cookie: sdx=1', "visibility": "public"})
    files = {"files": [{"name": 'a_bass.wav"\r\nSet-Cookie: sdx=1', "length": 5000}]}
    answer = world.program("ann").post(f"/api/v1/entries/{entry}/files", json=files)
    assert answer.status_code == 422
    assert "set-cookie" not in answer.headers
    assert "\r" not in world.show("ann", entry)["name"]


def test_twins_by_case_and_by_unicode_are_one_stem_of_one_track_or_nothing(world: World) -> None:
    content = sound(audio.noise(FRAMES["a"]))
    entry = world.begin("ann")
    files = [
        {"name": name, "length": len(content)}
        for name in (NAME, "A_bass.wav", "a_BASS.wav", "a_bass.WAV", "\uff41_bass.wav")
    ]
    answer = world.program("ann").post(f"/api/v1/entries/{entry}/files", json={"files": files})
    assert answer.status_code == 422
    assert len(answer.json()["problems"]) == 4


@pytest.mark.thorough
def test_private_pages_are_kept_by_no_cache(world: World) -> None:
    world.token("ann")
    browser = world.browser()
    browser.post("/sign-in", data={"name": "ann", "password": PASSWORD})
    scored(world, "ann")
    for path in ("/account", "/entries/1", "/benchmarks/bench", "/api/v1/entries", "/sign-in", "/nowhere"):
        assert browser.get(path).headers["cache-control"] == "no-store", path
