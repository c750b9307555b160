"""The pages with which people sign in with an OpenID provider, where one is configured."""

import secrets

from fastapi import APIRouter, Request
from starlette.responses import Response

from evaluator.service import accounts, identities, oidc
from evaluator.service.access import Anybody, Here, InBrowser, RowNumber, cookie_name, set_cookie
from evaluator.service.accounts import Caller
from evaluator.service.errors import Refused
from evaluator.service.oidc import Begun
from evaluator.service.posted import Fields, to
from evaluator.service.rendering import page
from evaluator.service.running import Service
from evaluator.service.security import address_of
from evaluator.service.settings import OpenIdProvider

router = APIRouter(include_in_schema=False, default_response_class=Response)
CALLBACK = "/sign-in/oidc/callback"
LINK = "link"  # no invitation is called so
MOST_BEGUN = 50  # of an address in a quarter of an hour, beside those who came back and signed in


def _provider(here: Service) -> OpenIdProvider:
    if here.settings.provider is None:
        raise Refused("There is nothing at this address.", 404)
    return here.settings.provider


def _begin(here: Service, request: Request, purpose: str) -> Response:
    """A page that leads to the provider: no redirect, since a form may lead to our own pages only."""
    provider, begun, now = _provider(here), Begun.new(purpose), here.now()
    with here.database.writing() as session:
        accounts.begin_attempt(session, (_beginning(request),), now, MOST_BEGUN)
    described = here.descriptions.of(provider, now)
    where = oidc.address(provider, described, begun, here.settings.url + CALLBACK)
    answer = page("provider.html.j2", None, provider=provider, address=where)
    answer.set_cookie(
        _cookie(here),
        begun.cookie,
        max_age=oidc.BEGUN_SECONDS,
        path="/",
        secure=here.settings.is_secure,
        httponly=True,
        samesite="lax",
    )
    return answer


def _beginning(request: Request) -> str:
    """Whose attempts to begin are counted."""
    return f"to provider {address_of(request.scope)}"


def _cookie(here: Service) -> str:
    return f"{cookie_name(here.settings)}-oidc"


@router.post("/sign-in/oidc")
def begin(request: Request, here: Here, form: Fields) -> Response:
    """Go to the provider, to sign in, or to accept an invitation."""
    invitation = form.get("invitation", "")
    if invitation:
        with here.database.reading() as session:
            accounts.open_invite(session, invitation, here.now())
    return _begin(here, request, invitation)


@router.post("/account/oidc")
def link(request: Request, here: Here, caller: InBrowser) -> Response:
    """Go to the provider, to sign in with it from now on."""
    return _begin(here, request, LINK)


@router.post("/account/oidc/{number}/unlink")
def unlink(number: RowNumber, here: Here, caller: InBrowser) -> Response:
    """Sign in with it no more."""
    with here.database.writing() as session:
        identities.unlink(session, caller, number)
    return to("/account")


@router.get(CALLBACK)
def come_back(request: Request, here: Here, caller: Anybody) -> Response:
    """Where the provider sends the browser: sign in, or link."""
    now = here.now()
    subjects = (f"provider {address_of(request.scope)}",)
    with here.database.writing() as session:
        attempt = accounts.begin_attempt(session, subjects, now)
    answer = _done(request, here, caller, now)
    with here.database.writing() as session:
        accounts.forgive(session, [*attempt, *accounts.last_attempt(session, _beginning(request))])
    answer.delete_cookie(
        _cookie(here), path="/", secure=here.settings.is_secure, httponly=True, samesite="lax"
    )
    return answer


def _done(request: Request, here: Service, caller: Caller | None, now: float) -> Response:
    provider = _provider(here)
    begun = Begun.of_cookie(request.cookies.get(_cookie(here), ""))
    callback = here.settings.url + CALLBACK
    found = oidc.person(provider, here.descriptions, begun, dict(request.query_params), callback, now)
    if begun.purpose == LINK:
        if caller is None or not caller.is_in_browser:
            raise Refused("Sign in first, then link.", 401)
        with here.database.writing() as session:
            accounts.lock(session, caller.account)  # else it could belong to one that is closed
            identities.link(session, provider, found, caller.account, now)
        return to("/account")
    nobodys = accounts.hash_password(secrets.token_urlsafe(32))
    with here.database.writing() as session:
        account = identities.account_of(session, provider, found, nobodys, begun.purpose, now)
        cookie = accounts.sign_in(session, account, now)
    answer = to("/")
    set_cookie(here.settings, answer, cookie)
    return answer
