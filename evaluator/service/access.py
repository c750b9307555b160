"""Who sends a request, by the token of a program or the cookie of a browser.

What a request depends on is asynchronous here, so that threads are for what asks the database: where processors are
busy, every change of threads is a wait.
"""

from typing import Annotated

from fastapi import Depends, Path, Query, Request
from fastapi.security import HTTPBearer
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from evaluator.service import accounts
from evaluator.service.accounts import SIGNED_IN_SECONDS, Caller
from evaluator.service.boards import Filter
from evaluator.service.errors import Refused
from evaluator.service.running import Service
from evaluator.service.security import SAFE_METHODS
from evaluator.service.settings import Settings

TOKEN_NOTED_SECONDS = 3600.0  # between notes of when a token was used


async def service(request: Request) -> Service:
    """The service that is asked."""
    found = request.app.state.service
    assert isinstance(found, Service)
    return found


def cookie_name(settings: Settings) -> str:
    """How its cookie is called; the prefix has browsers hold it to this host, but they take it over TLS alone."""
    return "__Host-sdx" if settings.is_secure else "sdx"


async def caller(request: Request, here: Annotated[Service, Depends(service)]) -> Caller | None:
    """Who asks; None for somebody without an account. Refused for a token that is not valid."""
    authorization = request.headers.get("authorization")
    if authorization is not None:
        return await run_in_threadpool(_of_token, here, authorization, request.method)
    cookie = request.cookies.get(cookie_name(here.settings))
    found = None if cookie is None else await run_in_threadpool(_of_cookie, here, cookie)
    request.state.signed_in = found  # for the page of a refusal
    return found


def _of_cookie(here: Service, cookie: str) -> Caller | None:
    with here.database.reading() as session:
        return accounts.of_cookie(session, cookie, here.now())


def _of_token(here: Service, authorization: str, method: str) -> Caller:
    kind, _, token = authorization.partition(" ")
    now = here.now()
    with here.database.reading() as session:
        found = accounts.of_token(session, token.strip(), now) if kind.lower() == "bearer" else None
    if found is None:
        raise Refused("This token is unknown, or has expired; make another one on your page.", 401)
    who, known = found
    if who.scope == "read" and method not in SAFE_METHODS:
        raise Refused("Your token may read, not change anything.", 403)
    if known.used is None or now - known.used > TOKEN_NOTED_SECONDS:
        with here.database.writing() as session:
            accounts.note_use(session, known.id, now)
    return who


TOKEN = HTTPBearer(auto_error=False, description="A token of one's own page.")  # for the description


async def somebody(
    found: Annotated[Caller | None, Depends(caller)], said: Annotated[object, Depends(TOKEN)] = None
) -> Caller:
    """Who asks, who must have an account."""
    if found is None:
        raise Refused("Sign in, or send a token.", 401)
    return found


async def in_browser(found: Annotated[Caller, Depends(somebody)]) -> Caller:
    """Who asks, who must have signed in: a token that leaked can then be taken back with all that came of it."""
    if not found.is_in_browser:
        raise Refused("This is done in the browser, not by a token.", 403)
    return found


async def organiser(found: Annotated[Caller, Depends(in_browser)]) -> Caller:
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


async def wanted(
    text: Annotated[str, Query(max_length=100)] = "",
    single: Annotated[bool, Query()] = False,
    best: Annotated[bool, Query()] = False,
) -> Filter:
    """Which rows of a board are wanted."""
    return Filter(text.strip(), single, best)


RowNumber = Annotated[int, Path(ge=0, lt=1 << 31)]
"""As a database can hold it."""
Wanted = Annotated[Filter, Depends(wanted)]
Here = Annotated[Service, Depends(service)]
Anybody = Annotated[Caller | None, Depends(caller)]
Somebody = Annotated[Caller, Depends(somebody)]
InBrowser = Annotated[Caller, Depends(in_browser)]
Organiser = Annotated[Caller, Depends(organiser)]
