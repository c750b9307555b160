"""Accounts that are closed: who may, what stays of them, and that nobody gets in again."""

import pytest
from sqlalchemy import select

from evaluator.service import accounts, entries
from evaluator.service.accounts import CLOSED_NAME
from evaluator.service.errors import Refused
from evaluator.service.tables import Account, Entry, Upload
from tests import thinned
from tests.evaluator.service.test_entries import FILES, scored
from tests.evaluator.service.world import World


def number_of(world: World, name: str) -> int:
    return world.caller(name).account


def state_of(world: World, entry: int) -> str:
    with world.database.reading() as session:
        return session.get_one(Entry, entry).state


@pytest.mark.parametrize("seen", thinned.one_in(2, ["stay", "withdraw"]))
def test_an_owner_closes_an_account(world: World, seen: str) -> None:
    shown = scored(world, "Ann", 2.0, visibility="public")
    hidden = scored(world, "Ann", visibility="anonymous", named_from=world.now() + 9)
    private = scored(world, "Ann")
    begun = world.placed("Ann", FILES)
    number, token = number_of(world, "Ann"), world.token("Ann")
    browser, other = world.signed_in("Ann"), world.signed_in("Ann")
    page = browser.get("/account/close").text
    assert "2 entries that others see" in page
    assert 'href="/account/close"' in browser.get("/account").text

    assert browser.post("/account/close", data={"name": "ann", "seen": seen}).status_code == 400
    assert browser.get("/account").status_code == 200, "another name closes nothing"
    done = browser.post("/account/close", data={"name": "Ann", "seen": seen})
    assert (done.status_code, done.headers["location"]) == (303, "/")

    assert {each.get("/account").status_code for each in (browser, other)} == {401}
    assert world.program("Ann").get("/api/v1/entries").status_code == 401
    for name in ("Ann", f"{CLOSED_NAME} {number}"):
        assert world.browser().post("/sign-in", data={"name": name, "password": "x" * 12}).status_code == 403
    assert (state_of(world, private), state_of(world, begun)) == ("withdrawn", "cancelled")
    board = world.program(None).get("/api/v1/leaderboards/bench").json()
    if seen == "stay":
        assert [row["author"] for row in board["rows"]] == [f"{CLOSED_NAME} {number}", entries.NOBODY]
        world.seconds += 10
        board = world.program(None).get("/api/v1/leaderboards/bench").json()
        assert board["rows"][1]["author"] == entries.NOBODY, "whose it was is not told any more"
        assert world.settings.entry_folder(shown).is_dir()
    else:
        assert board["rows"] == []
        assert board["withdrawn"] == [shown, hidden]
    left = {shown, hidden} if seen == "stay" else set()
    assert {int(each.name) for each in (world.settings.root / "entries").iterdir()} == left
    with world.database.reading() as session:
        assert "Ann" not in session.scalars(select(Account.name)).all()
    del world.tokens["Ann"]
    world.token("Ann")  # the name is free
    assert token != world.token("Ann")
    assert world.program("Ann").get("/api/v1/entries").json()["entries"] == []


def test_an_organiser_closes_an_account_but_not_the_last_one_that_organises(world: World) -> None:
    world.token("Org", "organiser")
    entry = scored(world, "Eve", visibility="public")
    eve, organiser = number_of(world, "Eve"), world.signed_in("Org")
    browser = world.signed_in("Eve")
    assert browser.post(f"/organiser/accounts/{eve}/close", data={"name": "Eve"}).status_code == 403
    assert f"/organiser/accounts/{eve}/close" in organiser.get("/organiser").text
    assert "Close the account Eve" in organiser.get(f"/organiser/accounts/{eve}/close").text
    done = organiser.post(f"/organiser/accounts/{eve}/close", data={"name": "Eve", "seen": "withdraw"})
    assert (done.status_code, done.headers["location"]) == (303, "/organiser")
    assert browser.get("/account").status_code == 401
    assert state_of(world, entry) == "withdrawn"
    assert f"/organiser/accounts/{eve}/close" not in organiser.get("/organiser").text
    assert organiser.post("/organiser/resets", data={"name": f"{CLOSED_NAME} {eve}"}).status_code == 404
    again = organiser.post(f"/organiser/accounts/{eve}/close", data={"name": f"{CLOSED_NAME} {eve}"})
    assert again.status_code == 404

    own = number_of(world, "Org")
    for where in ("/account/close", f"/organiser/accounts/{own}/close"):
        refused = organiser.post(where, data={"name": "Org"})
        assert refused.status_code == 409
        assert "invite another organiser first" in refused.text
    world.token("Second", "organiser")
    assert organiser.post("/account/close", data={"name": "Org"}).status_code == 303


@pytest.mark.thorough
def test_entries_of_teams_outlive_the_organiser_who_submitted_them(world: World) -> None:
    for name in ("Org", "Second"):
        world.token(name, "organiser")
    entry = scored(world, "Org", visibility="public", team="Tigers")
    organiser = world.signed_in("Org")
    assert organiser.post("/account/close", data={"name": "Org", "seen": "withdraw"}).status_code == 303
    (row,) = world.program(None).get("/api/v1/leaderboards/bench").json()["rows"]
    assert (row["entry"], row["author"]) == (entry, "Tigers")


@pytest.mark.thorough
def test_what_an_account_had_begun_to_ask_for_is_refused_once_it_is_closed(world: World) -> None:
    """Requests that knew who asked before it was closed."""
    begun = world.placed("Ann", FILES)
    caller = world.caller("Ann")
    assert world.signed_in("Ann").post("/account/close", data={"name": "Ann"}).status_code == 303
    with world.database.writing() as session:
        entry = session.get_one(Entry, begun)
        said = entries.details({"name": "x"})
        with pytest.raises(Refused, match="account is closed"):
            entries.create(world.settings, session, caller, entry.benchmark, said, world.now())
        entry.state = "uploading"
        for upload in session.scalars(select(Upload)):
            upload.is_verified = True
        with pytest.raises(Refused, match="account is closed"):
            entries.submit(session, caller, entry, world.now())


def test_what_is_made_for_an_account_as_it_closes_opens_nothing(world: World) -> None:
    """A token or a cookie of a request that had begun before."""
    world.token("Ann")
    caller = world.caller("Ann")
    assert world.signed_in("Ann").post("/account/close", data={"name": "Ann"}).status_code == 303
    with world.database.writing() as session:
        token = accounts.issue_token(session, caller, "late", "read", world.now())
        cookie = accounts.sign_in(session, caller.account, world.now())
    with world.database.reading() as session:
        assert accounts.of_token(session, token, world.now()) is None
        assert accounts.of_cookie(session, cookie, world.now()) is None


def test_nobody_is_called_as_a_closed_account(world: World) -> None:
    with pytest.raises(Refused, match="what accounts are called that were closed"):
        world.token("Closed Account 7")
