"""Promise 11: nothing that a submission says is obeyed by the terminal, or looks like a sentence of ours.

Texts and class names of exceptions, lines of its log, names of files and stems, presets, economies, weights: with
escape sequences, characters that turn the line around, line ends of every kind, and sentences that imitate ours.
"""

import json
import os
import sys
import time

from my_submission.attack import Model, forge, say_tried, tried

OPTIONS = ["--time-factor", "16"]
EXPECTED = {
    "text_of_an_exception": "crashed",
    "class_of_an_exception": "crashed",
    "forged_failure": "crashed",
    "log": "crashed",
    "names_of_files": "invalid_output",
    "names_of_stems": "invalid_output",
    "preset": "ok",
    "economies": "ok",
    "weights": "ok",
    "memory_of_a_failure": "out_of_memory",
    "long_line": "crashed",
    "progress": "crashed",
}
SENTENCE = "All 2 tracks were scored: 99.000 dB."
EVIL = (
    f"\x1b[2J\x1b]0;owned\x07\x1b[31m\x9b1m\x00\x08\x7f\r{SENTENCE}\n{SENTENCE}\x0b{SENTENCE}\x0c{SENTENCE}\x1c{SENTENCE}"
    f"\x85{SENTENCE}\u2028{SENTENCE}\u2029{SENTENCE}\u202e{SENTENCE}\u2066\u200f\u200b\ufeff\u00ad\U000e0041\ue000"
)


class MySeparationModel(Model):
    said: object = None

    def text_of_an_exception(self) -> None:
        tried()
        raise RuntimeError(EVIL)

    def class_of_an_exception(self) -> None:
        tried()
        raise type(EVIL.replace("\0", ""), (Exception,), {})(EVIL)

    def forged_failure(self) -> None:
        self._say({"event": "failed", "where": "track", "error": EVIL, "out_of_memory": False})

    def memory_of_a_failure(self) -> None:
        self._say({"event": "failed", "where": "track", "error": EVIL, "out_of_memory": True})

    def log(self) -> None:
        tried()
        for stream in (sys.stdout, sys.stderr):
            stream.write(EVIL + "\n")
        os.write(1, EVIL.encode() + b"\xff\xfe\xc0\x80\xed\xa0\x80\n")
        os._exit(3)

    def names_of_files(self) -> None:
        self.write_honestly()
        for name in (
            EVIL.encode()[:100].replace(b"\0", b""),
            b"\xff\xfe\x1b[31m 99.000",
            b"\n99.000 dB",
            b"\r99.000",
        ):
            tried()
            with open(os.path.join(os.fsencode(self.folder), name + b".wav"), "wb"):
                pass

    def names_of_stems(self) -> None:
        self._say({**json.loads(self.done()), "nonfinite": [EVIL[:500], f"\n{SENTENCE}"]})

    def preset(self) -> None:
        tried()
        self.said = {"preset": EVIL}

    def economies(self) -> None:
        tried()
        self.said = {"economies": [EVIL, f"\n{SENTENCE}"]}

    def weights(self) -> None:
        tried()
        self.said = {"preset": "=cmd|' /C calc'!A0", "weights": [{"name": EVIL, "sha256": EVIL, EVIL: None}]}

    def provenance(self) -> object:
        return self.said

    def long_line(self) -> None:
        tried()
        print("x" * 200_000 + EVIL)
        raise RuntimeError("y" * 200_000 + EVIL)

    def progress(self) -> None:
        tried()
        for _ in range(20):
            print(f"\rwell 0 s of 2 allowed |##########| 100% [00:00]\r{SENTENCE}\r", end="")
        print(f"\n    well: ok\n{SENTENCE}\nwell: ok, {SENTENCE}")
        os._exit(1)

    @staticmethod
    def _say(event: object) -> None:
        tried()
        say_tried()
        forge(json.dumps(event).encode() + b"\n")
        time.sleep(3600)
