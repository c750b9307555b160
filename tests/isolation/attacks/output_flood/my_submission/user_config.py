"""Promises 7 and 11: what it prints is taken as fast as it comes, and no more of it is kept than there is room for.

On both streams, by many processes, in one line and in millions, through whatever leads to the log.
"""

import os
import sys

from my_submission.attack import Model, say_tried, tried

EXPECTED = {"one_line": "ok", "lines": "ok", "by_children": "ok", "binary": "ok", "then_fails": "crashed"}


class MySeparationModel(Model):
    def one_line(self) -> None:
        self._flood(1, b"x" * (1 << 20), 150)

    def lines(self) -> None:
        self._flood(2, b"\n" * (1 << 20), 50)
        self._flood(2, b"x\n" * (1 << 19), 50)

    def by_children(self) -> None:
        children = []
        for number in range(4):
            child = os.fork()
            if child == 0:
                self._flood(1 + number % 2, bytes(range(256)) * 4096, 20)
                os._exit(0)
            children.append(child)
        for child in children:
            os.waitpid(child, 0)

    def binary(self) -> None:
        self._flood(1, os.urandom(1 << 20), 50)
        sys.stdout.write("\ud800" * 100_000)

    def then_fails(self) -> None:
        self._flood(2, b"\x1b[31m\xff" * (1 << 18), 50)
        say_tried()
        os._exit(1)

    @staticmethod
    def _flood(descriptor: int, block: bytes, times: int) -> None:
        for _ in range(times):
            tried()
            view = memoryview(block)
            while view:
                view = view[os.write(descriptor, view) :]
