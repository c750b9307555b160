"""What every command needs of the terminal, or the pipe, that it is started from."""

import codecs
import functools
import io
import os
import select
import signal
import sys
import threading
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import ParamSpec, TextIO

_Given = ParamSpec("_Given")
INTERRUPTED = 130
"""The exit code after Ctrl-C: 128 and the number of its signal."""

# What our own texts have beside letters, for a terminal or a log that has ASCII or a code page only.
_PLAIN = str.maketrans(
    {"…": "...", "–": "-", "—": "-", "−": "-", "×": "x", "“": '"', "”": '"', "‘": "'", "’": "'", "→": "->",
     "±": "+/-", "≥": ">=", "≤": "<=", "∞": "inf", "·": "*"}
)  # fmt: skip
_ERRORS = "sdx_plain"


def prepare(words: Sequence[str] | None = None) -> list[str]:
    """The words of a command line, with `~` at the start of a path as the home folder; to be called first.

    From then on, printing does not fail: a character that the output's encoding lacks becomes plain text or an
    escape, and what nobody reads any more (`| head`) is dropped, while the command goes on with its work.
    """
    codecs.register_error(_ERRORS, _as_plain_text)
    sys.stdout, sys.stderr = _forgiving(sys.stdout), _forgiving(sys.stderr)
    return [_at_home(word) for word in (sys.argv[1:] if words is None else words)]


def interruptible(main: Callable[_Given, int]) -> Callable[_Given, int]:
    """A `main` that Ctrl-C ends with one word and exit code 130, wherever it is, in the middle of imports, too."""

    @functools.wraps(main)
    def ended(*given: _Given.args, **named: _Given.kwargs) -> int:
        with _interrupts_noted() as noted:
            try:
                return main(*given, **named)
            except KeyboardInterrupt:
                pass
            except Exception:
                if not noted:
                    raise
        print("interrupted", file=sys.stderr)
        return INTERRUPTED

    return ended


@contextmanager
def _interrupts_noted() -> Iterator[list[int]]:
    """A list that gets every Ctrl-C of the block, which has its usual effect, too.

    PyTorch takes one that comes while it imports numpy for a missing numpy, and fails by that a moment later.
    """
    noted: list[int] = []
    if (
        threading.current_thread() is not threading.main_thread()
        or signal.getsignal(signal.SIGINT) is not signal.default_int_handler
    ):
        yield noted
        return

    def note(number: int, frame: FrameType | None) -> None:
        noted.append(number)
        signal.default_int_handler(number, frame)

    signal.signal(signal.SIGINT, note)
    try:
        yield noted
    finally:
        if signal.getsignal(signal.SIGINT) is note:
            signal.signal(signal.SIGINT, signal.default_int_handler)


def one_line(text: str) -> str:
    """Text in which nothing breaks the line or acts on a terminal; bytes of a name that is not UTF-8 as `\\xff`."""
    if text.isprintable():
        return text
    visible = os.fsencode(text).decode("utf-8", "backslashreplace") if _has_bytes(text) else text
    return "".join(
        character
        if character.isprintable() or unicodedata.category(character) == "Zs"
        else ascii(character)[1:-1]
        for character in visible
    )


def lines(text: str) -> str:
    """The same for a text of ours that has lines: they stay lines."""
    return "\n".join(map(one_line, text.split("\n")))


def _has_bytes(text: str) -> bool:
    """Whether it holds bytes of a file name that are no text (PEP 383)."""
    return any("\udc80" <= character <= "\udcff" for character in text)


def _at_home(word: str) -> str:
    """A shell expands `~/x` where it stands alone, and few do so in `--output=~/x`."""
    option, equals, value = word.partition("=") if word.startswith("--") else ("", "", word)
    is_home = value == "~" or value.startswith("~/")
    return f"{option}{equals}{os.path.expanduser(value)}" if is_home and not os.path.lexists(value) else word


def _as_plain_text(error: UnicodeError) -> tuple[str | bytes, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end].translate(_PLAIN)
    return text.encode("ascii", "backslashreplace").decode(), error.end


class _Unread(io.FileIO):
    """A file descriptor that takes what it is given even if nobody reads it."""

    def write(self, data: object) -> int:
        try:
            while (written := super().write(data)) is None:  # type: ignore[arg-type]  # any buffer
                select.select([], [self], [])  # full, and somebody has made it one that does not wait
        except BrokenPipeError:
            return len(memoryview(data))  # type: ignore[arg-type]
        return written


def _forgiving(stream: TextIO) -> TextIO:
    """The process's own output; anything else that stands in its place is left alone."""
    if stream not in (sys.__stdout__, sys.__stderr__) or not isinstance(stream, io.TextIOWrapper):
        return stream
    try:
        descriptor = stream.fileno()
    except (OSError, ValueError):
        return stream
    stream.flush()
    raw = _Unread(descriptor, "w", closefd=False)
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding=stream.encoding,
        errors=_ERRORS,
        # Where Python was told not to buffer (PYTHONUNBUFFERED, as images set it), a line waits for nothing, either.
        line_buffering=stream.line_buffering or stream.write_through,
        write_through=stream.write_through,
    )
