"""The page of stems: what it says, and what it leaves alone."""

import base64
import json
import os
import re
from pathlib import Path
from urllib.parse import unquote_to_bytes

import pytest
import soundfile

from my_submission.commands.separate_page import PageWanted, show_page
from my_submission.files import FileOptions, OutputExists, SeparatedFile, listening, separate_file
from my_submission.files.formats import Encoding
from my_submission.files.page import AUDIO, NAME, check_page, write_page
from tests.my_submission.files.test_formats import noise, write
from tests.my_submission.files_model import KnownShares
from tests.thinned import one_in


def separated(
    folder: Path, name: str, format: str = "wav", rate: int = 44_100, channels: int = 2
) -> SeparatedFile:
    source = write(folder / name, Encoding("wav"), rate, noise(rate // 2, channels))
    options = FileOptions(("vocals", "drums+bass"), format, clipping="clip", many_channels="pairs")
    return separate_file(source, folder / "out", model=KnownShares(), options=options)


@pytest.mark.parametrize(
    ("format", "rate", "channels"),
    one_in(2, [("wav", 48_000, 4), ("wav", 44_100, 2), ("opus", 44_100, 1), ("flac", 96_000, 2)]),
)
def test_every_stem_has_a_copy_that_browsers_play(
    tmp_path: Path, format: str, rate: int, channels: int
) -> None:
    result = separated(tmp_path, "a.wav", format, rate, channels)
    write_page(tmp_path / "out", [result])
    scripts = sorted((tmp_path / "out" / AUDIO).iterdir())
    assert [script.name for script in scripts] == ["1-1.js", "1-2.js"]
    for script in scripts:
        name, content = re.fullmatch(r'sdxAudio\("(.*?)", "(.*?)"\);\n', script.read_text()).groups()  # type: ignore[union-attr]
        assert name == script.name
        (tmp_path / "copy.mp3").write_bytes(base64.b64decode(content))
        info = soundfile.info(tmp_path / "copy.mp3")
        assert info.duration == pytest.approx(0.5, abs=1e-4)
        assert (
            info.samplerate
            == {44_100: 44_100, 48_000: 48_000, 96_000: 44_100}[48_000 if format == "opus" else rate]
        )
        assert info.channels == min(channels, 2)


def test_names_are_text_and_links_lead_to_the_files(tmp_path: Path) -> None:
    name = "<b>&'\" #1%20?</script> 日本.wav".replace("/", "∕")
    path = write_page(tmp_path / "out", [separated(tmp_path, name)])
    text = path.read_text()
    assert "<b>" not in text
    data = re.search(r'id="songs">(.*?)</script>', text)
    assert data is not None
    (song,) = json.loads(data[1])
    assert song["title"] == name
    links = [stem["link"] for stem in song["stems"]]
    found = [tmp_path / "out" / os.fsdecode(unquote_to_bytes(link)) for link in links]
    assert all(each.is_file() for each in found)
    assert all(re.fullmatch(r"[\w./%-]+", link, re.ASCII) for link in links)


def test_a_long_recording_has_links_instead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listening, "_MOST_SECONDS", 0.9)  # of two stems of half a second
    text = write_page(tmp_path / "out", [separated(tmp_path, "a.wav")]).read_text()
    assert 'href="a/vocals.wav"' in text
    assert not list((tmp_path / "out" / AUDIO).iterdir())


def test_a_page_of_ones_own_is_not_replaced_unasked(tmp_path: Path) -> None:
    check_page(tmp_path, overwrite=False)
    (tmp_path / NAME).write_text("<h1>mine</h1>")
    with pytest.raises(
        OutputExists, match=r"stems.html already exists, and is no page of stems; --overwrite replaces"
    ):
        check_page(tmp_path, overwrite=False)
    check_page(tmp_path, overwrite=True)
    write_page(tmp_path, [])
    check_page(tmp_path, overwrite=False)


def test_nothing_is_removed_but_what_an_earlier_page_wrote(tmp_path: Path) -> None:
    audio = tmp_path / AUDIO
    audio.mkdir()
    (audio / "2-1.js").write_text('sdxAudio("2-1.js", "of an earlier run");')
    (audio / "mine.js").write_text("sdxAudio, mine")
    (audio / "3-1.js.bak").write_text('sdxAudio("3-1.js", "");')
    write_page(tmp_path, [])
    assert sorted(path.name for path in audio.iterdir()) == ["3-1.js.bak", "mine.js"]
    (audio / "1-1.js").write_text("let mine = 1;")
    for refused in (lambda: check_page(tmp_path, overwrite=True), lambda: write_page(tmp_path, [])):
        with pytest.raises(OutputExists, match=r"1-1.js is no sound of a page"):
            refused()
    assert (audio / "1-1.js").read_text() == "let mine = 1;"


def test_nothing_is_removed_or_written_through_a_link(tmp_path: Path) -> None:
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    for folder in (out, elsewhere):
        folder.mkdir()
    theirs = elsewhere / "1-1.js"
    theirs.write_text('sdxAudio("1-1.js", "of another page");')
    (out / AUDIO).symlink_to(elsewhere)
    for refused in (lambda: check_page(out, overwrite=True), lambda: write_page(out, [])):
        with pytest.raises(OutputExists, match=f"{AUDIO} is a link.*move it away"):
            refused()
    (out / AUDIO).unlink()
    (out / AUDIO).mkdir()
    (out / AUDIO / "1-1.js").symlink_to(theirs)
    with pytest.raises(OutputExists, match=r"1-1.js is no sound of a page"):
        write_page(out, [])
    (out / AUDIO / "1-1.js").unlink()
    page = write_page(elsewhere, [])
    (elsewhere / AUDIO).rmdir()
    before = page.read_text().replace("</html>", "<!-- theirs --></html>")
    page.write_text(before)
    (out / NAME).symlink_to(page)
    write_page(out, [])
    assert not (out / NAME).is_symlink()
    assert page.read_text() == before
    assert theirs.exists()


def test_the_command_writes_it_and_opens_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    result = separated(tmp_path, "a.wav")
    opened: list[str] = []

    def opens_once(address: str) -> bool:
        opened.append(address)
        return len(opened) == 1

    monkeypatch.setattr("webbrowser.open", opens_once)
    for _ in range(2):
        show_page(tmp_path / "out", [result], PageWanted(is_wanted=True, opens=True))
    assert opened == [(tmp_path / "out" / NAME).as_uri()] * 2
    said = capsys.readouterr()
    assert said.out == f"page: {tmp_path / 'out' / NAME}\n" * 2
    assert said.err == f"no browser can be started here; open {opened[0]} yourself\n"
