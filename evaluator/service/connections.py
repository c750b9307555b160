"""A connection to the server: the beginning of a request is short, and comes soon.

uvicorn by itself waits for ever for the end of the headers, of any length. So a handful of addresses could have all
connections that there may be. How long a body is and how soon it comes is the guard's to see to (security.py).
"""

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MOST_HEAD_BYTES = 64 << 10
HEAD_SECONDS = 20.0


class Connection(HttpToolsProtocol):
    """HTTP/1.1 by httptools, which is given up while the headers of a request are too long, or too long in coming."""

    _until: asyncio.TimerHandle | None = None
    _head_bytes = 0

    def connection_made(self, transport: Any) -> None:
        """Somebody has connected, who should say something."""
        super().connection_made(transport)
        self._expect_head()

    def data_received(self, data: bytes) -> None:
        """Bytes have come."""
        super().data_received(data)
        if self._until is not None:
            self._head_bytes += len(data)
            if self._head_bytes > MOST_HEAD_BYTES:
                self.transport.close()

    def on_message_begin(self) -> None:
        """A request has begun: the first, or one more on a connection that was kept."""
        super().on_message_begin()
        self._expect_head()

    def on_headers_complete(self) -> None:
        """All headers are there."""
        self._expect_nothing()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over."""
        self._expect_nothing()
        super().connection_lost(exc)

    def _expect_head(self) -> None:
        if self._until is None:
            self._head_bytes = 0
            self._until = self.loop.call_later(HEAD_SECONDS, self.transport.close)

    def _expect_nothing(self) -> None:
        if self._until is not None:
            self._until.cancel()
            self._until = None
