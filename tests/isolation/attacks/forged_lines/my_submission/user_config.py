"""Promise 11: a line that a submission writes in the worker's name can only fail the track that it is on.

Through every descriptor that leads to the evaluator, and through the worker's own objects: lines that are no JSON,
no event, for another track, odd, huge, deep, many, or half a line.
"""

import gc
import io
import json
import time

from my_submission.attack import Model, forge, pipes, say_tried, tried

OPTIONS = ["--time-factor", "16"]
EXPECTED = {
    "empty": "crashed",
    "no_json": "crashed",
    "binary": "crashed",
    "nulls": "crashed",
    "plain_values": "crashed",
    "list_of_events": "crashed",
    "no_event": "crashed",
    "odd_event": "crashed",
    "nan": "crashed",
    "infinity": "crashed",
    "large_float": "crashed",
    "lone_surrogate": "crashed",
    "lone_surrogate_key": "crashed",
    "many_digits": "crashed",
    "many_digits_below_the_limit": "crashed",
    "megabyte": "crashed",
    "megabyte_of_nothing": "crashed",
    "deep_lists": "crashed",
    "deep_objects": "crashed",
    "deep_within_bounds": "crashed",
    "many_values": "crashed",
    "million_lines": "crashed",
    "million_answers": ("ok", "invalid_output", "crashed"),
    "half_line": "crashed",
    "half_an_answer": "crashed",
    "other_track": "crashed",
    "other_track_by_path": "crashed",
    "well_in_advance": "invalid_output",
    "supervisors_events": "crashed",
    "ready_again": "crashed",
    "described": "crashed",
    "listed": "crashed",
    "extra_key": "crashed",
    "missing_key": "crashed",
    "wrong_types": "crashed",
    "negative_memory": "crashed",
    "much_memory": "crashed",
    "true_for_a_number": "crashed",
    "many_stems": "crashed",
    "before_the_work": "invalid_output",
    "failed_without_end": "crashed",
    "other_failed": "crashed",
    "through_objects": "crashed",
    "doubled_keys": ("crashed", "invalid_output"),
    "byte_order_mark": "crashed",
    "utf_16": "crashed",
}
# The rest of a million answers is written during the track that follows, and fails it.
CONTAINED = ["empty", "no_json", "million_answers", "half_line", "other_track"]


class MySeparationModel(Model):
    def _say(self, content: bytes) -> None:
        """Say it, and then nothing: what is waited for must not be something else."""
        tried()
        say_tried()
        forge(content)
        time.sleep(3600)

    def empty(self) -> None:
        self._say(b"\n")

    def no_json(self) -> None:
        self._say(b"All tracks were scored: 99.000 dB\n")

    def binary(self) -> None:
        self._say(bytes(range(256)) * 20 + b"\n")

    def nulls(self) -> None:
        self._say(b"\0" * 60000 + b"\n")

    def plain_values(self) -> None:
        self._say(b"null\n")

    def list_of_events(self) -> None:
        self._say(b"[" + self.done().strip() + b"]\n")

    def no_event(self) -> None:
        self._say(b"{}\n")

    def odd_event(self) -> None:
        self._say(b'{"event": {"event": ["done"]}}\n')

    def nan(self) -> None:
        self._say(self.done(provenance={"economies": [], "value": float("nan")}))

    def infinity(self) -> None:
        self._say(self.done(peak_memory_bytes=float("-inf")))

    def large_float(self) -> None:
        self._say(self.done().replace(b"null", b'{"value": 1e999}'))

    def lone_surrogate(self) -> None:
        self._say(self.done(provenance={"preset": "\ud800"}))

    def lone_surrogate_key(self) -> None:
        self._say(self.done(provenance={"\udfff\ud800": 1}))

    def many_digits(self) -> None:
        self._say(self.done().replace(b"null", b'{"value": ' + b"9" * 5000 + b"}"))

    def many_digits_below_the_limit(self) -> None:
        self._say(self.done().replace(b"null", b'{"value": -' + b"9" * 4200 + b"}"))

    def megabyte(self) -> None:
        self._say(self.done(provenance={"preset": "x" * (1 << 20)}))

    def megabyte_of_nothing(self) -> None:
        self._say(b" " * (1 << 20) + self.done())

    def deep_lists(self) -> None:
        self._say(self.done().replace(b"null", b'{"value": ' + b"[" * 30000 + b"]" * 30000 + b"}"))

    def deep_objects(self) -> None:
        self._say(b'{"a":' * 9000 + b"1" + b"}" * 9000 + b"\n")

    def deep_within_bounds(self) -> None:
        self._say(self.done().replace(b"null", b'{"value": ' + b"[" * 90 + b"]" * 90 + b"}"))

    def many_values(self) -> None:
        self._say(self.done(provenance={"value": [0] * 20000}))

    def million_lines(self) -> None:
        tried()
        block = b"{}\n" * 10000
        for _ in range(100):
            forge(block)

    def million_answers(self) -> None:
        tried()
        self.write_honestly()
        block = self.done() * 1000
        for _ in range(1000):
            forge(block)

    def half_line(self) -> None:
        tried()
        forge(b'{"event": "do')
        raise RuntimeError("what the worker says of this goes on where that ended")

    def half_an_answer(self) -> None:
        """An answer to the next request, all but its end, behind the one to this."""
        tried()
        forge(b"oops\n" + self.done(folder="well").strip())

    def other_track(self) -> None:
        self._say(self.done(folder="well"))

    def other_track_by_path(self) -> None:
        self._say(self.done(folder=f"../predictions/{self.track}"))

    def well_in_advance(self) -> None:
        """Answers to everything that may still be asked."""
        self._say(self.done() + self.done(folder="well") * 100)

    def supervisors_events(self) -> None:
        self._say(
            b'{"event": "exited", "code": 0, "signal": null, "peak_memory_bytes": 0, "out_of_memory": false}\n'
        )

    def ready_again(self) -> None:
        self._say(b'{"event": "ready", "provenance": null}\n')

    def described(self) -> None:
        self._say(b'{"event": "described", "track": "music", "stems": null}\n')

    def listed(self) -> None:
        self._say(b'{"event": "listed", "failed": false, "text": "[]"}\n')

    def extra_key(self) -> None:
        self._say(self.done(status="ok", scores={"sdr": 99.0}))

    def missing_key(self) -> None:
        self._say(b'{"event": "done", "folder": "' + self.track.encode() + b'"}\n')

    def wrong_types(self) -> None:
        self._say(self.done(nonfinite={"a": 1}, provenance=[1]))

    def negative_memory(self) -> None:
        self._say(self.done(peak_memory_bytes=-1))

    def much_memory(self) -> None:
        self._say(self.done(peak_memory_bytes=1 << 62))

    def true_for_a_number(self) -> None:
        self._say(self.done(peak_memory_bytes=True))

    def many_stems(self) -> None:
        self._say(self.done(nonfinite=["x"] * 1000))

    def before_the_work(self) -> None:
        self._say(self.done())

    def failed_without_end(self) -> None:
        event = {"event": "failed", "where": "track", "error": "x" * 1999, "out_of_memory": False}
        self._say(json.dumps(event).encode() + b"\n")

    def other_failed(self) -> None:
        event = {"event": "failed", "where": "the evaluator", "error": "", "out_of_memory": False}
        self._say(json.dumps(event).encode() + b"\n")

    def through_objects(self) -> None:
        """The worker's stream of events, found among all objects; what is written there is for another track."""
        for found in gc.get_objects():
            if isinstance(found, io.TextIOWrapper) and found.writable() and found.fileno() in pipes():
                tried()
                found.write(self.done(folder="well").decode())
                found.flush()
        time.sleep(3600)

    def doubled_keys(self) -> None:
        self._say(self.done().replace(b'"event"', b'"event": "failed", "event"'))

    def byte_order_mark(self) -> None:
        self._say(b"\xef\xbb\xbf" + self.done())

    def utf_16(self) -> None:
        self._say(self.done().decode().encode("utf-16-le") + b"\n")
