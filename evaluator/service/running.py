"""What every request of a running service has at hand."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from evaluator.service.database import Database
from evaluator.service.settings import Settings


@dataclass(frozen=True)
class Service:
    """A service; writers: the uploads that some connection is sending."""

    settings: Settings
    database: Database
    now: Callable[[], float] = time.time
    writers: set[str] = field(default_factory=set)
