"""What is typed -> values: the same for every command, and one sentence for what is not allowed."""

from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable

import pytest

from evaluator.commands import converters

pytestmark = pytest.mark.quick


@pytest.mark.parametrize(
    ("convert", "text", "value"),
    [
        (converters.positive, "1.5", 1.5),
        (converters.not_negative, "0", 0.0),
        (converters.count, "1", 1),
        (converters.whole_from(2), "2", 2),
        (converters.gibibytes, "0.5", 1 << 29),
        (converters.size, "1048576", 1 << 20),
        (converters.size, "512m", 512 << 20),
        (converters.size, "1.5G", 3 << 29),
        (converters.metrics, "bss_eval", ("sdr", "bss_eval_sdr")),
        (converters.metrics, "bss_eval,si_sdr,sdr", ("sdr", "si_sdr", "bss_eval_sdr")),
    ],
)
def test_values(convert: Callable[[str], object], text: str, value: object) -> None:
    assert convert(text) == value


@pytest.mark.parametrize(
    ("convert", "text", "expected"),
    [
        (converters.positive, "0", "a number above 0"),
        (converters.positive, "inf", "a number above 0"),
        (converters.positive, "many", "a number above 0"),
        (converters.not_negative, "-1", "a number from 0"),
        (converters.count, "0", "a whole number from 1"),
        (converters.count, "1.5", "a whole number from 1"),
        (converters.whole_from(2), "1", "a whole number from 2"),
        (converters.gibibytes, "nan", "a number from 0"),
        (converters.size, "0g", "a size such as 512m or 16g, at least 1m"),
        (converters.size, "16", "a size such as 512m or 16g, at least 1m"),
        (converters.size, "infg", "a size such as 512m or 16g, at least 1m"),
        (converters.size, "g", "a size such as 512m or 16g, at least 1m"),
    ],
)
def test_what_is_not_allowed_is_named(convert: Callable[[str], object], text: str, expected: str) -> None:
    with pytest.raises(ArgumentTypeError, match=f"^{text}: expected {expected}$"):
        convert(text)


@pytest.mark.parametrize("option", ["--track", "--challenge"])
def test_a_challenge_has_two_options_and_one_value(option: str) -> None:
    parser = ArgumentParser()
    converters.add_challenge(parser, "both")
    assert parser.parse_args([option, "cinematic"]).challenge == "cinematic"
    assert option in parser.format_help()
