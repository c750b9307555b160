"""What every address has beside its own methods: HEAD where there is GET, and OPTIONS."""

from starlette.requests import Request
from starlette.routing import Match
from starlette.types import ASGIApp, Message, Receive, Scope, Send

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS")
FILE_AS_PATH = "http.response.pathsend"


class HeadAsGet:
    """Answers HEAD as GET, without the body (RFC 9110, 9.3.2), but for addresses that begin with `own`."""

    def __init__(self, app: ASGIApp, own: str) -> None:
        self._app = app
        self._own = own

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD" or scope["path"].startswith(self._own):
            await self._app(scope, receive, send)
            return
        asked = {
            **scope,
            "method": "GET",
            "headers": [(name, value) for name, value in scope["headers"] if name != b"range"],
            # A file is then named rather than read, which would be for nothing.
            "extensions": {**scope.get("extensions", {}), FILE_AS_PATH: {}},
        }
        await self._app(asked, receive, _without_body(send))


def _without_body(send: Send) -> Send:
    is_over = False

    async def sending(message: Message) -> None:
        nonlocal is_over
        if message["type"] == "http.response.start":
            await send(message)
        elif not is_over:
            is_over = True
            await send({"type": "http.response.body", "body": b""})

    return sending


def allowed(request: Request) -> str:
    """The methods of a request's address, as the header Allow has them; "" for an address that there is not."""
    found = {
        method
        for method in METHODS
        for route in request.app.routes
        if route.matches({**request.scope, "method": method})[0] is Match.FULL
    }
    if not found:
        return ""
    found |= {"OPTIONS"} | ({"HEAD"} if "GET" in found else set())
    return ", ".join(method for method in METHODS if method in found)
