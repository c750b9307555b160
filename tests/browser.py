"""Pages in headless Chromium: a browser for a module's tests, and what it may not do."""

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

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
MARKS = [
    pytest.mark.slow,
    pytest.mark.skipif(
        CHROMIUM is None or DRIVER is None, reason="needs the Debian packages chromium and chromium-driver"
    ),
]
FLAGS = (
    "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --no-proxy-server"
    " --disable-background-networking --disable-component-update --disable-sync"
)
SCREENSHOTS = "SDX_SCREENSHOTS"  # a folder for screenshots to be looked at

Open = Callable[..., webdriver.Chrome]


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


def wait(driver: webdriver.Chrome, condition: Callable[[], bool], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, driver.execute_script(
            "return [...document.querySelectorAll('.message')].map((each) => each.textContent).join()"
        )
        time.sleep(0.02)


def screenshot(driver: webdriver.Chrome, name: str) -> None:
    folder = os.environ.get(SCREENSHOTS)
    if folder:
        driver.save_screenshot(str(Path(folder) / f"{name}.png"))


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
