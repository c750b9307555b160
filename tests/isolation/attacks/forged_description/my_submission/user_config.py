"""Promises 1 and 11: asked for what it makes, a submission that forges the answer is one that does not say.

It is asked because SDX_PRESET stands in this file. Names of stems that are none, paths, escape sequences,
thousands.
"""

import json
import sys

from my_submission.attack import Model, forge, say_tried, tried

STEMS = [
    "../../../etc/passwd",
    "\x1b[2J\x1b[31m99.000",
    "mixture",
    "a" * 1999,
    "\u202e",
    "bass\nAll tracks were scored: 99.000",
]


def is_asked() -> bool:
    """Whether the worker, which imports this, was asked what the submission makes."""
    frame = sys._getframe()
    while frame.f_back is not None:
        frame = frame.f_back
        if frame.f_locals.get("asked") == "describe":
            return True
    return False


if is_asked():
    forge(json.dumps({"event": "described", "track": "\x1b]0;owned\x07", "stems": STEMS}).encode() + b"\n")


class MySeparationModel(Model):
    def attack(self) -> None:
        tried()
        say_tried()
