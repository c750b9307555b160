"""Connections of those who read slowly, or go on with what is over: each is given up, whoever closes it."""

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from evaluator.service import connections, serving
from evaluator.service.connections import LEAST_BYTES, Connection

REQUEST = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n"


class Line:
    """The transport of a connection to somebody who reads what they like."""

    def __init__(self, host: str = "192.0.2.1") -> None:
        self.waiting, self.is_closed, self.is_cut = 0, False, False
        self.host = host

    def write(self, data: bytes) -> None:
        self.waiting += len(data)

    def get_write_buffer_size(self) -> int:
        return self.waiting

    def read(self, size: int) -> None:
        self.waiting -= min(size, self.waiting)

    def close(self) -> None:
        self.is_closed = True

    def abort(self) -> None:
        self.is_closed = self.is_cut = True

    def is_closing(self) -> bool:
        return self.is_closed

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass

    def get_extra_info(self, name: str) -> tuple[str, int] | None:
        return (self.host, 1) if name == "peername" else None


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answers at once, whatever still comes."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


def connected(line: Line, loop: Any, state: ServerState | None = None) -> Connection:
    made = Connection(uvicorn.Config(app), state or ServerState(), {}, loop)
    made.connection_made(line)
    return made


class Later:
    """A loop in which time passes when the test says so."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, tuple[Any, ...]]] = []

    def call_later(self, seconds: float, function: Any, *arguments: Any) -> Any:
        call = (function, arguments)
        if seconds == connections.LOOK_SECONDS:
            self.calls.append(call)
        return type("Handle", (), {"cancel": lambda handle: None})()

    def look(self) -> None:
        function, arguments = self.calls.pop()
        function(*arguments)


def is_given_up(written: int, reads: Iterable[int], is_closed: bool = False) -> bool:
    """Whether somebody is who reads so much between the looks, of an answer that is written at once."""
    line, loop = Line(), Later()
    connected(line, loop).transport.write(b"x" * written)
    line.is_closed = is_closed
    for size in (0, *reads):
        line.read(size)
        loop.look()
        if line.is_cut:
            return True
    return False


@pytest.mark.parametrize("is_closed", [False, True])  # nor does closing it wait for ever
def test_whoever_takes_an_answer_too_slowly_is_given_up(is_closed: bool) -> None:
    assert is_given_up(1, [0], is_closed)
    assert is_given_up(10 * LEAST_BYTES, [LEAST_BYTES, LEAST_BYTES - 1], is_closed)
    assert is_given_up(10 * LEAST_BYTES, [5 * LEAST_BYTES, 0], is_closed), (
        "what was taken before is no credit"
    )


def test_whoever_takes_all_or_enough_of_it_is_not() -> None:
    assert not is_given_up(0, [0, 0, 0])
    assert not is_given_up(1, [1, 0, 0])
    assert not is_given_up(10 * LEAST_BYTES, [LEAST_BYTES] * 12)


@pytest.mark.parametrize("more", [b"x", b"\r\n"])
def test_what_follows_an_answer_begins_a_request_or_ends_the_connection(
    monkeypatch: pytest.MonkeyPatch, more: bytes
) -> None:
    """The rest of a body, and empty lines, which both end uvicorn's own patience with an idle connection."""
    monkeypatch.setattr(connections, "HEAD_SECONDS", 0.05)
    request = REQUEST if more == b"x" else b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"

    async def trickle() -> bool:
        line = Line()
        connection = connected(line, asyncio.get_running_loop())
        connection.data_received(request)
        for _ in range(500):
            await asyncio.sleep(0.01)
            if line.is_closed:
                return True
            connection.data_received(more)
        return False

    assert asyncio.run(trickle())


def test_the_rest_of_a_large_body_is_read_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever sends it would else see a connection that broke in place of the answer."""
    monkeypatch.setattr(connections, "HEAD_SECONDS", 3600.0)

    async def send() -> bool:
        line = Line()
        connection = connected(line, asyncio.get_running_loop())
        connection.data_received(REQUEST.replace(b"1000", b"1000000"))
        await asyncio.sleep(0.01)
        for _ in range(10):
            connection.data_received(b"x" * 100_000)
        connection.data_received(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await asyncio.sleep(0.01)
        return not line.is_closed and line.waiting > 0

    assert asyncio.run(send())


@pytest.mark.parametrize(
    ("hosts", "are_limited"),
    [
        (["192.0.2.1"], True),
        (["2001:db8::1", "2001:db8::2", "2001:db8::3"], True),
        (["192.0.2.1", "192.0.2.2"], False),
        (["127.0.0.1"], False),  # where the proxy is
    ],
)
def test_an_address_has_so_many_connections_and_no_more(
    monkeypatch: pytest.MonkeyPatch, hosts: list[str], are_limited: bool
) -> None:
    monkeypatch.setattr(connections, "MOST_OF_ADDRESS", 4)
    state, lines = ServerState(), [Line(hosts[number % len(hosts)]) for number in range(6)]
    made = [connected(line, Later(), state) for line in lines]
    assert [line.is_cut for line in lines] == [False] * 4 + [are_limited] * 2
    for each in made:
        each.connection_lost(None)
    last = Line(hosts[0])
    connected(last, Later(), state)
    assert not last.is_cut, "those that are over do not count"


def test_there_may_be_as_many_files_as_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    resource = pytest.importorskip("resource")
    limits, hard = [], 5000

    def change(kind: int, limit: tuple[int, int]) -> None:
        limits.append(limit)

    monkeypatch.setattr(resource, "setrlimit", change)
    for soft in (1024, 4096, resource.RLIM_INFINITY):
        monkeypatch.setattr(resource, "getrlimit", lambda kind, soft=soft: (soft, hard))
        serving.allow_files()
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (256, 512))
    serving.allow_files()
    assert limits == [(serving.MOST_FILES, hard), (512, 512)]
    assert serving.MOST_FILES >= 2 * serving.MOST_CONNECTIONS
