"""Tables as files: every cell comes back as it was, and nothing in one acts."""

import csv
import io
from pathlib import Path

import pytest
from pyarrow import parquet

from evaluator import tables, text_table
from evaluator.tables import Table, TableError

TABLE = Table(("name", "n", "score", "ok"), (("a", 1, 1.23456, True), ("=1+2", None, -2.0, None)))


def test_csv_is_unrounded_and_computes_nothing() -> None:
    assert list(csv.reader(io.StringIO(tables.as_csv(TABLE)))) == [
        ["name", "n", "score", "ok"],
        ["a", "1", "1.23456", "True"],
        ["'=1+2", "", "-2.0", ""],
    ]


@pytest.mark.thorough
def test_parquet_keeps_kinds_and_what_is_missing(tmp_path: Path) -> None:
    tables.write(TABLE, tmp_path / "t.parquet")
    assert parquet.read_table(tmp_path / "t.parquet").to_pydict() == {
        "name": ["a", "=1+2"], "n": [1, None], "score": [1.23456, -2.0], "ok": [True, None],
    }  # fmt: skip


@pytest.mark.thorough
def test_a_column_of_several_kinds_is_text_and_of_numbers_is_floats(tmp_path: Path) -> None:
    mixed = Table(("mixed", "numbers", "none"), (("a", 1, None), (2.0, 2.5, None), (True, None, None)))
    tables.write(mixed, tmp_path / "t.parquet")
    found = parquet.read_table(tmp_path / "t.parquet").to_pydict()
    assert found == {"mixed": ["a", "2.0", "True"], "numbers": [1.0, 2.5, None], "none": [None] * 3}


def test_for_people_it_is_rounded_with_text_to_the_left(tmp_path: Path) -> None:
    for suffix in (".md", ".tex"):
        tables.write(TABLE, tmp_path / f"t{suffix}")
    _header, rule, first, second = (tmp_path / "t.md").read_text().splitlines()
    assert rule == "| --- | ---: | ---: | ---: |"
    assert (first, second) == ("| a | 1 | 1.235 | True |", "| =1+2 | - | -2.000 | - |")
    assert r"\begin{tabular}{lrrr}" in (tmp_path / "t.tex").read_text()
    assert "=1+2 & - & $-2.000$ & - " in (tmp_path / "t.tex").read_text()


def test_records_have_every_key_of_any() -> None:
    assert tables.of_records([{"a": 1}, {"b": 2}], ("c",)) == Table(
        ("c", "a", "b"), ((None, 1, None), (None, None, 2))
    )


@pytest.mark.parametrize("start", ["[1ex]", "*"])
def test_no_cell_is_an_argument_of_the_row_above(start: str) -> None:
    text = text_table.latex([["name"], ["a"], [f"{start} b"]])
    assert f"\\\\\n{{}}{start} b" in text


def test_another_kind_of_file_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"expected a name that ends with \.csv, \.parquet"):
        tables.write(TABLE, tmp_path / "t.xlsx")


def test_without_pyarrow_parquet_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    with pytest.raises(TableError, match="needs the package pyarrow, which the extra papers installs"):
        tables.write(TABLE, tmp_path / "t.parquet")
    assert list(tmp_path.iterdir()) == []
