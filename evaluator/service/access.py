"""Who sends a request, by the token of a program or the cookie of a browser."""

from typing import Annotated

from fastapi import Depends, Query, Request
from starlette.responses import Response

from evaluator.service import accounts
from evaluator.service.accounts import SIGNED_IN_SECONDS, Caller
from evaluator.service.boards import Filter
from evaluator.service.errors import Refused
from evaluator.service.running import Service
from evaluator.service.settings import Settings

TOKEN_NOTED_SECONDS = 3600.0  # between notes of when a token was used


def service(request: Request) -> Service:
    """The service that is asked."""
    found = request.app.state.service
    assert isinstance(found, Service)
    return found


def cookie_name(settings: Settings) -> str:
    """How its cookie is called; the prefix has browsers hold it to this host, but they take it over TLS alone."""
    return "__Host-sdx" if settings.is_secure else "sdx"


def caller(request: Request) -> Caller | None:
    """Who asks; None for somebody without an account. Refused for a token that is not valid."""
    here = service(request)
    authorization = request.headers.get("authorization")
    if authorization is None:
        cookie = request.cookies.get(cookie_name(here.settings))
        if cookie is None:
            return None
        with here.database.reading() as session:
            return accounts.of_cookie(session, cookie, here.now())
    kind, _, token = authorization.partition(" ")
    now = here.now()
    with here.database.reading() as session:
        found = accounts.of_token(session, token.strip(), now) if kind.lower() == "bearer" else None
    if found is None:
        raise Refused("This token is unknown, or its time is over; make another one on your page.", 401)
    who, known = found
    if known.used is None or now - known.used > TOKEN_NOTED_SECONDS:
        with here.database.writing() as session:
            accounts.note_use(session, known.id, now)
    return who


def somebody(found: Annotated[Caller | None, Depends(caller)]) -> Caller:
    """Who asks, who must have an account."""
    if found is None:
        raise Refused("Sign in, or send a token.", 401)
    return found


def organiser(found: Annotated[Caller, Depends(somebody)]) -> Caller:
    """Who asks, who must run the service."""
    if not found.is_organiser:
        raise Refused("Only an organiser may do this.", 403)
    return found


def set_cookie(settings: Settings, response: Response, token: str) -> None:
    """Have the browser be signed in."""
    response.set_cookie(
        cookie_name(settings),
        token,
        max_age=int(SIGNED_IN_SECONDS),
        path="/",
        secure=settings.is_secure,
        httponly=True,
        samesite="lax",
    )


def wanted(
    text: Annotated[str, Query(max_length=100)] = "",
    single: Annotated[bool, Query()] = False,
    best: Annotated[bool, Query()] = False,
) -> Filter:
    """Which rows of a board are wanted."""
    return Filter(text.strip(), single, best)


Wanted = Annotated[Filter, Depends(wanted)]
Here = Annotated[Service, Depends(service)]
Anybody = Annotated[Caller | None, Depends(caller)]
Somebody = Annotated[Caller, Depends(somebody)]
Organiser = Annotated[Caller, Depends(organiser)]
