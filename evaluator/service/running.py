"""What every request of a running service has at hand."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from evaluator.service.database import Database
from evaluator.service.errors import Refused
from evaluator.service.intervals import Known
from evaluator.service.oidc import Descriptions
from evaluator.service.settings import Settings


@dataclass(frozen=True)
class Service:
    """A service.

    busy: how many connections are at each thing of which there may be so many at once. sure: how sure boards are that
    were looked at. descriptions: what the OpenID provider says of itself.
    """

    settings: Settings
    database: Database
    now: Callable[[], float] = time.time
    busy: Counter[str] = field(default_factory=Counter)
    sure: Known = field(default_factory=Known)
    descriptions: Descriptions = field(default_factory=Descriptions)

    @contextmanager
    def at_once(self, what: str, most: int, too_many: Refused) -> Iterator[None]:
        """One more is at this meanwhile; raises `too_many` where `most` are. For the thread of the event loop."""
        if self.busy[what] >= most:
            raise too_many
        self.busy[what] += 1
        try:
            yield
        finally:
            self.busy[what] -= 1
            if self.busy[what] == 0:
                del self.busy[what]
