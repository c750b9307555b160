"""Invitations, passwords, tokens: what works once, what expires, what is never kept."""

import re

import pytest
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError

from evaluator.service import accounts, closing
from evaluator.service.accounts import Caller
from evaluator.service.errors import Refused
from evaluator.service.settings import DAY_SECONDS
from evaluator.service.tables import Account, ApiToken, Base, Invite, SignedIn
from tests import thinned
from tests.evaluator.service.world import PASSWORD, World


def invited(world: World, role: str = "submitter") -> str:
    with world.database.writing() as session:
        return accounts.invite(session, role, world.now())


def accepted(world: World, token: str, name: str = "Ann", password: str = PASSWORD) -> None:
    with world.database.writing() as session:
        accounts.accept(session, token, name, password, world.now())


def test_an_invitation_makes_one_account(world: World) -> None:
    token = invited(world)
    accepted(world, token)
    with pytest.raises(Refused, match="used already"):
        accepted(world, token, "Eve")
    late = invited(world)
    world.seconds += 8 * DAY_SECONDS
    with pytest.raises(Refused, match="is over"):
        accepted(world, late, "Eve")
    with pytest.raises(Refused, match="never was"):
        accepted(world, "made up", "Eve")


@pytest.mark.parametrize(
    ("name", "password", "expected"),
    [
        ("A", PASSWORD, "2 to 40 characters"),
        ("A" * 41, PASSWORD, "2 to 40 characters"),
        ("A\u202eB", PASSWORD, "all visible"),
        ("Ann", "short", "found 5 characters"),
        ("Ann", "x" * 201, "found 201 characters"),
        ("BOB", PASSWORD, "taken"),
    ],
)
def test_names_and_passwords_that_cannot_be(world: World, name: str, password: str, expected: str) -> None:
    accepted(world, invited(world), "Bob")
    token = invited(world)
    with pytest.raises(Refused, match=expected):
        accepted(world, token, name, password)
    accepted(world, token, "Carla")  # the invitation is still good


def test_no_secret_is_kept(world: World) -> None:
    invitation = invited(world)
    accepted(world, invitation)
    caller = world.caller("Ann")
    with world.database.writing() as session:
        token = accounts.issue_token(session, caller, "laptop", "submit", world.now())
        cookie = accounts.sign_in(session, caller.account, world.now())
    with world.database.reading() as session:
        rows = [str(row) for table in Base.metadata.sorted_tables for row in session.execute(select(table))]
    assert any(caller.name in row for row in rows)
    for secret in (invitation, token, cookie, PASSWORD):
        assert not any(secret in row for row in rows)


def test_tokens_and_cookies_end(world: World) -> None:
    accepted(world, invited(world))
    caller = world.caller("Ann")
    with world.database.writing() as session:
        token = accounts.issue_token(session, caller, "laptop", "read", world.now())
        cookie = accounts.sign_in(session, caller.account, world.now())
    with world.database.reading() as session:
        found = accounts.of_token(session, token, world.now())
        assert found is not None
        assert found[0] == Caller(caller.account, "Ann", "submitter", "read")
        assert not found[0].may_submit
        assert accounts.of_cookie(session, cookie, world.now()) == caller
        assert accounts.of_token(session, token + "x", world.now()) is None
        later = world.now() + 366 * DAY_SECONDS
        assert accounts.of_token(session, token, later) is None
        assert accounts.of_cookie(session, cookie, later) is None
    with world.database.writing() as session:
        number = session.scalars(select(ApiToken.id)).one()
        accounts.revoke_token(session, Caller(99, "Eve", "submitter"), number)
        assert accounts.of_token(session, token, world.now()) is not None, "nobody revokes another's token"
        accounts.revoke_token(session, caller, number)
        assert accounts.of_token(session, token, world.now()) is None
        accounts.sign_out(session, cookie)
        assert accounts.of_cookie(session, cookie, world.now()) is None


def test_a_reader_cannot_make_a_token_that_submits(world: World) -> None:
    accepted(world, invited(world, "reader"))
    with world.database.writing() as session, pytest.raises(Refused, match="expected one that you have"):
        accounts.issue_token(session, world.caller("Ann"), "laptop", "submit", world.now())


def test_signing_in_by_the_form_is_limited_by_name_and_address(world: World) -> None:
    accepted(world, invited(world))
    browser = world.browser()
    right = {"name": "ann", "password": PASSWORD}
    answers = [browser.post("/sign-in", data={"name": "ann", "password": "wrong"}) for _ in range(10)]
    unknown = world.browser().post("/sign-in", data={"name": "nobody", "password": "wrong"})
    assert {answer.status_code for answer in answers} == {403}
    assert unknown.status_code == 429, "the address has tried too often, whatever the name"
    assert browser.post("/sign-in", data=right).status_code == 429
    world.seconds += 901
    done = browser.post("/sign-in", data=right)
    assert done.status_code == 303
    assert "HttpOnly" in done.headers["set-cookie"]
    assert "SameSite=lax" in done.headers["set-cookie"]
    assert "Ann" in browser.get("/account").text
    browser.post("/sign-out")
    assert browser.get("/account").status_code == 401


def test_two_who_choose_one_name_at_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither finds it taken; the database has one of them."""
    accepted(world, invited(world))
    monkeypatch.setattr(accounts, "is_taken", lambda session, name: False)
    answer = world.browser().post(f"/invitation/{invited(world)}", data={"name": "Ann", "password": PASSWORD})
    assert answer.status_code == 409


@pytest.mark.parametrize("meanwhile", thinned.one_in(2, ["another password", "closed"]))
@pytest.mark.parametrize("asks", ["sign in", "another password"])
def test_a_password_counts_for_nothing_that_ended_while_it_was_compared(
    meanwhile: str, asks: str, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    accepted(world, invited(world))
    number = world.caller("Ann").account
    browser = world.browser()
    if asks == "another password":
        browser.post("/sign-in", data={"name": "Ann", "password": PASSWORD})
    compare = accounts.fits

    def fits(password_hash: str, password: str) -> bool:
        with world.database.writing() as session:
            if meanwhile == "closed":
                closing.close(session, number, "Ann", True, world.now())
            else:
                accounts.change_password(session, number, "chosen meanwhile")
        return compare(password_hash, password)

    with monkeypatch.context() as patched:
        patched.setattr(accounts, "fits", fits)
        if asks == "sign in":
            answer = browser.post("/sign-in", data={"name": "Ann", "password": PASSWORD})
        else:
            answer = browser.post("/account/password", data={"present": PASSWORD, "new": "a thief's own"})
    assert answer.status_code == 403
    with world.database.reading() as session:
        assert session.scalars(select(SignedIn)).all() == []
        found = session.get_one(Account, number)
        assert not compare(found.password_hash, "a thief's own")
        assert meanwhile == "closed" or compare(found.password_hash, "chosen meanwhile")


def test_no_error_tells_what_a_statement_held(world: World) -> None:
    """Errors are logged, and statements hold hashes of passwords and of tokens."""
    accepted(world, invited(world))

    def add_again() -> None:
        again = {"name": "Ann", "folded_name": "ann", "role": "reader", "created": 0.0}
        with world.database.writing() as session:
            session.add(Account(**again, password_hash="$argon2id$ of it"))

    with pytest.raises(IntegrityError) as raised:
        add_again()
    assert "argon2id" not in str(raised.value)


def test_a_wrong_name_and_a_wrong_password_get_the_same_answer(world: World) -> None:
    accepted(world, invited(world))
    texts = [
        world.browser().post("/sign-in", data={"name": name, "password": "wrong"}).text.replace(name, "")
        for name in ("Ann", "Eve")
    ]
    assert texts[0] == texts[1]


def test_an_invitation_by_the_pages(world: World) -> None:
    address = f"/invitation/{invited(world, 'organiser')}"
    browser = world.browser()
    assert "organiser" in browser.get(address).text
    assert browser.post(address, data={"name": "Ann", "password": "short"}).status_code == 400
    assert browser.post(address, data={"name": "Ann", "password": PASSWORD}).status_code == 303
    assert browser.get("/organiser").status_code == 200
    link = browser.post("/organiser/invitations", data={"role": "reader"}).text
    assert "http://127.0.0.1:8000/invitation/" in link
    assert world.browser().get(address).status_code == 404
    with world.database.reading() as session:
        assert len(session.scalars(select(Account)).all()) == 1
        assert len(session.scalars(select(Invite)).all()) == 2
        assert len(session.scalars(select(SignedIn)).all()) == 1


def test_a_password_is_changed_by_the_one_that_it_was(world: World) -> None:
    accepted(world, invited(world))
    browser, other = world.browser(), world.browser()
    for each in (browser, other):
        assert each.post("/sign-in", data={"name": "Ann", "password": PASSWORD}).status_code == 303
    for present, new, status in (("wrong", "a new password", 403), (PASSWORD, "short", 400)):
        answer = browser.post("/account/password", data={"present": present, "new": new})
        assert answer.status_code == status
    with world.database.writing() as session:
        link = accounts.issue_reset(session, "Ann", world.now())
    done = browser.post("/account/password", data={"present": PASSWORD, "new": "a new password"})
    assert done.status_code == 303
    assert browser.get(f"/reset/{link}").status_code == 404, "it is no way in any more"
    assert other.get("/account").status_code == 401, "signed out everywhere"
    for password, status in ((PASSWORD, 403), ("a new password", 303)):
        assert other.post("/sign-in", data={"name": "Ann", "password": password}).status_code == status


def test_a_link_of_the_organiser_changes_a_lost_password(world: World) -> None:
    token, browser, organiser = world.token("Ann"), world.browser(), world.browser()
    world.token("Olga", "organiser")
    for each, name in ((browser, "Ann"), (organiser, "Olga")):
        assert each.post("/sign-in", data={"name": name, "password": PASSWORD}).status_code == 303
    assert browser.post("/organiser/resets", data={"name": "Olga"}).status_code == 403
    assert organiser.post("/organiser/resets", data={"name": "nobody"}).status_code == 404
    links = [
        re.findall(
            r"http://127.0.0.1:8000(/reset/[\w-]+)",
            organiser.post("/organiser/resets", data={"name": "ann"}).text,
        )
        for _ in range(2)
    ]
    (first,), (second,) = links
    anybody = world.browser()
    assert anybody.get(first).status_code == 404, "the later link replaces it"
    assert "Ann" in anybody.get(second).text
    assert anybody.post(second, data={"password": "short"}).status_code == 400
    assert anybody.post(second, data={"password": "a new password"}).status_code == 303
    assert anybody.post(second, data={"password": "another one"}).status_code == 404, "it works once"
    assert browser.get("/account").status_code == 401
    assert (
        world.program(None).get("/api/v1/entries", headers={"Authorization": f"Bearer {token}"}).status_code
        == 401
    )
    for password, status in ((PASSWORD, 403), ("a new password", 303)):
        assert anybody.post("/sign-in", data={"name": "Ann", "password": password}).status_code == status
    with world.database.writing() as session:
        late = accounts.issue_reset(session, "Ann", world.now())
    world.seconds += DAY_SECONDS + 1
    assert world.browser().get(f"/reset/{late}").status_code == 404


def test_access_is_taken_back(world: World) -> None:
    world.token("Ann")
    world.token("Olga", "organiser")
    browser, other, organiser = world.browser(), world.browser(), world.browser()
    for each, name in ((browser, "Ann"), (other, "Ann"), (organiser, "Olga")):
        assert each.post("/sign-in", data={"name": name, "password": PASSWORD}).status_code == 303
    assert browser.post("/account/sign-out").status_code == 303
    assert other.get("/account").status_code == 401
    assert world.program("Ann").get("/api/v1/entries").status_code == 200, "tokens stay"
    number = world.caller("Ann").account
    assert world.program("Ann").post(f"/organiser/accounts/{number}/revoke").status_code == 403
    assert organiser.post(f"/organiser/accounts/{number}/revoke").status_code == 303
    assert world.program("Ann").get("/api/v1/entries").status_code == 401
    assert organiser.get("/account").status_code == 200


def test_who_is_refused_is_shown_where_to_sign_in_if_that_helps_and_comes_back(world: World) -> None:
    world.token("Ann")
    browser = world.browser()
    refused = browser.get("/benchmarks/bench/new")
    assert refused.status_code == 401
    (where,) = re.findall(r'<a class="button" href="([^"]+)">Sign in', refused.text)
    (back,) = re.findall(r'name="next" value="([^"]+)"', browser.get(where).text)
    done = browser.post("/sign-in", data={"name": "Ann", "password": PASSWORD, "next": back})
    assert (done.status_code, done.headers["location"]) == (303, "/benchmarks/bench/new")
    for path, status in (("/entries/99", 404), ("/organiser", 403)):
        refused = browser.get(path)
        assert refused.status_code == status
        assert "Sign in" not in refused.text, "she has"
        assert 'href="/account">Ann' in refused.text
    assert "Sign in</a> <a" in world.browser().get("/entries/99").text, "it may be hers"
    wrong = world.browser().post("/sign-in", data={"name": "Ann", "password": "x", "next": back})
    assert f'name="next" value="{back}"' in wrong.text
    foreign = world.browser().post("/sign-in", data={}, headers={"Sec-Fetch-Site": "cross-site"})
    assert foreign.status_code == 403
    assert "<a" not in foreign.text


@pytest.mark.parametrize(
    "elsewhere",
    thinned.one_in(
        7, ["//x.org", "https://x.org", "/\\x.org", "/a//x.org", "x.org", "/a\r\nSet-Cookie: a=b", "/%2f"]
    ),
)
def test_nobody_is_led_elsewhere_after_signing_in(world: World, elsewhere: str) -> None:
    world.token("Ann")
    done = world.browser().post("/sign-in", data={"name": "Ann", "password": PASSWORD, "next": elsewhere})
    assert done.headers["location"] == "/"


def test_numbers_that_no_row_can_have_are_refused_before_a_database_is_asked(world: World) -> None:
    world.token("Ann")
    browser = world.signed_in("Ann")
    answers = [
        browser.post(f"/account/tokens/{number}/revoke").status_code
        for number in ((1 << 31) - 1, 1 << 31, -1)
    ]
    assert answers[0] < 404
    assert [status for status in answers[1:] if status < 400] == []
