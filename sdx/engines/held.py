"""What a process of an engine's worker keeps constructed between pieces of work: one thing at a time.

It is let go once work of another kind comes, nothing has come for a while, or the work is ended. A worker may have
several clients, of which it does one's work at a time: to end that of one is to end nobody else's.
"""

import atexit
import errno
import threading
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, Protocol, TypeVar

from sdx.engines.engine import Refused

IDLE_SECONDS = 300.0  # for which it is kept
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


class UnfitError(Exception):
    """This machine may not do the work; the message is what `Refused` says."""


class EndedError(Exception):
    """The work was ended before it began."""


class Station(Protocol):
    """What is kept: `cancel` ends, from another thread, what it does now and later; `close` leaves nothing of it."""

    def cancel(self) -> None: ...
    def close(self) -> None: ...


_CLIENT: ContextVar[str] = ContextVar("client", default="")  # for whom this thread works

S = TypeVar("S", bound=Station)
T = TypeVar("T")


class Held:
    """At most one station, which does one piece of work at a time, however many threads the worker has."""

    def __init__(self) -> None:
        self._busy = threading.Lock()
        self._key: Any = None
        self._station: Station | None = None
        self._ended: set[str] = set()  # clients that have gone
        self._client: str | None = None  # whose work the station does
        self._turn = threading.Lock()  # held while that, or who has gone, changes
        self._timer: threading.Timer | None = None

    def use(
        self, key: Any, make: Callable[[], S], do: Callable[[S], T], is_kept: Callable[[T], bool]
    ) -> T | Refused:
        """What `do` returns of the station of this key, which is made where none is held; Refused for UnfitError.

        `is_kept` says of an answer whether the station stays. It is let go where anything is raised. EndedError where
        the client's work has been ended.
        """
        with self._busy:
            client = _CLIENT.get()
            if self._timer is not None:
                self._timer.cancel()
            try:
                answer = do(self._made(key, make, client))
            except UnfitError as error:
                self._let_go()
                return Refused(str(error))
            except OSError as error:
                self._let_go()
                if error.errno not in DISK_FULL:
                    raise
                return Refused(full_disk(error.filename))
            except BaseException:
                self._let_go()
                raise
            if self._is_still_wanted(client) and is_kept(answer):
                self._timer = threading.Timer(IDLE_SECONDS, self.let_go)
                self._timer.daemon = True
                self._timer.start()
            else:
                self._let_go()
            return answer

    def cancel(self, client: str) -> None:
        """From another thread: end what is being done for a client; nothing is begun for it any more."""
        with self._turn:
            self._ended.add(client)
            if self._client == client and self._station is not None:
                self._station.cancel()

    def require_wanted(self, client: str) -> None:
        """EndedError where the client's work has been ended."""
        if client in self._ended:
            raise EndedError("the work was ended")

    def let_go(self) -> None:
        """Unless it is at work."""
        if self._busy.acquire(blocking=False):
            try:
                self._let_go()
            finally:
                self._busy.release()

    def _made(self, key: Any, make: Callable[[], S], client: str) -> Any:
        self.require_wanted(client)
        if self._station is None or self._key != key:
            self._let_go()
            self._key, self._station = key, make()
        with self._turn:
            self.require_wanted(client)  # it may have been ended while the station was made
            self._client = client
        return self._station

    def _is_still_wanted(self, client: str) -> bool:
        """Its work is done: whether it was not ended meanwhile, which from now on it cannot be."""
        with self._turn:
            self._client = None
            return client not in self._ended

    def _let_go(self) -> None:
        with self._turn:
            station, self._station, self._client = self._station, None, None
        if station is not None:
            station.close()


def full_disk(place: object) -> str:
    """What `Refused` says where there is no room, at `place` if that is known."""
    return f"has a full disk{f' at {place}' if place else ''}"


HELD = Held()
"""Of this process, for work of every kind: a machine's GPU holds one thing at a time."""

atexit.register(HELD.let_go)


def call_for(client: str, function: Callable[..., Any], *arguments: Any) -> Any:
    """On a worker: what a function returns, called for a client; EndedError once that client's work is ended."""
    HELD.require_wanted(client)
    token = _CLIENT.set(client)
    try:
        return function(*arguments)
    finally:
        _CLIENT.reset(token)


def end_of(client: str) -> None:
    """On a worker, from another thread: end what is done for a client, and what would be."""
    HELD.cancel(client)
