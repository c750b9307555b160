"""What a process of an engine's worker keeps constructed between pieces of work: one thing at a time.

It is let go once work of another kind comes, nothing has come for a while, or the work is ended.
"""

import atexit
import errno
import threading
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from sdx.engines.engine import Refused

IDLE_SECONDS = 300.0  # for which it is kept
DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


class UnfitError(Exception):
    """This machine may not do the work; the message is what `Refused` says."""


class EndedError(Exception):
    """The work was ended from another thread before it began."""


class Station(Protocol):
    """What is kept: `cancel` ends, from another thread, what it does; `close` leaves nothing of it."""

    def cancel(self) -> None: ...
    def close(self) -> None: ...


S = TypeVar("S", bound=Station)
T = TypeVar("T")


class Held:
    """At most one station, which does one piece of work at a time, however many threads the worker has."""

    def __init__(self) -> None:
        self._busy = threading.Lock()
        self._key: Any = None
        self._station: Station | None = None
        self._is_ended = False
        self._timer: threading.Timer | None = None

    def use(
        self, key: Any, make: Callable[[], S], do: Callable[[S], T], is_kept: Callable[[T], bool]
    ) -> T | Refused:
        """What `do` returns of the station of this key, which is made where none is held; Refused for UnfitError.

        `is_kept` says of an answer whether the station stays. It is let go where anything is raised.
        """
        with self._busy:
            self._is_ended = False
            if self._timer is not None:
                self._timer.cancel()
            try:
                answer = do(self._made(key, make))
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
            if is_kept(answer):
                self._timer = threading.Timer(IDLE_SECONDS, self.let_go)
                self._timer.daemon = True
                self._timer.start()
            else:
                self._let_go()
            return answer

    def cancel(self) -> None:
        """From another thread: end what is being done."""
        self._is_ended = True
        if (station := self._station) is not None:
            station.cancel()

    def let_go(self) -> None:
        """Unless it is at work."""
        if self._busy.acquire(blocking=False):
            try:
                self._let_go()
            finally:
                self._busy.release()

    def _made(self, key: Any, make: Callable[[], S]) -> Any:
        if self._station is None or self._key != key:
            self._let_go()
            self._key, self._station = key, make()
        if self._is_ended:  # while it was made
            raise EndedError("the work was ended")
        return self._station

    def _let_go(self) -> None:
        station, self._station = self._station, None
        if station is not None:
            station.close()


def full_disk(place: object) -> str:
    """What `Refused` says where there is no room, at `place` if that is known."""
    return f"has a full disk{f' at {place}' if place else ''}"


HELD = Held()
"""Of this process, for work of every kind: a machine's GPU holds one thing at a time."""

atexit.register(HELD.let_go)


def end() -> None:
    """From another thread: end what is being done, and let go what is held."""
    HELD.cancel()
