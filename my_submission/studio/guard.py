"""What holds for every request to the studio: this machine, its own page, and the link that it printed.

The link has a secret in its path, made at every start: another page, another user of the machine or another program
on a port beside it does not know it. (A cookie would go to every port of this address.)
"""

import secrets
from urllib.parse import urlsplit

from my_submission.studio.web import (
    ASGIApp,
    Headers,
    JSONResponse,
    Message,
    MutableHeaders,
    Receive,
    Scope,
    Send,
)

HOSTS = ("127.0.0.1", "localhost", "::1")
_SAFE_METHODS = ("GET", "HEAD")
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
    " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
}


class Guard:
    """Refuses what does not come from the studio's own page, and adds headers to every answer."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        guarded = _with_headers(send)
        problem = self._problem(scope, Headers(scope=scope))
        if problem is not None:
            status, words = problem
            await JSONResponse({"error": words}, status)(scope, receive, guarded)
            return
        await self._app(scope, receive, guarded)

    def _problem(self, scope: Scope, headers: Headers) -> tuple[int, str] | None:
        if _host(headers.get("host", "")) not in HOSTS:
            return 421, "The studio answers on this machine only, as 127.0.0.1."
        first = scope["path"].lstrip("/").partition("/")[0].encode("utf-8", "surrogateescape")
        if not secrets.compare_digest(first, self._token.encode()):
            return 404, "Open the link that `sdx studio` has printed: it is another one at every start."
        if scope["method"] not in _SAFE_METHODS and not _is_own(headers):
            return 403, "This request comes from another page; open the studio's own."
        return None


def _host(place: str) -> str:
    try:
        return urlsplit(f"//{place}").hostname or ""
    except ValueError:
        return ""


def _is_own(headers: Headers) -> bool:
    """Whether it was sent by a page of the studio, or by no browser at all."""
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site is not None:
        return site == "same-origin"
    if origin is None:
        return True
    try:
        return urlsplit(origin).netloc == headers.get("host", "-")
    except ValueError:
        return False


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in _HEADERS.items():
                headers.setdefault(name, value)
        await send(message)

    return sending
