"""The web application: routes, and how everything that goes wrong is answered."""

import logging

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from evaluator import printable
from evaluator.service import api, listening, mvsep, pages, rendering
from evaluator.service.errors import Refused
from evaluator.service.running import Service
from evaluator.service.security import HEADERS, Guard

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
    app.include_router(api.router)
    app.include_router(mvsep.router)
    app.include_router(pages.router)
    app.include_router(listening.router)
    app.add_middleware(Guard, settings=service.settings)
    app.add_exception_handler(Refused, _refused)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
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
    return _answer(request, error.status_code, words.get(error.status_code, str(error.detail)))


def _broken(request: Request, error: Exception) -> Response:
    answer = _answer(request, 500, BROKEN)
    answer.headers.update(HEADERS)  # it is made outside of the guard
    return answer
