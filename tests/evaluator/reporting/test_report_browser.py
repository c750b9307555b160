"""The report page in headless Chromium: it loads, sorts, plays in sync, and fits a phone."""

import shutil
import time
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import soundfile
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from evaluator.reporting import report, site
from evaluator.reporting.leaderboard_view import Board
from evaluator.runs import entries, run_folder
from evaluator.runs.entries import Entry
from evaluator.runs.labels import Label
from evaluator.runs.leaderboard import Store
from tests.browser import MARKS, Open, log, playing, screenshot, wait
from tests.evaluator import made_results, made_runs

pytestmark = MARKS
NAMES = ("first", "second")
SECONDS = 15.0  # long enough that a busy machine does not reach the end meanwhile
MARGIN_SECONDS = 0.6  # of the wall clock, on a busy machine


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Entry:
    return made_runs.make_run(tmp_path_factory.mktemp("run"), NAMES, SECONDS)


@pytest.fixture(scope="module")
def page(run: Entry, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    report.write(path, report.gather(run, None, 0.02))
    return path


def open_track(driver: webdriver.Chrome, index: int) -> WebElement:
    track = driver.find_element(By.ID, f"track-{index}")
    if track.get_attribute("open") is None:
        driver.execute_script("arguments[0].scrollIntoView()", track)
        track.find_element(By.CSS_SELECTOR, "summary").click()
    wait(driver, lambda: bool(track.find_elements(By.CSS_SELECTOR, ".view")))
    return track


def choose(track: WebElement, value: str) -> None:
    track.find_element(By.CSS_SELECTOR, f".choices input[value={value}]").find_element(By.XPATH, "..").click()


def heard(driver: webdriver.Chrome) -> list[str]:
    return [name for name, gain in playing(driver)["gains"].items() if gain > 0.5]


def test_tables_sort_both_ways_and_keep_what_is_missing_last(visit: Open, tmp_path: Path) -> None:
    tracks: dict[str, made_results.Given] = {"a": 3.0, "b": -10.0, "c": "timeout", "d": 20.0}
    entry = entries.make_entry(made_results.result(tracks), None)
    report.write(tmp_path / "page.html", report.gather(entry, None, 0.02))
    driver = visit(tmp_path / "page.html")
    mean = driver.find_element(By.XPATH, "//table[@id='track-table']//th[button='mean']")
    orders = []
    for _ in range(2):
        mean.find_element(By.TAG_NAME, "button").click()
        rows = driver.find_elements(By.CSS_SELECTOR, "#track-table tbody tr th")
        orders.append(("".join(row.text for row in rows), mean.get_attribute("aria-sort")))
    assert orders == [("dabc", "descending"), ("badc", "ascending")]


def test_details_are_built_when_a_track_is_opened(visit: Open, page: Path) -> None:
    driver = visit(page)
    assert driver.find_elements(By.CSS_SELECTOR, ".view") == []
    track = open_track(driver, 1)
    images = driver.execute_script(
        "return [...arguments[0].querySelectorAll('.view img')].map((image) => image.naturalWidth)", track
    )
    assert len(images) == 14
    assert min(images) > 0
    assert len(driver.find_elements(By.CSS_SELECTOR, ".view")) == 14


def test_a_link_to_a_track_opens_it(visit: Open, page: Path) -> None:
    driver = visit(page)
    driver.find_element(By.LINK_TEXT, NAMES[1]).click()
    track = driver.find_element(By.ID, "track-1")
    wait(driver, lambda: track.get_attribute("open") is not None)
    wait(driver, lambda: bool(track.find_elements(By.CSS_SELECTOR, ".view")))


def test_a_track_plays_and_the_switch_keeps_the_position(visit: Open, page: Path) -> None:
    driver = visit(page)
    track = open_track(driver, 0)
    track.find_element(By.CSS_SELECTOR, ".transport button").click()
    wait(driver, lambda: playing(driver)["running"] and playing(driver)["position"] > 0.2)
    assert heard(driver) == ["bass/estimate"]
    assert set(playing(driver)["gains"]) == {
        "mixture",
        "bass/reference",
        "bass/estimate",
        "bass/error",
        "residual",
    }
    for source, name in (("reference", "bass/reference"), ("mixture", "mixture"), ("error", "bass/error")):
        began, before = time.monotonic(), playing(driver)["position"]
        choose(track, source)
        wait(driver, lambda name=name: heard(driver) == [name])  # type: ignore[misc]
        after = playing(driver)["position"]
        passed = time.monotonic() - began  # from before the first look to after the last
        assert before <= after <= before + passed + MARGIN_SECONDS
    driver.execute_script("Player.playing.seek(1.0)")
    began, before = time.monotonic(), playing(driver)["position"]
    choose(track, "vocals")
    wait(driver, lambda: heard(driver) == ["vocals/error"])
    after = playing(driver)["position"]
    assert 1.0 <= after <= before + time.monotonic() - began + MARGIN_SECONDS


def test_what_is_played_is_the_signal_of_that_name(visit: Open, page: Path) -> None:
    driver = visit(page)
    track = open_track(driver, 0)
    track.find_element(By.CSS_SELECTOR, ".transport button").click()
    wait(driver, lambda: playing(driver)["running"])
    levels = driver.execute_script(
        """const levels = {};
        for (const [name, buffer] of Player.playing.buffers) {
          const samples = buffer.getChannelData(0);
          levels[name] = [buffer.duration, Math.sqrt(samples.reduce((sum, x) => sum + x * x, 0) / samples.length)];
        }
        return levels;"""
    )
    expected = {"bass/reference": 0.2, "bass/error": 0.02 * 3**0.5, "mixture": 0.4, "residual": 0.12}
    for name, amplitude in expected.items():
        assert levels[name] == pytest.approx([SECONDS, amplitude / 2**0.5], rel=0.05)


def test_a_click_on_a_picture_goes_there_and_chooses_it(visit: Open, page: Path) -> None:
    driver = visit(page)
    track = open_track(driver, 0)
    track.find_element(By.CSS_SELECTOR, ".transport button").click()
    wait(driver, lambda: playing(driver)["running"])
    view = track.find_element(By.CSS_SELECTOR, "[aria-label^='drums, reference']")
    view.click()  # in its middle
    wait(driver, lambda: heard(driver) == ["drums/reference"])
    assert SECONDS / 2 - 0.1 <= playing(driver)["position"] <= SECONDS
    assert "chosen" in str(view.get_attribute("class"))


def test_pausing_stays_and_the_end_stops(visit: Open, page: Path) -> None:
    driver = visit(page)
    track = open_track(driver, 0)
    button = track.find_element(By.CSS_SELECTOR, ".transport button")
    button.click()
    wait(driver, lambda: playing(driver)["running"] and playing(driver)["position"] > 0.1)
    button.click()
    position = playing(driver)["position"]
    time.sleep(0.3)
    assert playing(driver)["position"] == position
    driver.execute_script("Player.playing.seek(arguments[0])", SECONDS - 0.3)
    button.click()
    wait(driver, lambda: button.get_attribute("aria-label") == "Play")
    assert playing(driver)["position"] == pytest.approx(SECONDS, abs=0.06)


def test_one_track_is_heard_at_a_time(visit: Open, page: Path) -> None:
    driver = visit(page)
    buttons = [open_track(driver, i).find_element(By.CSS_SELECTOR, ".transport button") for i in range(2)]
    for button in buttons:
        driver.execute_script("arguments[0].click()", button)
        wait(driver, lambda: playing(driver)["running"])
    assert [button.get_attribute("aria-label") for button in buttons] == ["Play", "Pause"]


def test_audio_beside_the_page_plays_from_disk(
    visit: Open, run: Entry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "INLINE_BYTES", 0)
    path = tmp_path / "a page.html"
    report.write(path, report.gather(run, None, 0.02), "all")
    driver = visit(path)
    track = open_track(driver, 0)
    track.find_element(By.CSS_SELECTOR, ".transport button").click()
    wait(driver, lambda: playing(driver)["running"] and playing(driver)["position"] > 0.1)


def test_excerpts_play_and_a_click_goes_to_the_nearest(
    visit: Open, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = made_runs.make_run(tmp_path, ("long",), 45.0)
    samples, rate = soundfile.read(tmp_path / "run" / "estimates" / "long" / "vocals.wav")
    samples[30 * rate : 40 * rate] = 0
    soundfile.write(tmp_path / "run" / "estimates" / "long" / "vocals.wav", samples, rate)
    monkeypatch.setattr(report, "INLINE_BYTES", 0)
    report.write(tmp_path / "page.html", report.gather(entry, None, 0.02))
    driver = visit(tmp_path / "page.html")
    track = open_track(driver, 0)
    labels = [each.text for each in track.find_elements(By.CSS_SELECTOR, ".segments label")]
    assert "vocals, worst from 0:30" in " ".join(labels)
    assert "Residual" not in labels
    track.find_element(By.CSS_SELECTOR, ".transport button").click()
    wait(driver, lambda: playing(driver)["running"] and playing(driver)["position"] > 0.1)
    labels_shown = track.find_elements(By.CSS_SELECTOR, ".segments label")
    chosen = next(each for each in labels_shown if "vocals, worst" in each.text)
    chosen.click()
    wait(driver, lambda: playing(driver)["running"] and playing(driver)["position"] > 0.1)
    output = track.find_element(By.TAG_NAME, "output")
    assert output.text.startswith("0:3")
    assert output.text.endswith("0:40.0")
    screenshot(driver, "excerpts")


def test_audio_that_is_gone_is_said_to_be_so(
    chrome: webdriver.Chrome, visit: Open, run: Entry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "INLINE_BYTES", 0)
    path = tmp_path / "page.html"
    report.write(path, report.gather(run, None, 0.02), "all")
    for file in run_folder.audio_of(path).glob("*-*.js"):
        file.unlink()
    driver = visit(path)
    track = open_track(driver, 0)
    track.find_element(By.CSS_SELECTOR, ".transport button").click()
    message = track.find_element(By.CSS_SELECTOR, ".player .message")
    wait(driver, lambda: "is not beside this page" in message.text)
    shutil.rmtree(run_folder.audio_of(path))
    second = driver.find_elements(By.CSS_SELECTOR, "details.track")[1]
    second.find_element(By.TAG_NAME, "summary").click()
    wait(driver, lambda: "No sound and no pictures" in second.text)
    assert log(chrome, "browser")  # which says that the files are not found


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 390, 1280])
def test_nothing_is_wider_than_the_screen(visit: Open, page: Path, width: int, theme: str) -> None:
    driver = visit(page, width, theme)
    ground = driver.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert ground == {"light": "rgb(251, 251, 250)", "dark": "rgb(20, 22, 26)"}[theme]
    screenshot(driver, f"{theme}-{width}")
    open_track(driver, 0)
    assert driver.execute_script("return document.documentElement.scrollWidth") <= width
    screenshot(driver, f"{theme}-{width}-track")


def test_a_hundred_tracks(visit: Open, run: Entry, tmp_path: Path) -> None:
    """Every track with the pictures of a real one; the page must open at once, and so must its last track."""
    described = report.collect_details(report.gather(run, None, 0.02), tmp_path / "audio", "none")["first"]
    tracks: dict[str, made_results.Given] = {f"track {i:03d}": (i * 37 % 100) / 10 for i in range(100)}
    entry = entries.make_entry(made_results.result(tracks), None)
    text = report.render(report.gather(entry, None, 0.02), dict.fromkeys(tracks, described), "page_audio")
    (tmp_path / "page.html").write_text(text, encoding="utf-8")
    began = time.monotonic()
    driver = visit(tmp_path / "page.html")
    assert time.monotonic() - began < 60  # a second or two on a free machine
    assert driver.find_elements(By.CSS_SELECTOR, ".view") == []
    began = time.monotonic()
    open_track(driver, 99)
    assert time.monotonic() - began < 30  # tenths of a second


@pytest.fixture
def board(run: Entry, tmp_path: Path) -> Board:
    """Runs with names, notes and tags, one of them failed, one with a report."""
    store = Store(tmp_path / "leaderboard.sqlite")
    levels = {f"track {i}": float(i) for i in range(8)}
    for name, shift in (("low", 1.0), ("high", 3.0), ("middle", 2.0)):
        made = made_results.result({track: level + shift for track, level in levels.items()})
        store.record(replace(made, label=Label(name, "A note. " * 20, ("paper", name[:3]))), None)
    store.record(made_results.result({**dict.fromkeys(levels, 1.0), "track 7": "timeout"}), None)
    folder = Path(run.folder or "")
    report.write(folder / run_folder.REPORT_PAGE, report.gather(run, None, 0.02))
    return Board(tuple(entries.rank([*store.entries(), run])), (), "mean")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_the_leaderboard_is_a_site_that_opens_from_disk(
    visit: Open, board: Board, tmp_path: Path, width: int, theme: str
) -> None:
    driver = visit(site.publish(board, tmp_path / "site").index, width, theme)
    assert driver.execute_script("return document.documentElement.scrollWidth") <= width
    rows = driver.find_elements(By.CSS_SELECTOR, "section:first-of-type tbody tr td:nth-child(2)")
    assert [row.text for row in rows][:4] == ["6.500", "5.500", "4.500", "-"]
    screenshot(driver, f"board {width} {theme}")
    if width < 700:  # a card: name, place, score and its interval above the rest
        name, place, other = (
            driver.find_element(By.CSS_SELECTOR, f"tbody tr {cell}").rect["y"]
            for cell in (".name", ".place", "[data-label=preset]")
        )
        assert name < place < other
    driver.find_element(By.LINK_TEXT, "report").click()
    assert driver.title.startswith("mdx-demo on ")
    open_track(driver, 0)


def test_the_filter_hides_what_lacks_a_word(visit: Open, board: Board, tmp_path: Path) -> None:
    driver = visit(site.publish(board, tmp_path / "site", reports=False).index)
    field = driver.find_element(By.ID, "filter")

    def shown() -> list[str]:
        rows = driver.find_elements(By.CSS_SELECTOR, "table.board tbody tr")
        return [
            row.find_element(By.CSS_SELECTOR, ".name").text.split()[0] for row in rows if row.is_displayed()
        ]

    assert len(shown()) == 5
    field.send_keys("Paper low")
    assert shown() == ["low"]
    assert driver.find_element(By.ID, "shown").text == "1 of 5 runs"
    assert [each.is_displayed() for each in driver.find_elements(By.CSS_SELECTOR, "section.group")] == [
        True,
        False,
    ]
    field.clear()
    field.send_keys("timeout")
    assert shown() == ["mdx-demo"]


def test_the_site_works_from_a_web_server(chrome: webdriver.Chrome, board: Board, tmp_path: Path) -> None:
    site.publish(board, tmp_path / "site")
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "site"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        chrome.get(f"http://127.0.0.1:{server.server_port}/")
        chrome.find_element(By.LINK_TEXT, "report").click()
        open_track(chrome, 0)
        assert chrome.current_url.endswith("/index.html")
        server.shutdown()
