"""Text of others: everything in it is seen, and nothing in it acts."""

import csv
import io
import json
import unicodedata

import pytest

from evaluator import printable, text_table

pytestmark = pytest.mark.quick

BLOCKS = (
    *((0, 0x3100), (0xA000, 0xA100), (0xD7F0, 0xE010), (0xF900, 0x10400), (0x11000, 0x11200)),
    *((0x13400, 0x13500), (0x1D000, 0x1D200), (0x1F000, 0x1F700), (0xE0000, 0xE0200), (0x10FFF0, 0x110000)),
)
EVERY_KIND = "".join(chr(code) for first, end in BLOCKS for code in range(first, end))
WORDS = "A name, ünïcödé, 日本語, 𝄞, no\u00a0break, a combining e\u0301"


def hidden(text: str) -> set[str]:
    """The characters of a text that act or are not seen."""
    return {c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")}


def test_nothing_hidden_is_left_and_all_else_is_as_it_was() -> None:
    assert hidden(printable.plain(EVERY_KIND, 1 << 24)) == set()
    assert hidden(printable.lines(EVERY_KIND)) == {"\n"}
    assert printable.plain(WORDS) == printable.lines(WORDS) == WORDS
    seen = [c for c in EVERY_KIND if not hidden(c)]
    assert printable.plain("".join(seen), 1 << 24) == "".join(seen)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[2J", "\\x1b[2J"),
        ("\x9b31m", "\\x9b31m"),
        ("a\r\nb\tc", "a\\r\\nb\\tc"),
        ("\u202eevil\u2066", "\\u202eevil\\u2066"),
        ("\u2028\u2029\ufeff\u200b", "\\u2028\\u2029\\ufeff\\u200b"),
        ("\ud800", "\\ud800"),
        ("\U000e0001", "\\U000e0001"),
        ("\x7f\x00", "\\x7f\\x00"),
    ],
)
def test_what_is_hidden_becomes_an_escape(text: str, shown: str) -> None:
    assert printable.plain(text) == shown
    assert shown.find(printable.fault(text) or "nothing") in (0, 1)


def test_a_line_is_bounded() -> None:
    assert printable.plain("x" * 500) == "x" * 500
    assert printable.plain("x" * 501) == "x" * 499 + "…"
    assert printable.plain("\x1b" * 10, 10) == "\\x1b\\x1b\\…"
    assert len(printable.plain("\x1b" * 10**6)) == printable.LINE_CHARACTERS


def test_names_may_have_what_their_scripts_need() -> None:
    for name in (WORDS, "می\u200cخواهم", "\U0001f468\u200d\U0001f469", "plain"):
        assert printable.fault(name) is None
    assert printable.fault("a\u202eb") == "\\u202e"


def test_a_tree_is_plain_throughout() -> None:
    given = {"a\x1b": ["\x07", {"b\n": ("\u202e", 1, None, True, 1.5)}]}
    assert printable.tree(given) == {"a\\x1b": ["\\x07", {"b\\n": ("\\u202e", 1, None, True, 1.5)}]}


def test_json_for_people_means_the_same_and_hides_nothing() -> None:
    every = " ".join(EVERY_KIND)  # so that no two halves of a pair meet
    value = {"text": every, WORDS: [1, 2.5, None]}
    text = printable.json_text(value)
    assert hidden(text) == {"\n"}
    assert json.loads(text) == value
    assert WORDS in text


@pytest.mark.parametrize(
    "cell", ["=1+1", "+1+1", "-1+1", "@SUM(A1)", " =1", "\u00a0=1", "\n=1", "＝1", "=cmd|' /C calc'!A0", "-"]
)
def test_a_formula_is_no_formula_in_a_cell(cell: str) -> None:
    output = io.StringIO()
    csv.writer(output).writerow([printable.csv_cell(cell)])
    ((read,),) = csv.reader(io.StringIO(output.getvalue()))
    assert read == f"'{cell}"


@pytest.mark.parametrize("cell", ["-1", "+1.5e-3", "a=b", "name", "", "1-1", 1.5, -2, None])
def test_numbers_and_words_stay_what_they_are(cell: object) -> None:
    assert printable.csv_cell(cell) == cell


def test_a_tab_or_return_before_a_formula_is_seen() -> None:
    assert printable.csv_cell("\t=1") == "\\t=1"
    assert printable.csv_cell("\r=1") == "\\r=1"


def test_no_cell_of_a_table_moves_another() -> None:
    lines = text_table.align([["name", "x"], ["a\nb\x1b[A", "1"], ["y" * 10_000, "2"]])
    assert len(lines) == 3
    assert lines[1].split() == ["a\\nb\\x1b[A", "1"]
    assert max(map(len, lines)) < 300
