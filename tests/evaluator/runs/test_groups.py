"""groups.csv: read as people write it, and what is wrong with it is one sentence."""

from pathlib import Path

import pytest

from evaluator.runs import groups
from evaluator.runs.documents import ResultError

pytestmark = pytest.mark.quick


def write(folder: Path, content: str | bytes) -> Path:
    file = folder / groups.FILE
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    return file


def test_tracks_are_found_by_name_or_its_last_part(tmp_path: Path) -> None:
    file = write(
        tmp_path, '\ufefftrack, genre ,year\r\nA,"rock, loud",1999\r\ntest/B,pop,\r\n\r\nC,,2001\r\n'
    )
    found = groups.of_data(tmp_path)
    assert found == groups.read(file)
    assert found.columns == ("genre", "year")
    assert found.of("test/A") == {"genre": "rock, loud", "year": "1999"}
    assert found.of("B") == {}
    names = ["test/A", "test/B", "C", "D"]
    assert found.members(names) == {
        ("genre", "pop"): ["test/B"],
        ("genre", "rock, loud"): ["test/A"],
        ("year", "1999"): ["test/A"],
        ("year", "2001"): ["C"],
    }
    assert found.unknown(names) == ["D"]


def test_data_without_the_file_has_no_groups(tmp_path: Path) -> None:
    assert groups.of_data(tmp_path) == groups.NONE


def test_what_is_not_seen_is_shown(tmp_path: Path) -> None:
    assert groups.read(write(tmp_path, "track,genre\na,x\x1b[2J\n")).of("a") == {"genre": "x\\x1b[2J"}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "is empty"),
        ("name,genre\na,b\n", "found the columns name,genre, expected track"),
        ("track,genre,genre\n", "each once"),
        ("track\na\n", "has the column track alone"),
        ("track,genre\na,b,c\n", "line 2: 3 cells, expected 2"),
        ("track,genre\na,b\na,c\n", "line 3: a is there already"),
        ("track,genre\n,c\n", "line 2: no track is named"),
        ('track,genre\na,"b\n', "line 2: unexpected end of data"),
        (b"track,genre\na,\xff\n", "expected text in UTF-8"),
    ],
)
def test_what_is_wrong_is_said(content: str | bytes, problem: str, tmp_path: Path) -> None:
    file = write(tmp_path, content)
    with pytest.raises(ResultError, match=r"groups\.csv") as raised:
        groups.read(file)
    assert problem in str(raised.value)


def test_a_file_of_other_data_is_refused(tmp_path: Path) -> None:
    file = write(tmp_path, "track,genre\na,b\n")
    with pytest.raises(
        ResultError, match="has none of the tracks of the runs, such as c; found a, for example"
    ):
        groups.require_tracks(groups.read(file), ["c"], file)
    groups.require_tracks(groups.read(file), ["c", "a"], file)
