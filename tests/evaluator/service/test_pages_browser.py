"""The pages in headless Chromium: make an account, upload a zip, watch the queue, read the board."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from selenium import webdriver
from selenium.webdriver.chrome.service import Service as DriverService
from selenium.webdriver.common.by import By

from evaluator.service import accounts, serving
from evaluator.service.app import create_app
from evaluator.service.running import Service
from evaluator.service.settings import OpenIdProvider, Settings
from tests.browser import CHROMIUM, DRIVER, FLAGS, SCREENSHOTS, log
from tests.evaluator import audio
from tests.evaluator.service import issuer as issuers
from tests.evaluator.service.test_entries import scored
from tests.evaluator.service.world import PASSWORD, World, estimates, make_world, sound, zipped

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        CHROMIUM is None or DRIVER is None, reason="needs the Debian packages chromium and chromium-driver"
    ),
]
WAIT_SECONDS = 60.0


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[World, str]]:
    """A service that listens, with the clock of the machine, and where it does."""
    with listens(tmp_path) as found:
        yield found


@contextmanager
def listens(folder: Path, provider: OpenIdProvider | None = None) -> Iterator[tuple[World, str]]:
    world = make_world(folder)
    world.seconds = time.time()
    listening = serving.bind(Settings(folder, port=0))
    port = int(listening.getsockname()[1])
    world.settings = replace(world.settings, port=port, provider=provider)
    url = world.settings.url
    world.app = create_app(Service(world.settings, world.database, world.now))
    server = uvicorn.Server(uvicorn.Config(world.app, log_level="warning"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    yield world, url
    server.should_exit = True
    thread.join()
    listening.close()
    world.close()


@pytest.fixture
def chrome(tmp_path: Path) -> Iterator[webdriver.Chrome]:
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in FLAGS.split():
        options.add_argument(flag)
    options.add_argument(f"--user-data-dir={tmp_path / 'profile'}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=DriverService(str(DRIVER)))
    yield driver
    complaints = [each["message"] for each in log(driver, "browser")]
    driver.quit()
    assert complaints == [], "such as what the policy of the page does not allow"


def wait(condition: Callable[[], Any]) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def text(chrome: webdriver.Chrome) -> str:
    return str(chrome.execute_script("return document.querySelector('main')?.innerText ?? ''"))


def look(chrome: webdriver.Chrome, width: int, theme: str) -> None:
    metrics = {"width": width, "height": 850, "deviceScaleFactor": 1, "mobile": width < 700}
    chrome.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    scheme = {"features": [{"name": "prefers-color-scheme", "value": theme}]}
    chrome.execute_cdp_cmd("Emulation.setEmulatedMedia", scheme)


def screenshot(chrome: webdriver.Chrome, name: str) -> None:
    if folder := os.environ.get(SCREENSHOTS):
        chrome.save_screenshot(str(Path(folder) / f"service-{name}.png"))


def fill(chrome: webdriver.Chrome, **fields: str) -> None:
    """Fill in the page's form, and send it."""
    for name, value in fields.items():
        chrome.find_element(By.NAME, name).send_keys(value)
    chrome.find_element(By.CSS_SELECTOR, "main form button").click()


def test_from_an_invitation_to_the_board(
    site: tuple[World, str], chrome: webdriver.Chrome, tmp_path: Path
) -> None:
    world, url = site
    with world.database.writing() as session:
        token = accounts.invite(session, "submitter", world.now())
    chrome.get(f"{url}/invitation/{token}")
    screenshot(chrome, "invitation")
    fill(chrome, name="Ann", password=PASSWORD)
    wait(lambda: "Benchmarks" in text(chrome))
    chrome.find_element(By.LINK_TEXT, "Ann")
    chrome.get(f"{url}/benchmarks/bench/new")
    chrome.find_element(By.CSS_SELECTOR, "option[value=public]").click()
    fill(chrome, name="My first", method="magic", description="<b>not bold</b>")
    wait(lambda: "Upload and submit" in text(chrome))
    file = tmp_path / "mine.zip"
    file.write_bytes(zipped(estimates(0.8)))
    chrome.find_element(By.CSS_SELECTOR, "input[type=file]").send_keys(str(file))
    screenshot(chrome, "upload")
    chrome.find_element(By.CSS_SELECTOR, "#upload button").click()
    wait(lambda: "Number 1 in the queue" in text(chrome))
    assert "No worker is running" in text(chrome)
    address = chrome.current_url
    assert world.worker().work_once()
    wait(lambda: "Scores" in text(chrome))  # by itself
    assert "<b>not bold</b>" in text(chrome)
    screenshot(chrome, "entry")
    chrome.get(f"{url}/queue")
    assert "Nothing is waiting" in text(chrome)
    chrome.get(f"{url}/benchmarks/bench")
    chrome.find_element(By.LINK_TEXT, "My first").click()
    assert chrome.current_url == address


def test_an_upload_goes_on_after_the_line_broke(
    site: tuple[World, str], chrome: webdriver.Chrome, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from evaluator.service import receiving

    world, url = site
    world.token("ann")
    chrome.get(f"{url}/sign-in")
    fill(chrome, name="ann", password=PASSWORD)
    wait(lambda: "Benchmarks" in text(chrome))
    entry = world.begin("ann")
    broken: list[int] = []
    note = receiving._note

    def break_at_first(*arguments: Any) -> None:
        note(*arguments)
        if not broken:
            broken.append(1)
            raise OSError("the disk hiccups")

    monkeypatch.setattr(receiving, "_note", break_at_first)
    chrome.get(f"{url}/entries/{entry}")
    file = tmp_path / "mine.zip"
    file.write_bytes(zipped(estimates(0.8)))
    chrome.find_element(By.CSS_SELECTOR, "input[type=file]").send_keys(str(file))
    chrome.find_element(By.CSS_SELECTOR, "#upload button").click()
    wait(lambda: "in the queue" in text(chrome))
    assert broken
    assert world.worker().work_once()
    assert world.show("ann", entry)["state"] == "done"
    assert log(chrome, "browser")  # which tells of the answer 500


# What is written so faintly that WCAG 2.2 (1.4.3) finds too little contrast: texts of shown elements, with the ratio.
FAINT = """
const numbers = (color) => color.match(/[\\d.]+/g).map(Number);
const linear = (part) => (part / 255 <= 0.04045 ? part / 255 / 12.92 : ((part / 255 + 0.055) / 1.055) ** 2.4);
const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
function ground(element) {
  for (let each = element; each; each = each.parentElement) {
    const color = numbers(getComputedStyle(each).backgroundColor);
    if (color[3] === undefined || color[3] > 0) return color;
  }
  return [255, 255, 255];
}
const found = [];
for (const element of document.querySelectorAll("body *")) {
  const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
  if (!own || !element.checkVisibility() || element.disabled) continue;
  const [one, other] = [light(numbers(getComputedStyle(element).color)), light(ground(element))];
  const ratio = (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05);
  if (ratio < 4.5) found.push([element.innerText, ratio]);
}
return found;
"""
# What the keyboard reaches without a sign of it.
UNMARKED = """
const found = [];
for (const element of document.querySelectorAll("a, button, input, select, textarea, [tabindex]")) {
  if (!element.checkVisibility() || element.type === "hidden") continue;
  element.focus({ focusVisible: true });
  const { outlineStyle, outlineWidth } = getComputedStyle(element);
  const isMarked = outlineStyle !== "none" && parseFloat(outlineWidth) > 0;
  if (document.activeElement !== element || !isMarked) found.push(element.outerHTML);
}
return found;
"""


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 390, 1280])
def test_nothing_is_wider_than_the_screen_faint_or_unmarked(
    site: tuple[World, str], chrome: webdriver.Chrome, width: int, theme: str
) -> None:
    world, url = site
    world.token("olga", "organiser")
    for person, score in (("ann", 7.25), ("bob", 8.5), ("olga", 6.0)):
        title = f"A model of {person} with a long name, such as people give them"
        said = {
            "visibility": "public",
            "training_data": "MUSDB18-HQ and 800 songs of our own",
            "method": "SCNet",
        }
        scored(world, person, score, title=title, **said)
    look(chrome, width, theme)
    chrome.get(f"{url}/sign-in")
    screenshot(chrome, f"sign-in-{theme}-{width}")
    assert chrome.execute_script(FAINT) == chrome.execute_script(UNMARKED) == []
    fill(chrome, name="olga", password=PASSWORD)
    wait(lambda: "Benchmarks" in text(chrome))
    ground = chrome.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert ground == {"light": "rgb(251, 251, 250)", "dark": "rgb(20, 22, 26)"}[theme]
    pages = {
        "home": "/", "board": "/benchmarks/bench", "entry": "/entries/1", "new": "/benchmarks/bench/new",
        "account": "/account", "organiser": "/organiser", "queue": "/queue",
    }  # fmt: skip
    for name, path in pages.items():
        chrome.get(url + path)
        screenshot(chrome, f"{name}-{theme}-{width}")
        assert chrome.execute_script("return document.documentElement.scrollWidth") <= width, path
        assert chrome.execute_script(FAINT) == [], path
        assert chrome.execute_script(UNMARKED) == [], path


def test_the_board_sorts_and_the_first_key_leads_to_the_content(
    site: tuple[World, str], chrome: webdriver.Chrome
) -> None:
    world, url = site
    for person, score in (("ann", 7.25), ("bob", 8.5)):
        scored(world, person, score, visibility="public", title=person)
    chrome.get(f"{url}/benchmarks/bench")
    names = "return [...document.querySelectorAll('.board tbody th')].map((each) => each.innerText)"
    assert chrome.execute_script(names) == ["bob", "ann"]
    chrome.find_element(By.XPATH, "//button[text()='entry']").click()
    assert chrome.execute_script(names) == ["ann", "bob"]
    assert chrome.execute_script("return document.querySelector('a').classList.contains('skip')"), (
        "the first thing that the tab key reaches"
    )


def test_tracks_of_an_open_benchmark_are_heard_and_seen(
    site: tuple[World, str], chrome: webdriver.Chrome, tmp_path: Path
) -> None:
    world, url = site
    world.add("open", audio.write_music(tmp_path / "more", {"a": 44100}), is_open=True)
    files = {"a_bass.wav": sound(0.9 * audio.noise(44100))}
    entry = world.scored("ann", files, "open", visibility="public")
    look(chrome, 390, "dark")
    chrome.get(f"{url}/entries/{entry}")
    chrome.find_element(By.CSS_SELECTOR, "details.track summary").click()
    every = "return [...document.querySelectorAll('.sound')]"
    wait(
        lambda: chrome.execute_script(f"{every}.every((each) => each.querySelector('img').naturalWidth > 0)")
    )
    chrome.execute_script("document.querySelectorAll('audio').forEach((each) => each.load())")
    chrome.execute_script(
        "document.querySelectorAll('audio').forEach((each) => { each.preload = 'metadata'; })"
    )
    wait(lambda: chrome.execute_script(f"{every}.every((each) => each.querySelector('audio').duration > 0)"))
    lengths = chrome.execute_script(f"{every}.map((each) => each.querySelector('audio').duration)")
    assert lengths == pytest.approx([1.0] * 4, abs=0.01), "the mixture, and three signals of the bass"
    assert chrome.execute_script("return document.documentElement.scrollWidth") <= 390
    screenshot(chrome, "listen")


def test_signing_in_with_a_provider_until_the_account_is_closed(
    chrome: webdriver.Chrome, tmp_path: Path
) -> None:
    """The provider is another site to the browser, as it is outside."""
    with issuers.running() as issuer:
        issuer.url = issuer.url.replace("127.0.0.1", "localhost")
        provider = OpenIdProvider(issuer.url, issuers.CLIENT, issuers.SECRET, ("example.org",))
        with listens(tmp_path, provider) as (world, url):
            issuer.seconds = world.seconds
            for _ in range(2):  # the second time the account is there
                come_in(chrome, url)
                wait(lambda: "Benchmarks" in text(chrome))
                assert chrome.current_url == f"{url}/"
                chrome.find_element(By.LINK_TEXT, "ann").click()
                wait(lambda: "Linked since" in text(chrome))
                screenshot(chrome, "account-with-provider")
                chrome.find_element(By.CSS_SELECTOR, "nav form button").click()
                wait(lambda: chrome.find_elements(By.LINK_TEXT, "Sign in"))
            come_in(chrome, url)
            chrome.get(f"{url}/account/close")
            screenshot(chrome, "close")
            fill(chrome, name="ann")
            wait(lambda: chrome.find_elements(By.LINK_TEXT, "Sign in"))
            come_in(chrome, url)
            wait(lambda: "You had an account here" in text(chrome))
            (told,) = log(chrome, "browser")
            assert "403 (Forbidden)" in told["message"]


def come_in(chrome: webdriver.Chrome, url: str) -> None:
    """Sign in with the provider."""
    chrome.get(f"{url}/sign-in")
    chrome.find_element(By.XPATH, "//button[.='Sign in with localhost']").click()
    wait(lambda: chrome.find_elements(By.LINK_TEXT, "I am Ann"))
    chrome.find_element(By.LINK_TEXT, "I am Ann").click()
    wait(lambda: "/sign-in" not in chrome.current_url or "account here" in text(chrome))
