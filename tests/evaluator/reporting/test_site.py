"""The board as a site: what is on it, what is beside it, and what it leaves alone."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from evaluator import __main__
from evaluator.reporting import site
from evaluator.reporting.leaderboard_view import Board
from evaluator.runs import entries
from evaluator.runs.entries import Entry
from evaluator.runs.labels import Label
from evaluator.runs.leaderboard import Store
from evaluator.runs.run_folder import REPORT_PAGE
from tests.evaluator import made_results


@pytest.fixture
def with_report(tmp_path: Path) -> Entry:
    """A run with a page, and sound in a folder beside it."""
    folder = tmp_path / "run"
    (folder / "report_audio").mkdir(parents=True)
    (folder / REPORT_PAGE).write_text("the page")
    (folder / "report_audio" / "000.wav").write_bytes(b"sound")
    (folder / "report_audio" / "link").symlink_to("/etc/passwd")
    (folder / "secret.txt").write_text("not for the site")
    return entries.make_entry(replace(made_results.result({"a": 1.0}), label=Label("with")), folder)


def board(*found: Entry) -> Board:
    return Board(tuple(entries.rank(found)), (), "mean")


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_the_page_links_the_reports_that_exist(with_report: Entry, tmp_path: Path) -> None:
    without = entries.make_entry(made_results.result({"a": 2.0}), None)
    done = site.publish(board(with_report, without), tmp_path / "site")
    place = f"runs/{with_report.id}"
    assert (done.runs, done.reports) == (2, 1)
    assert files(tmp_path / "site") == ["index.html", f"{place}/index.html", f"{place}/report_audio/000.wav"]
    page = done.index.read_text()
    assert page.count(f'href="{place}/index.html"') == page.count(">report</a>") == 1
    assert "http" not in page.replace("http-equiv", "")


def test_a_site_is_renewed_and_what_else_is_there_stays(with_report: Entry, tmp_path: Path) -> None:
    folder = tmp_path / "site"
    site.publish(board(with_report), folder)
    for name in ("CNAME", "runs/mine.txt"):
        (folder / name).write_text("mine")
    Path(with_report.folder or "", REPORT_PAGE).write_text("another page")
    site.publish(board(with_report), folder)
    assert (folder / "runs" / with_report.id / "index.html").read_text() == "another page"
    site.publish(board(entries.make_entry(made_results.result({"a": 2.0}), None)), folder)
    assert files(folder) == ["CNAME", "index.html", "runs/mine.txt"]


def test_without_reports(with_report: Entry, tmp_path: Path) -> None:
    site.publish(board(with_report), tmp_path / "site")
    site.publish(board(with_report), tmp_path / "site", reports=False)
    assert files(tmp_path / "site") == ["index.html"]


@pytest.mark.parametrize("kind", ["file", "index", "link"])
def test_the_place_of_something_else_is_refused(
    kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Store().record(made_results.result({"a": 1.0}), None)
    folder = tmp_path / "there"
    if kind == "file":
        folder.write_text("mine")
    else:
        folder.mkdir()
        (tmp_path / "page").write_text(site.MARK)
        (folder / "index.html").write_text("mine") if kind == "index" else (folder / "index.html").symlink_to(
            tmp_path / "page"
        )
    assert __main__.main(["leaderboard", "publish", str(folder)]) == 2
    assert str(folder) in capsys.readouterr().err
    if kind == "index":
        assert (folder / "index.html").read_text() == "mine"


@pytest.mark.parametrize("kind", ["runs of ours", "link", "file", "link in a site"])
def test_a_folder_of_runs_that_is_not_of_a_site_stays(kind: str, with_report: Entry, tmp_path: Path) -> None:
    """As the kit's own, in the working folder, or of another site; nothing in it is removed or written over."""
    folder, elsewhere = tmp_path / "there", tmp_path / "elsewhere"
    for place in (elsewhere, folder / "runs"):
        for name in (with_report.id, "a" * 64):
            (place / name).mkdir(parents=True)
            (place / name / "mine").write_text("mine")
    if kind != "runs of ours":
        (folder / "runs").rename(tmp_path / "aside")
        (folder / "runs").write_text("mine") if kind == "file" else (folder / "runs").symlink_to(elsewhere)
    if kind == "link in a site":
        (folder / "index.html").write_text(site.MARK)
    before = files(tmp_path)
    with pytest.raises(site.SiteError, match=re.escape(str(folder / "runs"))):
        site.publish(board(with_report), folder)
    assert files(tmp_path) == before


def test_a_site_whose_writing_was_interrupted_is_written_again(
    with_report: Entry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(page: Path, place: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(site, "_copy_report", interrupt)
        with pytest.raises(KeyboardInterrupt):
            site.publish(board(with_report), tmp_path / "site")
    (tmp_path / "site" / "runs").mkdir()
    assert site.publish(board(with_report), tmp_path / "site").reports == 1


def test_the_command_publishes_what_the_list_shows(tmp_path: Path) -> None:
    for tag in ("one", "two"):
        Store().record(
            replace(made_results.result({"a": 1.0}), label=Label(f"run {tag}", None, (tag,))), None
        )
    assert __main__.main(["leaderboard", "--tag", "two", "publish", str(tmp_path / "site")]) == 0
    page = (tmp_path / "site" / "index.html").read_text()
    assert ("run two" in page, "run one" in page) == (True, False)


def test_a_page_that_is_printed_links_to_the_reports_on_this_disk(
    with_report: Entry, capsys: pytest.CaptureFixture[str]
) -> None:
    Store().record(with_report.result, Path(with_report.folder or ""))
    failed = made_results.result({"a": 1.0, "b": "timeout"})
    Store().record(failed, None)
    assert __main__.main(["leaderboard", "--html"]) == 0
    page = capsys.readouterr().out
    assert re.findall(r'<a href="([^"]*)"', page) == [Path(with_report.folder or "", REPORT_PAGE).as_uri()]
    assert "<span>b: for a test</span>" in page
