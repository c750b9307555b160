"""Moments and stretches of time, as people write them."""

import re

PREVIEW_SECONDS = 30.0
_TIME = re.compile(r"(?:(?:(\d+):)?(\d+):)?(\d+(?:\.\d+)?)")


def parse_time(text: str) -> float:
    """Seconds of `90`, `90.5`, `1:30` or `1:02:03.5`; ValueError for anything else."""
    match = _TIME.fullmatch(text.strip())
    hours, minutes, seconds = match.groups(default="") if match else ("", "", "")
    if not match or (minutes and float(seconds) >= 60) or (hours and int(minutes) >= 60):
        raise ValueError(f"expected seconds, minutes:seconds or hours:minutes:seconds, found {text!r}")
    return int(hours or 0) * 3600 + int(minutes or 0) * 60 + float(seconds)
