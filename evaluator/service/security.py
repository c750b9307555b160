"""What holds for every request before any route sees it: hosts, sizes, its origin; and the headers of answers."""

import asyncio
import ipaddress
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from evaluator.service.errors import Refused, TooSlow
from evaluator.service.running import Service
from evaluator.service.settings import LOOPBACK, Settings

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
SMALL_BYTES, LIST_BYTES = 64 << 10, 8 << 20
SMALL_SECONDS = 60.0  # for all of a small body, or for LEAST_BYTES of a large one
LEAST_BYTES = 64 << 10
MOST_REQUESTS = 200  # of one address at once, of the 1000 connections that there are
NETWORK_BITS = 64  # of an IPv6 address: somebody who has one has all that begin so
UPLOADS = "/api/v1/uploads/"
ONE_PIECE = "/api/quality_checker/add"
POLICY = (
    "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self';"
    " frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    # The address of an invitation is a secret. With "no-referrer", our own forms would come from "null".
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "X-Frame-Options": "DENY",
}


TOO_MANY = Refused(f"Your address has {MOST_REQUESTS} requests under way; wait for some to end.", 429)


def address_of(scope: Scope) -> str:
    """Who sends, as far as the network tells: an address, or the network of one of IPv6."""
    host = (scope.get("client") or ("",))[0]
    try:
        found = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return str(host)
    if isinstance(found, ipaddress.IPv4Address):
        return host
    if found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(ipaddress.ip_network((found, NETWORK_BITS), strict=False))


def _requests(scope: Scope) -> str:
    return f"request of {address_of(scope)}"


class Guard:
    """Refuses what no honest client sends, and adds headers to every answer."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app = app
        self._service = service
        self._secure = service.settings.is_secure
        self._hosts = _hosts(service.settings)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        guarded = self._with_headers(send)
        headers = Headers(scope=scope)
        problem = self._problem(scope, headers)
        if problem is not None:
            status, words = problem
            kind = JSONResponse if scope["path"].startswith("/api/") else PlainTextResponse
            content = {"error": words, "problems": []} if kind is JSONResponse else words
            await kind(content, status)(scope, receive, guarded)
            return
        with self._service.at_once(_requests(scope), MOST_REQUESTS, TOO_MANY):
            await self._app(scope, _limited(scope, receive), guarded)

    def _problem(self, scope: Scope, headers: Headers) -> tuple[int, str] | None:
        if "\0" in scope["path"] or b"%00" in scope["query_string"]:
            return 400, "There is no such address."  # nor does PostgreSQL take such text
        host = _name(f"//{headers.get('host', '')}")
        if self._hosts and host not in self._hosts:
            return 421, f"This service answers as {', '.join(sorted(self._hosts))} only."
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > _most_bytes(scope):
            return 413, f"A request of {length[:20]} bytes, expected at most {_most_bytes(scope)}."
        if scope["method"] not in SAFE_METHODS and not _is_own(headers):
            return 403, "This request comes from another site; open the page itself."
        if self._service.busy[_requests(scope)] >= MOST_REQUESTS:
            return TOO_MANY.status, TOO_MANY.sentence
        return None

    def _with_headers(self, send: Send) -> Send:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-store")
                if self._secure:
                    headers.setdefault("Strict-Transport-Security", "max-age=31536000")
            await send(message)

        return sending


def _hosts(settings: Settings) -> set[str]:
    """The names that it answers to; on a loopback address no other page's name can be made to lead here."""
    if settings.public_url is not None:
        return {urlsplit(settings.public_url).hostname or "", *LOOPBACK}
    return set(LOOPBACK) if settings.host in LOOPBACK else set()


def _name(url: str) -> str:
    """The host that an address leads to; "" for what is none."""
    try:
        return urlsplit(url).hostname or "" if "@" not in url else ""
    except ValueError:
        return ""


def _place(origin: str) -> str:
    """Host and port of an origin; "" for what is none."""
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""


def _is_own(headers: Headers) -> bool:
    """Whether a request that changes something was sent by a page of ours, or by no browser at all."""
    if headers.get("authorization"):
        return True  # which no page of another site can add
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site in ("same-origin", "none")
    origin = headers.get("origin")
    if origin is not None:
        return _place(origin) == headers.get("host", "-")
    return "cookie" not in headers


def _most_bytes(scope: Scope) -> int:
    """How long a body may be: of an upload, as long as it says that it is."""
    path: str = scope["path"]
    if (path.startswith(UPLOADS) and scope["method"] == "PATCH") or path == ONE_PIECE:
        return 1 << 50
    return LIST_BYTES if path.startswith("/api/") and path.endswith("/files") else SMALL_BYTES


def _limited(scope: Scope, receive: Receive) -> Receive:
    """The body, which ends where it is longer than it may be, whatever its header says, or comes too slowly.

    Only the time counts in which we wait for it.
    """
    most = left = _most_bytes(scope)
    share = most if most <= LIST_BYTES else LEAST_BYTES
    due, patience = share, SMALL_SECONDS
    is_there = False

    async def receiving() -> Message:
        nonlocal left, due, patience, is_there
        began = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(None if is_there else patience):
                message = await receive()
        except TimeoutError:
            raise TooSlow from None
        is_there = not message.get("more_body", False)  # what comes then is that the client goes
        size = len(message.get("body", b""))
        left, due = left - size, due - size
        patience -= asyncio.get_running_loop().time() - began
        if left < 0:
            raise Refused(f"A longer request than the {most} bytes that it may have.", 413)
        if due <= 0:
            due, patience = share, SMALL_SECONDS
        return message

    return receiving
