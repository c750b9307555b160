"""A bar over work on an engine, which also says who is at work, and the time left."""

import sys
from types import TracebackType
from typing import Any, Self

from tqdm import tqdm

from sdx.engines.making import Watcher
from sdx.terminal import one_line

FORMAT = "{desc} {n_fmt}/{total_fmt} |{bar}| {elapsed}, left {remaining}{postfix}"


class Bar(Watcher):
    """Shows on stderr what happens; keeps what failed, {key: reason}."""

    def __init__(self, what: str, number: int) -> None:
        self.failures: dict[str, str] = {}
        self._bar: tqdm[Any] = tqdm(total=number, desc=what, file=sys.stderr, bar_format=FORMAT)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.close()

    def notice(self, text: str) -> None:
        tqdm.write(one_line(text), file=sys.stderr)

    def working(self, words: str) -> None:
        self._bar.set_postfix_str(words, refresh=sys.stderr.isatty())

    def made(self, key: str, value: Any) -> None:
        self._bar.update()

    def failed(self, key: str, reason: str) -> None:
        self.failures[key] = reason
        self._bar.update()
