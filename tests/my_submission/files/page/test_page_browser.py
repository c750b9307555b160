"""The page of stems in headless Chromium, from disk: stems in sync, solo, mute, volume, phones, both themes."""

import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from selenium import webdriver
from selenium.webdriver.common.by import By

from my_submission.files import SeparatedFile
from my_submission.files.page import write_page
from tests.browser import MARKS, Open, playing, screenshot, wait

pytestmark = MARKS
SECONDS = 12.0
STEMS = {"vocals": 440.0, "drums": 100.0, "bass": 55.0, "a stem with a rather long name": 1000.0}


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("out")
    results = []
    for song in ("one", "two & <three>"):
        files = {}
        for stem, hertz in STEMS.items():
            files[stem] = folder / song / f"{stem}.wav"
            files[stem].parent.mkdir(exist_ok=True)
            time_axis = np.arange(round(SECONDS * 44_100)) / 44_100
            tone = np.sin(2 * np.pi * hertz * time_axis) * (0.5 + 0.4 * np.sin(time_axis))
            soundfile.write(files[stem], 0.2 * tone, 44_100)
        samples = round(SECONDS * 44_100)
        results.append(
            SeparatedFile(Path(f"{song}.mp3"), files, 44_100, 1, ((0,),), samples, 1.0, {}, 1.0, False)
        )
    return write_page(folder, results)


def heard(driver: webdriver.Chrome) -> set[str]:
    return {name for name, gain in playing(driver)["gains"].items() if gain > 0.5}


def press(driver: webdriver.Chrome, label: str, song: int = 0) -> None:
    driver.find_elements(By.CSS_SELECTOR, ".song")[song].find_element(
        By.CSS_SELECTOR, f"[aria-label='{label}']"
    ).click()


def start(driver: webdriver.Chrome, song: int = 0) -> None:
    driver.find_elements(By.CSS_SELECTOR, ".transport button")[song].click()
    wait(driver, lambda: playing(driver)["running"])


def test_stems_play_in_sync_solo_and_mute(visit: Open, page: Path) -> None:
    driver = visit(page)
    start(driver)
    assert heard(driver) == set(STEMS)
    press(driver, "vocals: mute")
    wait(driver, lambda: heard(driver) == set(STEMS) - {"vocals"})
    press(driver, "drums: solo")
    wait(driver, lambda: heard(driver) == {"drums"})
    press(driver, "vocals: solo")  # a solo wins over a mute, as on a mixer
    wait(driver, lambda: heard(driver) == {"drums", "vocals"})
    press(driver, "drums: solo")
    press(driver, "vocals: solo")
    wait(driver, lambda: heard(driver) == set(STEMS) - {"vocals"})
    pressed = driver.find_element(By.CSS_SELECTOR, "[aria-label='vocals: mute']").get_attribute(
        "aria-pressed"
    )
    assert pressed == "true"
    before = playing(driver)["position"]
    time.sleep(0.5)
    assert 0.2 < playing(driver)["position"] - before < 3
    screenshot(driver, "stems")


def test_every_stem_is_as_long_as_the_recording_and_holds_its_own_sound(visit: Open, page: Path) -> None:
    driver = visit(page)
    start(driver)
    found = driver.execute_script(
        """return Object.fromEntries([...Player.playing.buffers].map(([name, buffer]) => {
          const samples = buffer.getChannelData(0).slice(0, buffer.sampleRate);
          let crossings = 0;
          for (let i = 1; i < samples.length; i++) crossings += (samples[i - 1] < 0) !== (samples[i] < 0);
          return [name, [buffer.duration, crossings / 2]];
        }));"""
    )
    for stem, hertz in STEMS.items():
        assert found[stem][0] == pytest.approx(SECONDS, abs=0.1)
        assert found[stem][1] == pytest.approx(hertz, rel=0.05)


def test_seeking_pausing_volume_and_one_song_at_a_time(visit: Open, page: Path) -> None:
    driver = visit(page)
    start(driver)
    driver.execute_script("Player.playing.seek(7)")
    wait(driver, lambda: playing(driver)["running"] and 7 <= playing(driver)["position"] < 9)
    set_volume = """const slider = document.querySelector("[aria-label='bass: volume']");
        slider.value = 0.25; slider.dispatchEvent(new Event("input"));"""
    driver.execute_script(set_volume)
    wait(driver, lambda: abs(playing(driver)["gains"]["bass"] - 0.25) < 0.01)
    start(driver, 1)
    labels = [
        each.get_attribute("aria-label")
        for each in driver.find_elements(By.CSS_SELECTOR, ".transport button")
    ]
    assert labels == ["Play", "Pause"]
    driver.find_elements(By.CSS_SELECTOR, ".transport button")[1].click()
    wait(driver, lambda: not playing(driver)["running"])


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [320, 390, 1280])
def test_nothing_is_wider_than_the_screen(visit: Open, page: Path, width: int, theme: str) -> None:
    driver = visit(page, width, theme)
    assert driver.execute_script("return document.documentElement.scrollWidth") <= width
    ground = driver.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(20, 22, 26)") == (theme == "dark")
    screenshot(driver, f"stems-{width}-{theme}")
