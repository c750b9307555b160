"""What is typed on a command line -> values: the converters of all commands, and options that several have."""

from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable
from math import isfinite

from evaluator.challenge import CHALLENGES, of_stems
from evaluator.measures.catalogue import MEASURES

UNITS = {"k": 10, "m": 20, "g": 30, "t": 40}  # of sizes, as powers of two
LEAST_BYTES = 1 << 20
METRICS = {measure.option: measure.name for measure in MEASURES.values()}
EXPECTED_METRICS = f"expected one of {', '.join(METRICS)}"


def positive(text: str) -> float:
    """A number above 0."""
    return _number(text, lambda value: value > 0, "a number above 0")


def not_negative(text: str) -> float:
    """A number from 0."""
    return _number(text, lambda value: value >= 0, "a number from 0")


def _number(text: str, allowed: Callable[[float], bool], expected: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not isfinite(value) or not allowed(value):
        raise ArgumentTypeError(f"{text}: expected {expected}")
    return value


def whole_from(least: int) -> Callable[[str], int]:
    """A converter to whole numbers from `least`."""

    def convert(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = least - 1
        if value < least:
            raise ArgumentTypeError(f"{text}: expected a whole number from {least}")
        return value

    return convert


count = whole_from(1)


def gibibytes(text: str) -> int:
    """A number of GiB, in bytes."""
    return int(not_negative(text) * (1 << 30))


def size(text: str) -> int:
    """A size such as 512m or 16g, in bytes; less than a MiB, as of 16 without its unit, is nothing to compute in."""
    unit = text[-1:].lower()
    number, shift = (text[:-1], UNITS[unit]) if unit in UNITS else (text, 0)
    try:
        value = int(float(number) * (1 << shift))
    except (ValueError, OverflowError):
        value = 0
    if value < LEAST_BYTES:
        raise ArgumentTypeError(f"{text}: expected a size such as 512m or 16g, at least 1m")
    return value


def metrics(text: str) -> tuple[str, ...]:
    """Names of metrics, separated by commas; `sdr` is always among them."""
    asked = text.split(",")
    unknown = [name for name in asked if name not in METRICS]
    if unknown:
        raise ArgumentTypeError(f"{', '.join(unknown)}: {EXPECTED_METRICS}, or several, separated by commas")
    return tuple(full for name, full in METRICS.items() if name in (*asked, "sdr"))


def metric(text: str) -> str:
    """The name of one metric."""
    if text not in METRICS:
        raise ArgumentTypeError(f"{text}: {EXPECTED_METRICS}")
    return METRICS[text]


def stems(text: str) -> str:
    """Stems, separated by commas -> the name of their challenge, or of themselves (`challenge.of_name`)."""
    try:
        return of_stems(text.split(",")).name
    except ValueError as error:
        raise ArgumentTypeError(str(error)) from None


def add_challenge(parser: ArgumentParser, default: str) -> None:
    """Add --challenge, which is also --track, as the organisers call it; `default` says what counts without."""
    parser.add_argument(
        "--challenge", "--track", choices=CHALLENGES, dest="challenge", help=f"default: {default}"
    )


def add_withdrawn(parser: ArgumentParser) -> None:
    """Add --withdrawn, without which a run that was withdrawn is refused."""
    parser.add_argument("--withdrawn", action="store_true", help="also where a run was withdrawn")


def add_challenge_or_stems(parser: ArgumentParser, default: str) -> None:
    """Add --challenge, and --stems in its place for any stems; both give a name for `challenge.of_name`."""
    add_challenge(parser, default)
    parser.add_argument(
        "--stems",
        type=stems,
        dest="challenge",
        metavar="LIST",
        help="in place of --challenge: any stems, separated by commas",
    )


def add_skip_bad(parser: ArgumentParser) -> None:
    """Add --skip-bad."""
    parser.add_argument(
        "--skip-bad",
        action="store_true",
        help="leave out the tracks that cannot be used (a file is missing or damaged), and say so beside every score",
    )
