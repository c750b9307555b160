"""How much one account, or one address, may have under way at once, and how slowly a body may come."""

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest

from evaluator.service import security
from evaluator.service.errors import Refused, TooSlow
from evaluator.service.security import LEAST_BYTES, LIST_BYTES, SMALL_BYTES, address_of
from evaluator.service.transfers import MOST_TRANSFERS, transferring
from tests.evaluator.service.test_uploads import CONTENT, begun
from tests.evaluator.service.world import World

MIXTURES = "/api/v1/benchmarks/bench/mixtures.zip"
SCOPE: dict[str, Any] = {"type": "http", "client": ("testclient", 1)}


@contextmanager
def busy(world: World, name: str | None) -> Iterator[None]:
    """As many transfers of somebody's, or of the address of nobody, as there may be."""
    caller = None if name is None else world.caller(name)
    with ExitStack() as under_way:
        for _ in range(MOST_TRANSFERS):
            under_way.enter_context(transferring(world.app.state.service, caller, SCOPE))
        yield


def test_an_account_has_so_many_transfers_at_once_and_no_more(world: World) -> None:
    location = begun(world)
    world.token("bob")
    for whose, refused in (("ann", "ann"), (None, None)):
        with busy(world, whose):
            for name in ("ann", "bob", None):
                expected = 429 if name == refused else 200
                assert world.program(name).get(MIXTURES).status_code == expected
            sent = world.send("ann", location, CONTENT).status_code
            assert sent == (429 if whose == "ann" else 204)
    assert not world.app.state.service.busy


def test_an_address_has_so_many_requests_at_once_and_no_more(world: World) -> None:
    service = world.app.state.service
    for number, status in ((security.MOST_REQUESTS - 1, 200), (security.MOST_REQUESTS, 429)):
        with ExitStack() as under_way:
            for _ in range(number):
                under_way.enter_context(service.at_once("request of testclient", number, Refused("")))
            assert world.program(None).get("/api/v1/benchmarks").status_code == status
    assert not service.busy
    assert world.program(None).get("/api/v1/benchmarks").status_code == 200


@pytest.mark.parametrize(
    ("client", "expected"),
    [
        (("192.0.2.7", 1), "192.0.2.7"),
        (("::ffff:192.0.2.7", 1), "192.0.2.7"),
        (("2001:db8:1:2:3:4:5:6", 1), "2001:db8:1:2::/64"),
        (("2001:db8:1:2:ffff::1", 2), "2001:db8:1:2::/64"),
        (("fe80::1%eth0", 1), "fe80::/64"),
        (("testclient", 1), "testclient"),
        (None, ""),
    ],
)
def test_an_address_is_what_one_household_has(client: tuple[str, int] | None, expected: str) -> None:
    assert address_of({"type": "http", "client": client}) == expected


def times(path: str, method: str, size: int, pause: float, number: int) -> int:
    """How many parts of a body are taken, of so many that each come after a pause."""

    async def read() -> int:
        loop = asyncio.get_running_loop()
        seconds, clock = 0.0, loop.time
        loop.time = lambda: clock() + seconds  # type: ignore[method-assign]

        async def part() -> dict[str, Any]:
            nonlocal seconds
            seconds += pause
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            return {"type": "http.request", "body": b"x" * size, "more_body": True}

        receive = security._limited({"type": "http", "path": path, "method": method}, part)  # type: ignore[arg-type]
        for taken in range(number):
            try:
                await receive()
            except TooSlow:
                return taken
        return number

    return asyncio.run(read())


@pytest.mark.parametrize(
    ("path", "method", "most", "is_large"),
    [
        ("/sign-in", "POST", SMALL_BYTES, False),
        ("/api/v1/entries/1/files", "POST", LIST_BYTES, False),
        (f"{security.UPLOADS}x", "PATCH", LEAST_BYTES, True),
        (security.ONE_PIECE, "POST", LEAST_BYTES, True),
    ],
)
def test_a_body_comes_soon_or_in_large_parts_soon(path: str, method: str, most: int, is_large: bool) -> None:
    """All of a small one within a minute, and so much of a large one within each."""
    pause = security.SMALL_SECONDS / 10 + 0.01
    assert times(path, method, 1, pause, 30) == 9, "a byte now and then"
    assert times(path, method, most // 20, pause, 30) == 9, "half as fast as it must be"
    number = 30 if is_large else 9
    assert times(path, method, most // 9 + is_large, pause, number) == number, "fast enough"
