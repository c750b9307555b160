"""Groups of tracks, as a file says them: groups.csv, with a column `track` and any others, as genre or source."""

import csv
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from evaluator import printable, regular_files
from evaluator.runs.documents import ResultError

FILE = "groups.csv"
TRACK = "track"
MOST_BYTES = 16 << 20
MOST_COLUMNS = 50
CELL_CHARACTERS = 200


@dataclass(frozen=True)
class Groups:
    """What is said of tracks: {track: {column: group}}; an empty cell says nothing."""

    columns: tuple[str, ...]
    rows: Mapping[str, Mapping[str, str]]

    def of(self, track: str) -> Mapping[str, str]:
        """{column: group} of a track, by its name, or by the last part of it."""
        return self.rows.get(track) or self.rows.get(track.rpartition("/")[2], {})

    def members(self, tracks: Iterable[str]) -> dict[tuple[str, str], list[str]]:
        """{(column, group): tracks}, columns in their order, groups by name."""
        every = list(tracks)
        found: dict[tuple[str, str], list[str]] = {}
        for column in self.columns:
            for group in sorted({self.of(track).get(column, "") for track in every} - {""}):
                found[column, group] = [track for track in every if self.of(track).get(column) == group]
        return found

    def unknown(self, tracks: Iterable[str]) -> list[str]:
        """The tracks of which nothing is said."""
        return [track for track in tracks if not self.of(track)]


NONE = Groups((), {})


def read(path: Path) -> Groups:
    """The groups in a file of UTF-8; ResultError says what is wrong in which line."""
    try:
        text = regular_files.read(path, MOST_BYTES).decode("utf-8-sig")
    except OSError as error:
        raise ResultError(f"{path}: cannot be read ({error.strerror or error})") from None
    except UnicodeDecodeError:
        raise ResultError(f"{path}: expected text in UTF-8, found something else") from None
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        rows = [(lines.line_num, [_cell(cell) for cell in row]) for row in lines if any(map(str.strip, row))]
    except csv.Error as error:
        raise ResultError(f"{path}, line {lines.line_num}: {error}") from None
    return _groups(path, rows)


def _groups(path: Path, rows: list[tuple[int, list[str]]]) -> Groups:
    if not rows:
        raise ResultError(f"{path}: is empty, expected a first line such as track,genre,source")
    _, header = rows[0]
    if TRACK not in header or "" in header or len(set(header)) < len(header) or len(header) > MOST_COLUMNS:
        found = printable.plain(",".join(header), CELL_CHARACTERS)
        raise ResultError(
            f"{path}: found the columns {found}, expected {TRACK} and up to {MOST_COLUMNS - 1} others, each "
            "once, separated by commas"
        )
    columns = tuple(name for name in header if name != TRACK)
    if not columns:
        raise ResultError(f"{path}: has the column {TRACK} alone, expected one to group by, such as genre")
    said_of: dict[str, Mapping[str, str]] = {}
    for line, row in rows[1:]:
        if len(row) != len(header):
            raise ResultError(
                f"{path}, line {line}: {len(row)} cells, expected {len(header)}, as in the first line"
            )
        said = dict(zip(header, row, strict=True))
        track = said.pop(TRACK)
        if not track or track in said_of:
            problem = f"{track} is there already" if track else "no track is named"
            raise ResultError(f"{path}, line {line}: {problem}; expected each track once")
        said_of[track] = {column: group for column, group in said.items() if group}
    return Groups(columns, said_of)


def _cell(text: str) -> str:
    return printable.plain(text.strip(), CELL_CHARACTERS)


def of_data(data: Path) -> Groups:
    """Those beside the tracks of a data set, if it has any; ResultError for a file that is none."""
    file = data / FILE
    return read(file) if file.is_file() else NONE


def require_tracks(groups: Groups, tracks: Iterable[str], path: Path) -> None:
    """ResultError if nothing is said of any of the tracks, since then the file is of other data."""
    every = list(tracks)
    if groups.columns and len(groups.unknown(every)) == len(every):
        first = next(iter(groups.rows), "no track")
        raise ResultError(
            f"{path}: has none of the tracks of the runs, such as {every[0]}; found {first}, for example"
        )
