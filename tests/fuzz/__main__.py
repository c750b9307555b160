"""Feeds a parser what nobody would write, until it raises an error that its docstring does not name.

    python -m tests.fuzz preset --minutes 10
    python -m tests.fuzz --minutes 1                # every parser, a minute each
    python -m tests.fuzz sound --engine atheris     # guided by coverage, where atheris is installed

The file that did it stays in .cache/fuzz. Exit code: 0 nothing was found, 1 something was.
"""

import argparse
import contextlib
import itertools
import signal
import sys
import time
import traceback
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import HypothesisException

if TYPE_CHECKING:
    from tests.fuzz.targets import Target

KEPT = Path(__file__).resolve().parents[2] / ".cache" / "fuzz"
SLOWEST_SECONDS = 20.0  # that a file of a few kilobytes may take
MOST_MEMORY_BYTES = 8 << 30
ROUND = 200  # files between two looks at the clock


class TooSlowError(BaseException):
    """A parser did not come to an end; not an Exception, so that no parser takes it for one of its own."""


def check(target: "Target", path: Path, content: bytes) -> None:
    """Give a parser one file; what it may not raise is raised."""
    path.write_bytes(target.wrap(content))
    with contextlib.suppress(*target.errors):
        target.read(path)


def fuzz(name: str, target: "Target", seconds: float, first: int = 0) -> Exception | BaseException | None:
    """What a parser raised that it may not, its file in KEPT; None if the time passed without. first: where the
    pseudo-random numbers begin."""
    folder = KEPT / name
    folder.mkdir(parents=True, exist_ok=True)
    path, until = folder / f"found{target.suffix}", time.monotonic() + seconds
    seeds = list(target.seeds())
    for content in seeds:
        path.write_bytes(target.wrap(content))
        target.read(path)  # which is right, else the changes would be of nothing
    strategy = target.change(seeds)
    for number in itertools.count(first):

        @seed(number)
        @settings(
            max_examples=ROUND, database=None, deadline=None, suppress_health_check=list(HealthCheck),
            phases=(Phase.generate, Phase.shrink), print_blob=False,
        )  # fmt: skip
        @given(strategy)
        def one_round(content: bytes) -> None:
            if time.monotonic() < until:
                check_in_time(target, path, content)

        try:
            one_round()
        except (HypothesisException, KeyboardInterrupt):
            raise
        except BaseException as error:  # a parser's, whatever it is
            return error
        if time.monotonic() >= until:
            path.unlink(missing_ok=True)
            return None
    raise AssertionError("numbers do not end")


def check_in_time(target: "Target", path: Path, content: bytes) -> None:
    """`check`; TooSlowError after SLOWEST_SECONDS."""
    signal.signal(signal.SIGALRM, _too_slow)
    signal.setitimer(signal.ITIMER_REAL, SLOWEST_SECONDS)
    try:
        check(target, path, content)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _too_slow(_: int, __: FrameType | None) -> NoReturn:
    raise TooSlowError(f"not done after {SLOWEST_SECONDS:g} seconds")


def _with_atheris(names: list[str], seconds: float) -> int:
    """Coverage-guided, for one parser: atheris owns its process. What it finds, it writes itself."""
    import atheris

    with atheris.instrument_imports(include=["my_submission", "evaluator", "sdx", "training"]):
        from tests.fuzz.targets import TARGETS
    (name,) = names
    target, folder = TARGETS[name], KEPT / name
    corpus = folder / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    for number, content in enumerate(target.seeds()):
        (corpus / f"seed{number}").write_bytes(content)
    path = folder / f"found{target.suffix}"

    def one(content: bytes) -> None:
        check(target, path, content)

    arguments = [
        f"-max_total_time={seconds:.0f}",
        f"-artifact_prefix={folder}/",
        "-rss_limit_mb=8192",
        str(corpus),
    ]
    atheris.Setup([sys.argv[0], *arguments], one)
    atheris.Fuzz()
    return 0


def _limit_memory() -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_DATA, (MOST_MEMORY_BYTES, resource.getrlimit(resource.RLIMIT_DATA)[1]))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="parsers; default: all; --list names them")
    parser.add_argument("--list", action="store_true", help="name the parsers")
    parser.add_argument("--minutes", type=float, default=1.0, help="for each; default: 1")
    parser.add_argument("--seed", type=int, help="for the same files again; default: the time")
    parser.add_argument("--engine", choices=["hypothesis", "atheris"], default="hypothesis")
    options = parser.parse_args()
    _limit_memory()
    if options.engine == "atheris":
        if len(options.names) != 1:
            parser.error("--engine atheris: expected one parser")
        return _with_atheris(options.names, 60 * options.minutes)
    from tests.fuzz.targets import TARGETS

    if options.list:
        print("\n".join(TARGETS))
        return 0
    if unknown := [name for name in options.names if name not in TARGETS]:
        parser.error(f"found {unknown[0]!r}, expected some of {', '.join(TARGETS)}")
    first = options.seed if options.seed is not None else time.time_ns()
    found = [name for name in options.names or TARGETS if _tell(name, TARGETS[name], options.minutes, first)]
    return int(bool(found))


def _tell(name: str, target: "Target", minutes: float, first: int) -> bool:
    """Fuzz one parser, and print what came of it; whether there is a fault."""
    began = time.monotonic()
    error = fuzz(name, target, 60 * minutes, first)
    if error is None:
        print(f"{name}: nothing found in {time.monotonic() - began:.0f} s", flush=True)
        return False
    print(
        f"{name}: {type(error).__name__}: {error}; {KEPT / name} has the file, --seed {first} finds it again"
    )
    traceback.print_exception(error)
    return True


if __name__ == "__main__":
    sys.exit(main())
