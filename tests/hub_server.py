"""A server on loopback that speaks as much of the hub's protocol as its client uses, and can misbehave.

    with HubServer() as server:
        server.publish("owner/name", "models/x.th", path)     # a file of a hub repository
        url = server.publish_plain("x.th", path)              # the same at a plain URL
        server.misbehave("x.th", Reply(status=429), Reply(cut_after=1000))

`server.endpoint` is what HF_ENDPOINT should be. As on the hub, `resolve` answers with the commit, size and
etag and redirects to another address, from which the bytes come, in ranges if asked for. Each `Reply` is used
up by one request for bytes (GET) of a file of this name, in order; then the server behaves again.
"""

import contextlib
import hashlib
import os
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import unquote

import pytest


@contextlib.contextmanager
def without_certificates() -> Iterator[None]:
    """Meanwhile, clients read no certificates: it takes each of them 25 ms, and plain HTTP has no use for them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("SSL_CERT_FILE", raising=False)
        patch.setenv("SSL_CERT_DIR", os.devnull)
        yield


COMMIT = "0123456789abcdef0123456789abcdef01234567"
_BLOCK_BYTES = 1 << 16


@dataclass(frozen=True)
class Reply:
    """One misbehaviour.

    status: instead of 200 or 206. to_head: this reply is for a HEAD request (the hub's metadata).
    body, content_type: sent in place of the file. cut_after: close the connection after so many bytes of the body.
    pause_seconds: wait before the body's second block.
    """

    status: int | None = None
    to_head: bool = False
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    content_type: str = "application/octet-stream"
    cut_after: int | None = None
    pause_seconds: float = 0


@dataclass(frozen=True)
class Request:
    """What was asked for: the method, the path, and where the range began (0 without one)."""

    method: str
    path: str
    start: int


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, hub: "HubServer") -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.hub = hub

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that went away is what some tests are about; anything else is shown."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]


class HubServer:
    """See the module's docstring. Owns a thread and a port; use it as a context manager."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.sends_etags = True  # with the bytes; the hub's metadata always has one
        self._files: dict[str, Path] = {}
        self._replies: dict[str, list[Reply]] = {}
        self._lock = threading.Lock()
        self._server = _Server(self)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        # Another host for the client, which would follow a redirect within the hub itself.
        self.cdn = f"http://localhost:{self._server.server_port}/cdn"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def publish(self, repository: str, path: str, file: Path, revision: str = "main") -> None:
        """Serve a file as `path` of a hub repository."""
        self._files[f"/{repository}/resolve/{revision}/{path}"] = file

    def publish_plain(self, path: str, file: Path) -> str:
        """Serve a file at a plain URL; returns it."""
        self._files[f"/plain/{path}"] = file
        return f"{self.endpoint}/plain/{path}"

    def misbehave(self, name: str, *replies: Reply) -> None:
        """Answer the next requests for files of this name so."""
        self._replies.setdefault(name, []).extend(replies)

    def gets(self, name: str) -> list[Request]:
        """The requests for the bytes of a file of this name."""
        return [r for r in self.requests if r.method == "GET" and r.path.endswith(f"/{name}")]

    def file(self, path: str) -> Path | None:
        return self._files.get(path)

    def next_reply(self, method: str, path: str) -> Reply | None:
        with self._lock:
            waiting = self._replies.get(path.rsplit("/", 1)[-1], [])
            if waiting and waiting[0].to_head == (method == "HEAD"):
                return waiting.pop(0)
            return None


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer("HEAD")

    def do_GET(self) -> None:
        self._answer("GET")

    def _answer(self, method: str) -> None:
        path = unquote(self.path.split("?")[0])
        start = _range_start(self.headers.get("Range"))
        self.server.hub.requests.append(Request(method, path, start))
        reply = self.server.hub.next_reply(method, path) or Reply()
        target = path.removeprefix("/cdn")
        file = self.server.hub.file(target)
        if reply.status is not None or reply.body is not None:
            self._send_bytes(method, reply)
        elif file is None:
            self._send_bytes(method, Reply(404, headers={"X-Error-Code": "EntryNotFound"}))
        elif "/resolve/" in path and not path.startswith("/cdn"):
            self._redirect(path, file)
        else:
            self._send_file(method, file, start, reply)

    def _redirect(self, path: str, file: Path) -> None:
        self.send_response(302)
        self.send_header("Location", f"{self.server.hub.cdn}{path}")
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("X-Linked-Etag", _etag(file))
        self.send_header("X-Linked-Size", str(file.stat().st_size))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _send_file(self, method: str, file: Path, start: int, reply: Reply) -> None:
        size = file.stat().st_size
        if start >= size > 0 and "Range" in self.headers:
            self._send_bytes(method, Reply(416, headers={"Content-Range": f"bytes */{size}"}))
            return
        if self.headers.get("If-Range", _etag(file)) != _etag(file):
            start = 0
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(size - start))
        self.send_header("Content-Type", reply.content_type)
        if self.server.hub.sends_etags:
            self.send_header("ETag", _etag(file))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        self.end_headers()
        if method == "HEAD":
            return
        end = size if reply.cut_after is None else min(size, start + reply.cut_after)
        self._send_body(file, start, end, reply.pause_seconds)
        if end < size:
            self.close_connection = True

    def _send_body(self, file: Path, start: int, end: int, pause_seconds: float) -> None:
        with file.open("rb") as source:
            source.seek(start)
            while start < end:
                block = source.read(min(_BLOCK_BYTES, end - start))
                try:
                    self.wfile.write(block)
                except (BrokenPipeError, ConnectionResetError):  # the client is gone
                    self.close_connection = True
                    return
                start += len(block)
                time.sleep(pause_seconds)

    def _send_bytes(self, method: str, reply: Reply) -> None:
        body = reply.body or b""
        self.send_response(reply.status or 200)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", reply.content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if method == "GET":
            self.wfile.write(body)


def _range_start(header: str | None) -> int:
    return int(header.removeprefix("bytes=").split("-")[0]) if header else 0


def _etag(file: Path) -> str:
    return f'"{hashlib.sha256(file.read_bytes()).hexdigest()}"'
