"""Signing in with an OpenID provider, one of the tests' own: who gets in, as whom, and what never does."""

import html
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx2
import pytest
from fastapi.testclient import TestClient
from joserfc.jwk import OctKey
from sqlalchemy import select

from evaluator.commands import service_options
from evaluator.service import accounts, oidc, oidc_pages
from evaluator.service.errors import SetupError
from evaluator.service.settings import OpenIdProvider
from evaluator.service.tables import Account, Identity
from tests import thinned
from tests.evaluator.service import issuer as issuers
from tests.evaluator.service.issuer import ANOTHER_KEY, CLIENT, SECRET, Issuer
from tests.evaluator.service.world import PASSWORD, World, with_app


@pytest.fixture
def issuer(world: World) -> Iterator[Issuer]:
    """A provider that the world's service is configured for."""
    with issuers.running() as made:
        made.seconds = world.seconds
        provider = OpenIdProvider(made.url, CLIENT, SECRET, ("example.org",))
        world.settings = replace(world.settings, provider=provider)
        with_app(world)
        yield made


def began(browser: TestClient, path: str = "/sign-in/oidc", **fields: str) -> str:
    """Where the page leads to that the form gives."""
    answer = browser.post(path, data={"invitation": "", **fields})
    assert answer.status_code == 200, answer.text
    (address,) = re.findall(r'<a href="([^"]+)" rel="noreferrer"', answer.text)
    return html.unescape(address)


def came_back(browser: TestClient, issuer: Issuer, address: str, **more: str) -> httpx2.Response:
    return browser.get("/sign-in/oidc/callback", params={**issuer.sign_in(address), **more})


def name_of(world: World, browser: TestClient) -> str | None:
    """As whom a browser is signed in."""
    found = browser.get("/account")
    return re.findall("<h1>(.*)</h1>", found.text)[0] if found.status_code == 200 else None


@pytest.mark.thorough
def test_a_domain_that_needs_no_invitation(world: World, issuer: Issuer) -> None:
    world.token("Ann")
    issuer.claims = {"preferred_username": "ann", "email": "ann@EXAMPLE.org"}
    for _ in range(2):  # the second time it is known
        browser = world.browser()
        address = began(browser)
        assert address.startswith(f"{issuer.url}/authorize?tenant=1&response_type=code")
        done = came_back(browser, issuer, address)
        assert (done.status_code, done.headers["location"]) == (303, "/")
        assert name_of(world, browser) == "ann 2", "a name is no proof of who one is"
    issuer.claims = {"email": "eve@other.org", "sub": "43"}
    eve = world.browser()
    refused = came_back(eve, issuer, began(eve))
    assert refused.status_code == 403
    assert "You have no account here yet" in refused.text
    with world.database.reading() as session:
        assert len(session.scalars(select(Identity)).all()) == 1
        assert session.scalars(select(Account.role).where(Account.name == "ann 2")).one() == "submitter"


def test_the_way_to_the_provider_is_kept_by_no_cache(world: World, issuer: Issuer) -> None:
    """It holds what one browser has begun."""
    answer = world.browser().post("/sign-in/oidc", data={"invitation": ""})
    assert answer.headers["Cache-Control"] == "no-store"
    assert "HttpOnly" in answer.headers["Set-Cookie"]


@pytest.mark.thorough
def test_an_invitation_is_accepted_once(world: World, issuer: Issuer) -> None:
    with world.database.writing() as session:
        token = accounts.invite(session, "reader", world.now())
    issuer.claims = {"email": "bob@other.org", "name": "Bob \u202e"}
    browser, late = world.browser(), world.browser()
    assert f'value="{token}"' in browser.get(f"/invitation/{token}").text
    first, second = began(browser, invitation=token), began(late, invitation=token)
    assert came_back(browser, issuer, first).status_code == 303
    assert (name_of(world, browser) or "").startswith("Bob")
    issuer.claims |= {"sub": "another"}
    assert came_back(late, issuer, second).status_code == 404
    assert world.browser().post("/sign-in/oidc", data={"invitation": token}).status_code == 404


@pytest.mark.thorough
def test_linking_needs_to_be_signed_in(world: World, issuer: Issuer) -> None:
    issuer.claims = {"email": "x@other.org"}
    for name in ("Ann", "Bob"):
        world.token(name)
    ann, bob = world.browser(), world.browser()
    assert ann.post("/account/oidc").status_code == 401
    for browser, name in ((ann, "Ann"), (bob, "Bob")):
        browser.post("/sign-in", data={"name": name, "password": PASSWORD})
    assert came_back(ann, issuer, began(ann, "/account/oidc")).headers["location"] == "/account"
    assert came_back(bob, issuer, began(bob, "/account/oidc")).status_code == 409, "it is Ann's"
    fresh = world.browser()
    came_back(fresh, issuer, began(fresh))
    assert name_of(world, fresh) == "Ann"
    with world.database.reading() as session:
        number = session.scalars(select(Identity.id)).one()
    bob.post(f"/account/oidc/{number}/unlink")
    assert "Unlink" in ann.get("/account").text, "nobody unlinks another's"
    ann.post(f"/account/oidc/{number}/unlink")
    again = world.browser()
    assert came_back(again, issuer, began(again)).status_code == 403
    came_back(ann, issuer, began(ann, "/account/oidc"))
    assert "Unlink" in ann.get("/account").text, "it can be linked again"


@pytest.mark.parametrize("way", thinned.one_in(2, ["close", "unlink"]))
def test_nobody_gets_another_quota_by_leaving_and_coming_back(world: World, issuer: Issuer, way: str) -> None:
    first = world.browser()
    came_back(first, issuer, began(first))  # of a domain that needs no invitation
    with world.database.reading() as session:
        number = session.scalars(select(Identity.id)).one()
    if way == "unlink":
        first.post(f"/account/oidc/{number}/unlink")
    else:
        first.post("/account/close", data={"name": name_of(world, first)})
    again = world.browser()
    refused = came_back(again, issuer, began(again))
    assert refused.status_code == 403
    assert "You had an account here" in refused.text
    with world.database.writing() as session:
        token = accounts.invite(session, "reader", world.now())
    assert came_back(again, issuer, began(again, invitation=token)).status_code == 303
    assert name_of(world, again) is not None


@pytest.mark.thorough
def test_another_password_ends_what_somebody_else_has_linked(world: World, issuer: Issuer) -> None:
    world.token("Ann")
    browser, eve = world.signed_in("Ann"), world.browser()
    issuer.claims = {"email": "x@other.org"}
    came_back(browser, issuer, began(browser, "/account/oidc"))
    with world.database.writing() as session:
        link = accounts.issue_reset(session, "Ann", world.now())
    assert "linked to 127.0.0.1" in eve.get(f"/reset/{link}").text
    assert eve.post(f"/reset/{link}", data={"password": "a new password"}).status_code == 303
    assert came_back(eve, issuer, began(eve)).status_code == 403


def test_a_token_that_leaked_links_nobody_to_its_owner(world: World, issuer: Issuer) -> None:
    """Whoever has it makes their own cookie, and comes back with the token."""
    eve, program = world.browser(), world.program("Ann")
    address = began(eve)
    program.cookies.set("sdx-oidc", f"{eve.cookies['sdx-oidc'].partition('.')[0]}.link")
    refused = came_back(program, issuer, address)
    assert refused.status_code == 401
    assert "Sign in first, then link." in refused.text
    with world.database.reading() as session:
        assert session.scalars(select(Identity)).all() == []


MISFITS: tuple[dict[str, Any], ...] = (
    {"claims": {"aud": "another service"}},
    {"claims": {"aud": [CLIENT, "another service"]}},
    {"claims": {"azp": "another service"}},
    {"claims": {"iss": "https://other.example.org"}},
    {"claims": {"nonce": "of another sign-in"}},
    {"claims": {"nonce": None}},
    {"claims": {"exp": 1_700_000_000}},
    {"claims": {"exp": None}},
    {"claims": {"iat": 2_000_000_000}},
    {"claims": {"sub": None}},
    {"claims": {"sub": ""}},
    {"claims": {"sub": "x" * 256}},
    {"claims": {"sub": 42}},
    {"claims": {"email_verified": False}},
    {"claims": {"email_verified": None}},
    {"claims": {"email": None}},
    {"claims": {"email": ["ann@example.org"]}},
    {"key": ANOTHER_KEY},
    {"header": {"alg": "none"}},
    {"header": {"alg": "HS256", "kid": "first"}, "key": OctKey.import_key(SECRET * 3)},
)


@pytest.mark.slow
def test_tokens_that_do_not_fit(world: World, issuer: Issuer) -> None:
    fitting = dict(vars(issuer))
    for said in MISFITS:
        world.seconds += 901  # so that nobody has failed too often
        vars(issuer).update(fitting, seconds=world.seconds, **said)
        browser = world.browser()
        assert came_back(browser, issuer, began(browser)).status_code == 403, said
        assert name_of(world, browser) is None
    with world.database.reading() as session:
        assert session.scalars(select(Account)).all() == []


@pytest.mark.thorough
def test_an_answer_that_was_begun_elsewhere(world: World, issuer: Issuer) -> None:
    eve, victim = world.browser(), world.browser()
    answer = issuer.sign_in(began(eve))
    callback = "/sign-in/oidc/callback"
    assert victim.get(callback, params=answer).status_code == 403, "it began nothing"
    own = issuer.sign_in(began(victim))
    for misfit in (answer, {**answer, "state": "\xe9"}):
        assert victim.get(callback, params=misfit).status_code == 403, "another state"
    stolen = {"code": answer["code"], "state": own["state"]}
    assert victim.get(callback, params=stolen).status_code == 502, "the code fits another verifier"
    assert victim.get(callback, params={**own, "iss": "https://other"}).status_code == 403
    assert victim.get(callback, params={"state": own["state"], "error": "access_denied"}).status_code == 403
    assert victim.get(callback, params=own).status_code == 303
    assert victim.get(callback, params=own).status_code == 403, "the second time nothing is begun"


@pytest.mark.thorough
def test_failures_are_limited_by_address(world: World, issuer: Issuer) -> None:
    browser = world.browser()
    answers = [browser.get("/sign-in/oidc/callback", params={"state": "x"}).status_code for _ in range(11)]
    assert answers == [403] * 10 + [429]


@pytest.mark.thorough
def test_a_provider_that_is_not_what_it_was(world: World, issuer: Issuer) -> None:
    for described in (
        {"issuer": "https://other"},
        {"token_endpoint": "http://example.org/token"},
        {"jwks_uri": 1},
        {"jwks_uri": "https://["},
    ):
        issuer.described = described
        answer = world.browser().post("/sign-in/oidc", data={"invitation": ""})
        assert answer.status_code == 502
        assert "does not describe itself" in answer.text


def test_without_a_provider_there_is_nothing(world: World) -> None:
    browser = world.browser()
    assert "oidc" not in browser.get("/sign-in").text
    assert browser.post("/sign-in/oidc", data={"invitation": ""}).status_code == 404
    assert browser.get("/sign-in/oidc/callback").status_code == 404


def test_options_that_do_not_make_a_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    assert service_options.provider_of(None, None, "", []) is None
    with pytest.raises(SetupError, match="both, or neither"):
        service_options.provider_of("https://x.org", None, "", [])
    with pytest.raises(SetupError, match="begins with https://"):
        service_options.provider_of("http://x.org", "me", "", [])
    made = service_options.provider_of("https://x.org", "me", "s", ["Example.ORG"])
    assert made == OpenIdProvider("https://x.org", "me", "s", ("example.org",))
    monkeypatch.setattr(service_options, "find_spec", lambda name: None)
    with pytest.raises(SetupError, match="needs joserfc.*requirements-oidc.txt"):
        service_options.provider_of("https://x.org", "me", "s", [])


def test_beginning_is_counted_and_asks_the_provider_once_in_a_while(
    world: World, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(oidc_pages, "MOST_BEGUN", 3)
    browser = world.browser()
    for _ in range(3):
        began(browser)
    refused = browser.post("/sign-in/oidc", data={"invitation": ""})
    assert (refused.status_code, "Too many attempts" in refused.text) == (429, True)
    assert issuer.asked == 1
    world.seconds += accounts.ATTEMPT_SECONDS + 1
    began(browser)
    assert issuer.asked == 2, "by now it may have changed"


def test_who_came_back_and_signed_in_leaves_the_place_to_the_next(
    world: World, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A class signs in from one address."""
    monkeypatch.setattr(oidc_pages, "MOST_BEGUN", 1)
    for _ in range(2):
        browser = world.browser()
        assert came_back(browser, issuer, began(browser)).status_code == 303


def test_a_provider_that_cannot_be_reached_is_not_asked_for_everybody(world: World, issuer: Issuer) -> None:
    issuer.described = {"issuer": "https://other.example"}
    for _ in range(3):
        assert world.browser().post("/sign-in/oidc", data={"invitation": ""}).status_code == 502
    assert issuer.asked == 1
    issuer.described = {}
    world.seconds += oidc.FAILED_SECONDS
    began(world.browser())


def test_what_the_provider_said_is_asked_for_again_once_it_does_not_hold(
    world: World, issuer: Issuer
) -> None:
    issuer.described = {"jwks_uri": f"{issuer.url}/gone"}
    browser = world.browser()
    assert came_back(browser, issuer, began(browser)).status_code == 502
    issuer.described = {}
    assert came_back(browser, issuer, began(browser)).status_code == 303
