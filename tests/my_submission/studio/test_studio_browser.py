"""The studio as people meet it: the command, a browser, a song, its stems, Ctrl-C."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from selenium import webdriver
from selenium.webdriver.common.by import By

from tests.browser import MARKS, log, screenshot, wait
from tests.my_submission.files_model import SHARES, write_tiny_preset

pytestmark = MARKS
ROOT = Path(__file__).parents[3]
SECONDS = 6.0
DROP = """const transfer = new DataTransfer();
transfer.items.add(new File([arguments[0]], arguments[1]));
document.dispatchEvent(new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true }));"""


@pytest.fixture
def song(tmp_path: Path) -> Path:
    noise = np.random.default_rng(0).uniform(-0.3, 0.3, (round(SECONDS * 44_100), 2))
    soundfile.write(tmp_path / "my song.wav", noise, 44_100)
    return tmp_path / "my song.wav"


@pytest.fixture
def studio(tmp_path: Path) -> Iterator[tuple[str, "subprocess.Popen[str]", Path]]:
    """Its link, its process, and the folder for what is temporary."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    command = [
        sys.executable,
        "-m",
        "sdx",
        "studio",
        "--preset",
        str(write_tiny_preset(tmp_path)),
        "--device",
        "cpu",
    ]
    environment = {**os.environ, "TMPDIR": str(temporary), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    about, link = process.stdout.readline(), process.stdout.readline().strip()
    assert "Ctrl-C ends the studio" in about
    try:
        yield link, process, temporary
    finally:
        process.kill()
        process.wait()


def songs(driver: webdriver.Chrome) -> list[Any]:
    return driver.find_elements(By.CSS_SELECTOR, ".song")


def playing(driver: webdriver.Chrome) -> Any:
    return driver.execute_script(
        """const player = Player.playing;
        return { running: player.started !== null, position: player.position,
          gains: Object.fromEntries([...player.voices].map(([name, { gain }]) => [name, gain.gain.value])) };"""
    )


def open_page(driver: webdriver.Chrome, link: str, width: int = 1280) -> None:
    metrics = {"width": width, "height": 850, "deviceScaleFactor": 1, "mobile": width < 700}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    driver.get("about:blank")
    log(driver, "browser")
    driver.get(link)


def test_a_song_is_dropped_separated_heard_and_gone_at_the_end(
    chrome: webdriver.Chrome, studio: tuple[str, "subprocess.Popen[str]", Path], song: Path, tmp_path: Path
) -> None:
    link, process, temporary = studio
    downloads = tmp_path / "downloads"
    chrome.execute_cdp_cmd("Page.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(downloads)})
    open_page(chrome, link)
    chrome.execute_script(DROP, "no music at all", "<i>notes</i>.txt")
    wait(chrome, lambda: len(chrome.find_elements(By.CSS_SELECTOR, ".reason.bad")) == 1, 60)
    reason = chrome.find_element(By.CSS_SELECTOR, ".reason.bad").text
    assert reason.startswith("It could not be separated: no recording that can be decoded")
    assert songs(chrome)[0].find_element(By.CSS_SELECTOR, "h2").text == "<i>notes</i>.txt"
    songs(chrome)[0].find_element(By.XPATH, ".//button[text()='Remove']").click()
    wait(chrome, lambda: not songs(chrome))

    chrome.find_element(By.ID, "files").send_keys(str(song))
    wait(chrome, lambda: bool(chrome.find_elements(By.CSS_SELECTOR, ".song progress")))
    wait(chrome, lambda: bool(chrome.find_elements(By.CSS_SELECTOR, ".transport")), 120)
    chrome.find_element(By.CSS_SELECTOR, ".transport button").click()
    wait(chrome, lambda: playing(chrome)["running"])
    assert set(playing(chrome)["gains"]) == set(SHARES)
    chrome.find_element(By.CSS_SELECTOR, "[aria-label='bass: solo']").click()
    wait(chrome, lambda: [name for name, gain in playing(chrome)["gains"].items() if gain > 0.5] == ["bass"])
    chrome.find_element(By.CSS_SELECTOR, "[aria-label='bass: solo']").click()
    chrome.find_element(By.CSS_SELECTOR, "[aria-label='vocals: mute']").click()
    wait(chrome, lambda: playing(chrome)["gains"]["vocals"] < 0.5 < playing(chrome)["gains"]["bass"])
    screenshot(chrome, "studio")

    chrome.find_element(By.CSS_SELECTOR, "[aria-label='bass: save']").click()
    chrome.find_element(By.LINK_TEXT, "Save all as a zip").click()
    wait(chrome, lambda: {path.name for path in downloads.glob("*")} >= {"my song (bass).wav", "my song.zip"})
    assert soundfile.info(downloads / "my song (bass).wav").frames == round(SECONDS * 44_100)
    assert log(chrome, "browser") == []  # no policy was broken

    assert any(temporary.glob("sdx-studio-*"))
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0
    assert not list(temporary.glob("sdx-studio-*"))
    wait(chrome, lambda: "does not answer" in chrome.find_element(By.ID, "problem").text, 60)


def test_what_is_under_way_can_be_cancelled_and_ended(
    chrome: webdriver.Chrome, studio: tuple[str, "subprocess.Popen[str]", Path], tmp_path: Path
) -> None:
    link, process, temporary = studio
    noise = np.random.default_rng(0).uniform(-0.3, 0.3, (600 * 44_100, 1)).astype(np.float32)
    soundfile.write(tmp_path / "long.flac", noise, 44_100)
    open_page(chrome, link, 390)
    for name in ("long.flac", "long.flac"):
        chrome.find_element(By.ID, "files").send_keys(str(tmp_path / name))
    wait(chrome, lambda: "separating" in songs(chrome)[-1].text, 120)
    wait(chrome, lambda: "waiting for its turn" in songs(chrome)[0].text, 60)
    assert chrome.execute_script("return document.documentElement.scrollWidth") <= 390
    screenshot(chrome, "studio-390")
    songs(chrome)[-1].find_element(By.XPATH, ".//button[text()='Cancel']").click()
    wait(chrome, lambda: len(songs(chrome)) == 1 and "separating" in songs(chrome)[0].text, 120)
    process.send_signal(signal.SIGTERM)
    began = time.monotonic()
    process.wait(60)
    assert time.monotonic() - began < 30
    assert not list(temporary.glob("sdx-studio-*"))
