"""A submission's aicrowd.json, as far as it can be read: it is anybody's, and may be a pipe, a device, or no JSON."""

import json
import os
import stat
from pathlib import Path
from typing import Any

NAME = "aicrowd.json"
MOST_BYTES = 1 << 20
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


def read(submission: Path) -> dict[str, Any]:
    """The object in the file; an empty one where there is no such file, or it holds anything else."""
    try:
        with os.fdopen(os.open(submission / NAME, _FLAGS), "rb") as file:
            is_regular = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
            document = json.loads(file.read(MOST_BYTES)) if is_regular else {}
    except (OSError, ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}
