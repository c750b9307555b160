"""The studio: songs go in, stems come out, one at a time; and nobody else gets in."""

import io
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
import soundfile
from fastapi.testclient import TestClient

from my_submission.__main__ import main
from my_submission.files.errors import OutputFailed
from my_submission.studio.app import create_app
from my_submission.studio.desk import Desk
from my_submission.studio.songs import folder_name, shown_name
from my_submission.studio.zipped import zipped
from tests.my_submission.files_model import SHARES, write_tiny_preset
from tests.my_submission.studio.made_studio import TOKEN, Separator, make_desk
from tests.waiting import wait_for

AT = f"/{TOKEN}"
OWN = {"Sec-Fetch-Site": "same-origin"}


def song_bytes(samples: int = 4_000, seed: int = 0) -> bytes:
    file = io.BytesIO()
    noise = np.random.default_rng(seed).uniform(-0.4, 0.4, (samples, 2))
    soundfile.write(file, noise, 44_100, format="WAV", subtype="FLOAT")
    return file.getvalue()


@pytest.fixture
def separator() -> Separator:
    made = Separator()
    made.may_go_on.set()
    return made


@pytest.fixture
def desk(tmp_path: Path, separator: Separator) -> Desk:
    return make_desk(tmp_path / "root", separator)


@pytest.fixture
def page(desk: Desk) -> Iterator[TestClient]:
    app = create_app(desk, TOKEN, "Preset known: for tests.")
    with TestClient(app, base_url="http://127.0.0.1:8000", headers=OWN) as client:
        yield client


def add(page: TestClient, name: str = "song.wav", content: bytes | None = None) -> Any:
    answer = page.post(
        f"{AT}/songs?name={quote(name, safe='')}", content=song_bytes() if content is None else content
    )
    assert answer.status_code == 201, answer.text
    return answer.json()["id"]


def state(page: TestClient, song: str) -> Any:
    return next((each for each in page.get(f"{AT}/songs").json() if each["id"] == song), None)


def done(page: TestClient, song: str, expected: str = "done") -> Any:
    return wait_for(lambda: (found := state(page, song)) and found["state"] == expected and found)


def test_a_song_is_separated_heard_and_saved(page: TestClient, desk: Desk) -> None:
    song = add(page, "Ünï cödé \u202e日本.wav")
    found = done(page, song)
    assert (found["name"], found["plays"], found["stems"]) == ("Ünï cödé 日本.wav", True, list(SHARES))
    assert found["notes"] == ["it is short"]
    heard = page.get(f"{AT}/songs/{song}/listen/bass")
    assert heard.headers["content-type"] == "audio/mpeg"
    assert soundfile.info(io.BytesIO(heard.content)).frames == 4_000
    saved = page.get(f"{AT}/songs/{song}/stems/bass")
    assert (
        saved.headers["content-disposition"]
        == f"attachment; filename*=UTF-8''{quote('Ünï cödé 日本 (bass).wav', safe='')}"
    )
    samples, _ = soundfile.read(io.BytesIO(saved.content), dtype="float32")
    original, _ = soundfile.read(io.BytesIO(song_bytes()), dtype="float32")
    assert np.array_equal(samples, np.float32(0.5) * original)
    archive = zipfile.ZipFile(io.BytesIO(page.get(f"{AT}/songs/{song}/stems.zip").content))
    assert sorted(archive.namelist()) == sorted(f"{stem}.wav" for stem in SHARES)
    assert archive.testzip() is None
    assert archive.read("bass.wav") == saved.content
    assert not (desk.songs[0].upload).exists()


def test_songs_wait_for_their_turn_and_can_be_cancelled(page: TestClient, separator: Separator) -> None:
    separator.may_go_on.clear()
    first, second, third = (add(page, f"{number}.wav") for number in range(3))
    wait_for(lambda: (state(page, first) or {}).get("fraction") == 0.5)
    assert [state(page, each)["state"] for each in (first, second, third)] == [
        "working",
        "waiting",
        "waiting",
    ]
    for song in (second, first):
        assert page.delete(f"{AT}/songs/{song}").status_code == 204
    separator_ended = wait_for(lambda: separator.closed)
    assert separator_ended == 1
    separator.may_go_on.set()
    done(page, third)
    assert len(separator.started) == 2
    assert state(page, first) is state(page, second) is None


def test_what_cannot_be_separated_says_why_and_the_next_is_done(
    page: TestClient, separator: Separator
) -> None:
    bad, good = add(page, "notes.txt", b"not audio at all"), add(page)
    reason = done(page, bad, "failed")["reason"]
    assert reason.startswith("no recording that can be decoded")
    assert "/" not in reason
    done(page, good)
    separator.reason = "the process that separated it was killed"
    assert done(page, add(page), "failed")["reason"] == "the process that separated it was killed"
    assert page.get(f"{AT}/songs/{bad}/stems.zip").status_code == 404
    separator.reason, separator.error = "", KeyError("what")
    assert done(page, add(page), "failed")["reason"] == "KeyError: 'what'"
    separator.error = None
    done(page, add(page))


def test_everything_is_deleted_at_the_end(tmp_path: Path, separator: Separator) -> None:
    desk = make_desk(tmp_path / "root", separator)
    with TestClient(create_app(desk, TOKEN, ""), base_url="http://localhost", headers=OWN) as page:
        done(page, add(page))
        separator.may_go_on.clear()
        under_way = add(page)
        wait_for(lambda: (state(page, under_way) or {}).get("fraction") == 0.5)
        add(page)
    assert separator.closed == 2
    assert list((tmp_path / "root").iterdir()) == []


def test_stems_are_kept_where_that_is_wanted(tmp_path: Path, separator: Separator) -> None:
    (tmp_path / "root" / "001 my song").mkdir(parents=True)  # of an earlier day
    desk = make_desk(tmp_path / "root", separator, keeps=True)
    with TestClient(create_app(desk, TOKEN, ""), base_url="http://localhost", headers=OWN) as page:
        done(page, add(page, "my song.mp3.wav"))
        done(page, add(page, "x", b"no song"), "failed")
    names = sorted(str(path.relative_to(tmp_path / "root")) for path in (tmp_path / "root").rglob("*"))
    assert names == [
        "001 my song",
        "001 my song_mp3",
        *(f"001 my song_mp3/{stem}.wav" for stem in sorted(SHARES)),
    ]


def test_no_name_leads_anywhere() -> None:
    for name in (
        "../../x.wav",
        "/etc/passwd",
        "..",
        ".",
        "a/b\\c:d.mp3",
        "\0",
        "x" * 500,
        "con",
        "",
        "~/x",
        "$(x)",
    ):
        made = folder_name(1, shown_name(name))
        assert Path("root", made).parent == Path("root")
        assert len(made) < 100
        assert set(made) <= set("abcdefghijklmnopqrstuvwxyz0123456789 _-")
    assert folder_name(12, "Кино – Группа.mp3") == "012 Кино _ Группа"


def test_letters_of_four_bytes_make_a_folder_too(page: TestClient) -> None:
    assert len(folder_name(1, "𝐀" * 90).encode()) < 255
    done(page, add(page, "𝐀" * 90))


def test_stems_without_room_for_copies_can_be_saved(
    page: TestClient, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(stem: Path, target: Path, seconds: float) -> None:
        target.touch()
        if target.name == ".listen-2.mp3":
            raise OutputFailed(f"{target}: cannot be written: No space left on device")

    monkeypatch.setattr("my_submission.studio.desk.write_listening_copy", fails)
    song = add(page)
    found = done(page, song)
    assert not found["plays"]
    assert found["notes"][-1].startswith("they can be saved, but not played here: its folder")
    assert page.get(f"{AT}/songs/{song}/stems.zip").status_code == 200
    assert list(desk.songs[0].folder.glob(".listen*")) == []


def test_a_song_too_long_to_be_played_says_so(page: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("my_submission.studio.desk.fits_a_browser", lambda seconds, stems: False)
    assert done(page, add(page))["notes"][-1] == "it is too long to be played here"


class TestNobodyElse:
    @pytest.mark.parametrize(
        "host", ["evil.example", "evil.example:8000", "127.0.0.1.evil.example", "", "10.0.0.1"]
    )
    def test_other_hosts_are_none(self, page: TestClient, host: str) -> None:
        assert page.get(f"{AT}/songs", headers={"Host": host}).status_code == 421

    @pytest.mark.parametrize("path", ["/", "/songs", "/wrong/songs", f"/{TOKEN}x/", "/%2e%2e/", f"/x{AT}/"])
    def test_without_the_link_there_is_nothing(self, page: TestClient, path: str) -> None:
        answer = page.get(path)
        assert answer.status_code == 404
        assert "Open the link" in answer.json()["error"]

    @pytest.mark.parametrize(
        "headers",
        [
            {"Sec-Fetch-Site": "cross-site"},
            {"Sec-Fetch-Site": "same-site"},  # a page on another port of this machine
            {"Sec-Fetch-Site": "none"},
        ],
    )
    def test_other_pages_change_nothing(self, page: TestClient, desk: Desk, headers: dict[str, str]) -> None:
        assert page.post(f"{AT}/songs?name=a", content=song_bytes(), headers=headers).status_code == 403
        assert page.delete(f"{AT}/songs/x", headers=headers).status_code == 403
        assert desk.songs == []

    def test_an_older_browser_is_told_by_its_origin(self, desk: Desk) -> None:
        with TestClient(create_app(desk, TOKEN, ""), base_url="http://127.0.0.1:8000") as page:
            for origin, status in (
                ("http://127.0.0.1:8000", 404),
                ("http://127.0.0.1:9000", 403),
                ("null", 403),
            ):
                assert page.delete(f"{AT}/songs/x", headers={"Origin": origin}).status_code == status

    def test_every_answer_has_its_policies(self, page: TestClient) -> None:
        for path in (f"{AT}/", f"{AT}/static/studio.js", f"{AT}/songs", "/nothing"):
            answer = page.get(path)
            assert "script-src 'self';" in answer.headers["content-security-policy"]
            assert "unsafe" not in answer.headers["content-security-policy"]
            assert answer.headers["x-frame-options"] == "DENY"

    def test_the_page_has_no_script_or_style_of_its_own(self, page: TestClient) -> None:
        text = page.get(f"{AT}/").text
        assert "<style" not in text
        assert " style=" not in text
        assert text.count("<script") == text.count('<script src="static/')
        assert "onclick" not in text

    @pytest.mark.parametrize(
        "name", ["studio.html.j2", "..%2fapp.py", "%2e%2e%2fapp.py", "app.py", "nothing.js"]
    )
    def test_only_its_own_files_are_handed_out(self, page: TestClient, name: str) -> None:
        assert page.get(f"{AT}/static/{name}").status_code == 404


def test_a_song_that_is_removed_while_it_is_saved_still_comes_in_full(tmp_path: Path) -> None:
    files = {name: tmp_path / name for name in ("a", "b")}
    for path in files.values():
        path.write_bytes(bytes(2**21))
    pieces = zipped(files)
    first = next(pieces)
    for path in files.values():
        path.unlink()
    archive = zipfile.ZipFile(io.BytesIO(first + b"".join(pieces)))
    assert archive.testzip() is None
    assert [each.file_size for each in archive.infolist()] == [2**21, 2**21]


class TestUploads:
    def test_an_empty_file_is_refused(self, page: TestClient, desk: Desk) -> None:
        answer = page.post(f"{AT}/songs?name=a.wav", content=b"")
        assert (answer.status_code, answer.json()) == (422, {"error": "This file is empty."})
        assert desk.songs == []

    def test_no_more_than_the_disk_has_room_for(
        self, page: TestClient, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=2**30 + 2_000))
        answer = page.post(f"{AT}/songs?name=a.wav", content=bytes(1_001))
        assert answer.status_code == 413
        assert "there is room for 0 MB; free some disk space" in answer.json()["error"]
        assert desk.songs == []

    def test_a_length_is_needed_and_has_to_be_right(
        self, page: TestClient, desk: Desk, tmp_path: Path
    ) -> None:
        pieces = iter([song_bytes(), b"more"])
        assert page.post(f"{AT}/songs?name=a.wav", content=pieces).status_code == 411
        answer = page.post(f"{AT}/songs?name=a.wav", content=b"abc", headers={"Content-Length": "2"})
        assert answer.status_code == 400
        assert desk.songs == []
        assert list((tmp_path / "root").iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--stems", "guitar"], "found 'guitar'"),
        (["--bitrate", "320"], "bitrate: wav has none"),
    ],
)
def test_options_that_cannot_be(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["studio", "--preset", "mdx-demo", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_weights_that_are_not_here_are_said_at_the_start(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    preset = write_tiny_preset(tmp_path)
    (tmp_path / "tiny.th").unlink()
    assert main(["studio", "--preset", str(preset)]) == 1
    title, file, _ = capsys.readouterr().err.splitlines()  # a row with a path is nobody's to fetch
    assert title.startswith("error: ")
    assert title.endswith("1 weights file is missing:")
    assert "tiny" in file


def test_without_its_extra_it_says_what_to_install(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("my_submission.commands.studio.find_spec", lambda name: None)
    assert main(["studio"]) == 2
    assert "the studio needs starlette, uvicorn; pip install" in capsys.readouterr().err
