"""Promise 11: what a submission says of itself is small and plain, or nothing of it is kept.

By the method that ours has, which the worker calls.
"""

import time

from my_submission.attack import Model, tried

OPTIONS = ["--time-factor", "16"]
EXPECTED = {
    "nothing": "ok",
    "not_a_number": "crashed",
    "a_list": "crashed",
    "a_text": "crashed",
    "large": "crashed",
    "many": "crashed",
    "deep": "crashed",
    "deeper_than_python": "ok",
    "around": "ok",
    "large_number": "crashed",
    "lone_surrogate": "crashed",
    "bytes_in_it": "ok",
    "raises": "ok",
    "never_returns": "timeout",
    "odd_economies": "crashed",
    "odd_weights": "crashed",
    "numbers_as_keys": "ok",
    "exits": "crashed",
}


class MySeparationModel(Model):
    way = ""

    def __getattr__(self, name: str) -> object:
        if name in EXPECTED:
            return tried
        raise AttributeError(name)

    def provenance(self) -> object:
        way, self.way = self.way, ""
        around: list[object] = []
        around.append(around)
        deep: object = 1
        for _ in range(50 if way == "deep" else 100_000 if way == "deeper_than_python" else 0):
            deep = [deep]
        if way == "raises":
            raise KeyError("\x1b[31m")
        if way == "exits":
            raise SystemExit(0)
        if way == "never_returns":
            time.sleep(3600)
        return {
            "not_a_number": {"x": float("nan")},
            "a_list": [1, 2],
            "a_text": "mdx",
            "large": {"preset": "x" * 1_000_000},
            "many": {str(number): number for number in range(10_000)},
            "deep": {"x": deep},
            "deeper_than_python": {"x": deep},
            "around": {"x": around},
            "large_number": {"x": 1 << 100},
            "lone_surrogate": {"preset": "\ud800"},
            "bytes_in_it": {"x": b"bytes"},
            "odd_economies": {"economies": 5},
            "odd_weights": {"weights": {"name": "x"}},
            "numbers_as_keys": {1: 2, None: 3},
        }.get(way)
