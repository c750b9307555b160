"""A submission's aicrowd.json, as far as it can be read: it is anybody's, and may be a pipe, a device, or no JSON."""

from pathlib import Path
from typing import Any

from evaluator import strict_json

NAME = "aicrowd.json"
MOST_BYTES = 1 << 20


def read(submission: Path) -> dict[str, Any]:
    """The object in the file; an empty one where there is no such file, or it holds anything else."""
    try:
        return strict_json.read_object(submission / NAME, MOST_BYTES)
    except (OSError, ValueError):
        return {}
