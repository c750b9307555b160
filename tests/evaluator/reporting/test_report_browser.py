"""The report page in headless Chromium: it loads, sorts, plays in sync, and fits a phone."""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from evaluator.reporting import leaderboard_view, report
from evaluator.runs import entries, run_folder
from evaluator.runs.entries import Entry
from evaluator.runs.leaderboard import Store
from tests.evaluator import made_results, made_runs

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        CHROMIUM is None or DRIVER is None, reason="needs the Debian packages chromium and chromium-driver"
    ),
]
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --no-proxy-server"
    " --disable-background-networking --disable-component-update --disable-sync"
)
NAMES = ("first", "second")
SECONDS = 15.0  # long enough that a busy machine does not reach the end meanwhile
SCREENSHOTS = "SDX_SCREENSHOTS"  # a folder for screenshots to be looked at
MARGIN_SECONDS = 0.6  # of the wall clock, on a busy machine

Open = Callable[..., webdriver.Chrome]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Entry:
    return made_runs.make_run(tmp_path_factory.mktemp("run"), NAMES, SECONDS)


@pytest.fixture(scope="module")
def page(run: Entry, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "report.html"
    report.write(path, report.gather(run, None, 0.02))
    return path


@pytest.fixture(scope="module")
def chrome(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in FLAGS.split():
        options.add_argument(flag)
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('profile')}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
    driver.set_script_timeout(60)
    yield driver
    driver.quit()


@pytest.fixture
def visit(chrome: webdriver.Chrome) -> Iterator[Open]:
    """Opens a page of some width and theme; afterwards nothing may have complained, or gone to the network."""

    def open_page(path: Path, width: int = 1280, theme: str = "light") -> webdriver.Chrome:
        metrics = {"width": width, "height": 850, "deviceScaleFactor": 1, "mobile": width < 700}
        chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        scheme = {"features": [{"name": "prefers-color-scheme", "value": theme}]}
        chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", scheme)
        chrome.get("about:blank")
        chrome.get(path.as_uri())
        return chrome

    for kind in ("browser", "performance"):
        log(chrome, kind)
    yield open_page
    assert log(chrome, "browser") == []
    assert set(requests(chrome)) <= {
        "file",
        "data",
        "about",
        "chrome",
    }  # the last is the browser's own first page


def log(chrome: webdriver.Chrome, kind: str) -> list[dict[str, Any]]:
    """What the browser logged since the last look."""
    return list(chrome.get_log(kind))  # type: ignore[no-untyped-call]


def requests(chrome: webdriver.Chrome) -> list[str]:
    """Schemes of all addresses asked for since the last look."""
    messages = [json.loads(entry["message"])["message"] for entry in log(chrome, "performance")]
    sent = [message["params"] for message in messages if message["method"] == "Network.requestWillBeSent"]
    return [params["request"]["url"].partition(":")[0] for params in sent]


def open_track(driver: webdriver.Chrome, index: int) -> WebElement:
    track = driver.find_element(By.ID, f"track-{index}")
    if track.get_attribute("open") is None:
        driver.execute_script("arguments[0].scrollIntoView()", track)
        track.find_element(By.CSS_SELECTOR, "summary").click()
    wait(driver, lambda: bool(track.find_elements(By.CSS_SELECTOR, ".view")))
    return track


def wait(driver: webdriver.Chrome, condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, driver.execute_script(
            "return [...document.querySelectorAll('.message')].map((each) => each.textContent).join()"
        )
        time.sleep(0.02)


def choose(track: WebElement, value: str) -> None:
    track.find_element(By.CSS_SELECTOR, f".choices input[value={value}]").find_element(By.XPATH, "..").click()


def playing(driver: webdriver.Chrome) -> Any:
    """What is heard: position in seconds, the gain of each signal, whether all began at the same time."""
    return driver.execute_script(
        """const player = Player.playing;
        return {
          position: player.position,
          running: player.started !== null,
          gains: Object.fromEntries([...player.voices].map(([name, { gain }]) => [name, gain.gain.value])),
        };"""
    )


def heard(driver: webdriver.Chrome) -> list[str]:
    return [name for name, gain in playing(driver)["gains"].items() if gain > 0.5]


def screenshot(driver: webdriver.Chrome, name: str) -> None:
    folder = os.environ.get(SCREENSHOTS)
    if folder:
        driver.save_screenshot(str(Path(folder) / f"{name}.png"))


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
    report.write(path, report.gather(run, None, 0.02))
    driver = visit(path)
    track = open_track(driver, 0)
    track.find_element(By.CSS_SELECTOR, ".transport button").click()
    wait(driver, lambda: playing(driver)["running"] and playing(driver)["position"] > 0.1)


def test_audio_that_is_gone_is_said_to_be_so(
    chrome: webdriver.Chrome, visit: Open, run: Entry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(report, "INLINE_BYTES", 0)
    path = tmp_path / "page.html"
    report.write(path, report.gather(run, None, 0.02))
    shutil.rmtree(run_folder.audio_of(path))
    driver = visit(path)
    track = open_track(driver, 0)
    track.find_element(By.CSS_SELECTOR, ".transport button").click()
    message = track.find_element(By.CSS_SELECTOR, ".message")
    wait(driver, lambda: "is not beside this page" in message.text)
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
    described = report.collect_details(report.gather(run, None, 0.02), None)["first"]
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


def test_the_leaderboard_page(visit: Open, tmp_path: Path) -> None:
    store = Store(tmp_path / "leaderboard.sqlite")
    for score in (1.0, 3.0, 2.0):
        store.record(made_results.result({"a": score}), None)
    groups = entries.rank(store.entries())
    text = leaderboard_view.as_html(leaderboard_view.Board(tuple(groups), (), "mean"))
    (tmp_path / "page.html").write_text(text, encoding="utf-8")
    driver = visit(tmp_path / "page.html", 390)
    rows = driver.find_elements(By.CSS_SELECTOR, "tbody tr td:nth-child(6)")
    assert [row.text for row in rows] == ["3.000", "2.000", "1.000"]
    assert driver.execute_script("return document.documentElement.scrollWidth") <= 390
