"""Promise 11: what is forged while the submission is constructed fails the setup, in one sentence.

The promise that the others go on is not for a submission that never stands; the evaluation still ends by itself,
with its table, and nothing of the sentence is the submission's.
"""

import json
import time

from my_submission.attack import Model, forge, say_tried, tried

SYSTEMS = ["root", "user", "bare", "docker"]
EXIT = 1
SAYS = ["could not be constructed: crashed, the submission sent", "would NOT have passed|tracks failed"]


class MySeparationModel(Model):
    def __init__(self) -> None:
        tried(2)
        say_tried()
        wrong = {
            "event": "ready",
            "provenance": {"preset": "\ud800", "weights": [{"x": [1]}], "economies": "all"},
        }
        forge(b'{"event": "done"}\n' + json.dumps(wrong).encode() + b"\n")
        time.sleep(3600)
