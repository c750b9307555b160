"""What takes long, a body or a file of any size: how many of them one account may have under way at once.

How slow each may be is the guard's to see to while bytes come (security.py), and the connection's while they go
(connections.py).
"""

from contextlib import AbstractContextManager
from typing import Any

from starlette.responses import FileResponse
from starlette.types import Receive, Scope, Send

from evaluator.service.accounts import Caller
from evaluator.service.errors import Refused
from evaluator.service.running import Service
from evaluator.service.security import address_of

MOST_TRANSFERS = 16


def transferring(service: Service, caller: Caller | None, scope: Scope) -> AbstractContextManager[None]:
    """One more transfer of the caller's, or of the address of somebody without an account; Refused for too many."""
    whose = f"address {address_of(scope)}" if caller is None else f"account {caller.account}"
    too_many = Refused(f"You have {MOST_TRANSFERS} transfers under way; wait for one to end.", 429)
    return service.at_once(f"transfer of {whose}", MOST_TRANSFERS, too_many)


class Download(FileResponse):
    """A large file, which counts as a transfer until all of it has gone."""

    def __init__(self, service: Service, caller: Caller | None, *file: Any, **described: Any) -> None:
        super().__init__(*file, **described)
        self._service, self._caller = service, caller

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with transferring(self._service, self._caller, scope):
            await super().__call__(scope, receive, send)
