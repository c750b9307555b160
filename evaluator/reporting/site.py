"""The board as a static site: one page, and the reports that exist beside it; opens from disk and any web server."""

import os
import re
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from evaluator.reporting import leaderboard_view, run_words
from evaluator.reporting.leaderboard_view import Board
from evaluator.runs import run_folder
from evaluator.runs.entries import Entry

INDEX = "index.html"
REPORTS = "runs"
MARK = '<meta name="generator" content="sdx leaderboard">'
ID = re.compile(r"[0-9a-f]{64}")


class SiteError(Exception):
    """A site cannot be written; the message says why, and nothing was changed."""


@dataclass(frozen=True)
class Published:
    """What was written: the board's page, how many runs are on it and how many of them have a report there."""

    index: Path
    runs: int
    reports: int


def publish(board: Board, folder: Path, reports: bool = True) -> Published:
    """Write the site, or renew it; reports of runs that are not on the board any more are removed.

    Raises SiteError where the folder holds a page or reports that are not ours.
    """
    _require_ours(folder)
    entries = [entry for group in board.groups for entry in (*group.ranked, *group.unranked)]
    pages = {entry.id: page for entry in entries if reports and (page := run_words.report_of(entry))}
    links = {run: f"{REPORTS}/{run}/{INDEX}" for run in pages}
    html = leaderboard_view.as_html(replace(board, reports=links))
    html = html.replace("<meta charset", f"{MARK}\n<meta charset", 1)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / INDEX).exists():
            _write(folder / INDEX, html)  # so that the folder is ours, should this be interrupted
        for gone in _published(folder) - set(pages):
            shutil.rmtree(folder / REPORTS / gone)
        for run, page in pages.items():
            _copy_report(page, folder / REPORTS / run)
        _write(folder / INDEX, html)
    except OSError as error:
        raise SiteError(f"{error.filename or folder}: cannot be written ({error.strerror})") from None
    return Published(folder / INDEX, len(entries), len(pages))


def _require_ours(folder: Path) -> None:
    if folder.exists() and not folder.is_dir():
        raise SiteError(f"{folder}: is a file, expected a folder to write the site into; name another")
    index, there = folder / INDEX, folder / REPORTS
    if index.exists() or index.is_symlink():
        if index.is_symlink() or not index.is_file() or not _is_marked(index):
            raise SiteError(f"{index}: is there already and is no leaderboard of ours; name another folder")
    elif there.exists() and not there.is_symlink():
        raise SiteError(
            f"{there}: is there already, of something else than a leaderboard; name another folder"
        )
    if there.is_symlink() or (there.exists() and not there.is_dir()):
        raise SiteError(f"{there}: is no folder of its own, as reports need; name another folder, or move it")


def _is_marked(index: Path) -> bool:
    try:
        with index.open(encoding="utf-8", errors="replace") as page:
            return MARK in page.read(2000)
    except OSError:
        return False


def _published(folder: Path) -> set[str]:
    """The ids of the runs whose reports are there; all else is left alone."""
    there = folder / REPORTS
    if not there.is_dir():
        return set()
    return {
        each.name
        for each in there.iterdir()
        if ID.fullmatch(each.name) and each.is_dir() and not each.is_symlink()
    }


def _copy_report(page: Path, place: Path) -> None:
    """The page and its folder of audio, whose name the page knows."""
    draft = place.with_name(f".{place.name[:16]}-{os.getpid()}")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    shutil.copyfile(page, draft / INDEX)
    audio = run_folder.audio_of(page)
    if audio.is_dir() and not audio.is_symlink():
        (draft / audio.name).mkdir()
        for file in audio.iterdir():
            if file.is_file() and not file.is_symlink():
                shutil.copyfile(file, draft / audio.name / file.name)
    shutil.rmtree(place, ignore_errors=True)
    draft.replace(place)


def _write(path: Path, text: str) -> None:
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    draft.write_text(text, encoding="utf-8")
    draft.replace(path)


def links_here(entries: list[Entry]) -> dict[str, str]:
    """{id: link} to the reports on this machine, for a page that is opened from its disk."""
    return {entry.id: page.resolve().as_uri() for entry in entries if (page := run_words.report_of(entry))}
