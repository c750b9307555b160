"""A connection to the server: a request begins soon and is short, and an answer is taken as it goes.

uvicorn by itself waits for ever: for the end of the headers, of any length; for what comes after a request that was
answered; for whoever does not read an answer, even once the connection is closed. So a handful of addresses could
have all connections that there may be. How long a body is and how soon it comes is the guard's to see to
(security.py).
"""

import asyncio
import socket
import sys
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from evaluator.service.security import address_of

MOST_OF_ADDRESS = 250  # of the thousand connections that there may be
MOST_HEAD_BYTES = 64 << 10
HEAD_SECONDS = 20.0
LOOK_SECONDS = 120.0  # between looks at how much has gone
LEAST_BYTES = 64 << 10  # that must have gone meanwhile of what waited
# The kernel tells that bytes have gone once so many fewer wait in it; of megabytes, that would be minutes.
UNSENT_BYTES = 128 << 10


class Outgoing:
    """The transport of a connection, which counts what is written to it."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self.written_bytes = 0

    def write(self, data: bytes) -> None:
        """Send bytes, sooner or later."""
        self.written_bytes += len(data)
        self._transport.write(data)

    def gone_bytes(self) -> int:
        """How many of them wait here no more."""
        return self.written_bytes - int(self._transport.get_write_buffer_size())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)


class Connection(HttpToolsProtocol):
    """HTTP/1.1 by httptools, which is given up where the headers of a request are too long, or too long in coming.

    It is so, too, where of what waited to be sent at one look neither all nor LEAST_BYTES have gone at the next one,
    and at once where its address has as many as it may. Proxies have no such limit, whose requests are others'.
    """

    _until: asyncio.TimerHandle | None = None
    _head_bytes = 0
    _looking: asyncio.TimerHandle | None = None
    _outgoing: Outgoing
    _address: str | None = None  # none of a proxy

    def connection_made(self, transport: Any) -> None:
        """Somebody has connected, who should say something."""
        self._outgoing = Outgoing(transport)
        super().connection_made(self._outgoing)  # type: ignore[arg-type]
        self._expect_head()
        self._looking = self.loop.call_later(LOOK_SECONDS, self._look, 0, 0)
        proxies = getattr(self.config.loaded_app, "trusted_hosts", ())
        if self.client is not None and self.client[0] not in proxies:
            self._address = address_of({"client": self.client})
            others = (each for each in self.connections if isinstance(each, Connection))
            if sum(each._address == self._address for each in others) > MOST_OF_ADDRESS:
                transport.abort()

    def data_received(self, data: bytes) -> None:
        """Bytes have come."""
        super().data_received(data)
        if self._until is not None:
            self._head_bytes += len(data)
            if self._head_bytes > MOST_HEAD_BYTES:
                self.transport.close()
        elif self.cycle is not None and self.cycle.response_complete:
            # An empty line, or what was left of a request. uvicorn takes it that something has begun.
            self._expect_head()

    def on_message_begin(self) -> None:
        """A request has begun: the first, or one more on a connection that was kept."""
        super().on_message_begin()
        self._expect_head()

    def on_headers_complete(self) -> None:
        """All headers are there."""
        self._expect_nothing()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A part of a body, which is no part of a head."""
        self._head_bytes -= len(body)
        super().on_body(body)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over."""
        self._expect_nothing()
        if self._looking is not None:
            self._looking.cancel()
        super().connection_lost(exc)

    def _expect_head(self) -> None:
        if self._until is None:
            self._head_bytes = 0
            self._until = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def _expect_nothing(self) -> None:
        if self._until is not None:
            self._until.cancel()
            self._until = None

    def _look(self, written_bytes: int, gone_bytes: int) -> None:
        """See whether bytes go; those numbers are of the look before."""
        gone = self._outgoing.gone_bytes()
        if gone < min(written_bytes, gone_bytes + LEAST_BYTES):
            self.transport.abort()
            return
        self._looking = self.loop.call_later(LOOK_SECONDS, self._look, self._outgoing.written_bytes, gone)


def tell_soon(listening: socket.socket) -> None:
    """Have the kernel hold little that is not sent, so that it is seen here when it goes; connections inherit it."""
    option = getattr(
        socket, "TCP_NOTSENT_LOWAT", 25 if sys.platform == "linux" else None
    )  # from Python 3.12 on
    if option is not None:
        listening.setsockopt(socket.IPPROTO_TCP, option, UNSENT_BYTES)
