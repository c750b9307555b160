"""The web application: routes, and how everything that goes wrong is answered."""

import logging

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import DataError, IntegrityError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from evaluator import printable
from evaluator.service import (
    account_pages,
    api,
    listening,
    methods,
    mvsep,
    oidc_pages,
    organiser_pages,
    pages,
    rendering,
)
from evaluator.service.errors import Refused
from evaluator.service.running import Service
from evaluator.service.security import HEADERS, UPLOADS, Guard

LOG = logging.getLogger(__name__)
BROKEN = "Something is wrong with the service; its log says more."


def create_app(service: Service) -> FastAPI:
    """The application of a service."""
    app = FastAPI(
        title="Sound demixing quality checker",
        version="1",
        openapi_url=f"{api.ROOT}/openapi.json",
        docs_url=None,  # its page loads scripts from elsewhere
        redoc_url=None,
    )
    app.state.service = service
    for room in (api, mvsep, pages, account_pages, oidc_pages, organiser_pages, listening):
        app.include_router(room.router)
    app.add_middleware(methods.HeadAsGet, own=UPLOADS)
    app.add_middleware(Guard, service=service)
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(DataError, _unstorable)
    app.add_exception_handler(IntegrityError, _at_once)
    app.add_exception_handler(Exception, _broken)
    return app


def _answer(request: Request, status: int, sentence: str, problems: tuple[str, ...] = ()) -> Response:
    """A refusal as JSON to programs, as a page to people."""
    if request.url.path.startswith(mvsep.ROOT):
        return mvsep.refusal(status, sentence, problems)
    if request.url.path.startswith("/api/"):
        return JSONResponse({"error": sentence, "problems": list(problems)}, status)
    return rendering.refusal(request, status, sentence, problems)


def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)
    answer = _answer(request, error.status, error.sentence, error.problems)
    if error.status == 401:
        answer.headers["WWW-Authenticate"] = "Bearer"
    return answer


def _invalid(request: Request, error: Exception) -> Response:
    """What does not fit the schema of a route, in sentences."""
    assert isinstance(error, RequestValidationError)
    problems = tuple(
        printable.plain(f"{'.'.join(map(str, each['loc']))}: {each['msg']}") for each in error.errors()[:20]
    )
    return _answer(request, 422, "The request does not have the form that it must have.", problems)


def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    words = {404: "There is nothing at this address.", 405: "That cannot be done with this address."}
    allowed = {"Allow": methods.allowed(request)} if error.status_code == 405 else {}
    if allowed and request.method == "OPTIONS":
        return Response(status_code=204, headers=allowed)
    answer = _answer(request, error.status_code, words.get(error.status_code, str(error.detail)))
    answer.headers.update(allowed)
    return answer


def _unstorable(request: Request, error: Exception) -> Response:
    """What a database cannot hold, such as NUL in a text of PostgreSQL."""
    return _answer(request, 400, "The request holds a character or a number that cannot be kept.")


def _at_once(request: Request, error: Exception) -> Response:
    """What another request has taken in the same moment, such as a name: PostgreSQL has several writers."""
    LOG.warning("refused, since it is there already: %s", error)
    return _answer(request, 409, "Another request has just done the same; look, and try again.")


def _broken(request: Request, error: Exception) -> Response:
    answer = _answer(request, 500, BROKEN)
    answer.headers.update(HEADERS)  # it is made outside of the guard
    return answer
