"""Sounds and pictures of tracks: what they hold, on open benchmarks alone, and for whom."""

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray
from sqlalchemy import update

from evaluator.service import judging, shown_tracks
from evaluator.service.tables import Benchmark
from tests.evaluator import audio
from tests.evaluator.service.world import World, estimates, sound

FRAMES = 22050
STEMS = ("bass", "vocals")


def content(level: float = 0.9) -> dict[str, bytes]:
    """Estimates of two stems: each reference times `level`."""
    return {
        f"{track}_{stem}.wav": sound(level * audio.noise(FRAMES, seed=seed))
        for seed, track in enumerate("ab")
        for stem in STEMS
    }


@pytest.fixture
def opened(world: World, tmp_path: Path) -> World:
    """A world with an open benchmark, `open`, whose tracks last half a second."""
    world.add("open", audio.write_music(tmp_path / "more", dict.fromkeys("ab", FRAMES)), is_open=True)
    return world


def heard(world: World, path: str) -> NDArray[np.float64]:
    answer = world.browser().get(path)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "audio/ogg"
    assert answer.headers["x-content-type-options"] == "nosniff"
    signal, rate = soundfile.read(io.BytesIO(answer.content))
    assert rate == 44100
    return np.asarray(signal, dtype=np.float64)


def status(world: World, path: str, name: str | None = None) -> int:
    return int(world.program(name).get(path).status_code)


@pytest.mark.slow
def test_each_track_is_heard_and_seen(opened: World) -> None:
    entry = opened.scored("ann", content(), "open", visibility="public")
    page = opened.browser().get(f"/entries/{entry}").text
    for index, seed in ((0, 0), (1, 1)):
        place = f"/entries/{entry}/tracks/{index}"
        for name in shown_tracks.files(STEMS):
            assert f'src="{place}/{name}"' in page
            assert status(opened, f"{place}/{name}") == 200
        reference = audio.noise(FRAMES, seed=seed)
        # Vorbis leaves out the highest frequencies, so by far most of it is to be there, and not all.
        for name, gain in (
            ("mixture", 4.0),
            ("bass-reference", 1.0),
            ("bass-estimate", 0.9),
            ("bass-error", 0.1),
        ):
            signal = heard(opened, f"{place}/{name}.ogg")
            assert signal.shape == reference.shape
            rms = np.sqrt(np.mean(signal**2)) / np.sqrt(np.mean(reference**2))
            assert rms == pytest.approx(gain, rel=0.35), name
            assert np.corrcoef(signal.ravel(), reference.ravel())[0, 1] > 0.5, name
    picture = opened.browser().get(f"/entries/{entry}/tracks/0/bass-error.png")
    assert picture.headers["content-type"] == "image/png"
    part = opened.browser().get(f"/entries/{entry}/tracks/0/mixture.ogg", headers={"Range": "bytes=0-3"})
    assert (part.status_code, part.content) == (206, b"OggS"), "so that players can seek"


@pytest.mark.slow
def test_of_hidden_references_nothing_is_made_and_nothing_is_shown(opened: World) -> None:
    hidden = opened.scored("ann", estimates(stems=STEMS), visibility="public")
    assert not (opened.settings.entry_folder(hidden) / shown_tracks.FOLDER).exists()
    entry = opened.scored("ann", content(), "open", visibility="public")
    with opened.database.writing() as session:
        session.execute(update(Benchmark).values(is_open=False))
    assert (opened.settings.entry_folder(entry) / shown_tracks.FOLDER / "0" / "mixture.ogg").is_file()
    for number in (hidden, entry):
        assert "<audio" not in opened.browser().get(f"/entries/{number}").text
        for name in shown_tracks.files(STEMS):
            assert status(opened, f"/entries/{number}/tracks/0/{name}", "ann") == 404


@pytest.mark.slow
def test_who_may_not_see_an_entry_does_not_hear_it(opened: World) -> None:
    entry = opened.scored("ann", content(), "open")
    path = f"/entries/{entry}/tracks/0/bass-error.ogg"
    assert [status(opened, path, name) for name in (None, "bob", "ann")] == [404, 404, 200]
    for other in ("../../task.json", "..%2F..%2Ftask.json", "drums-error.ogg", "bass-error.js", "bass-error"):
        assert status(opened, f"/entries/{entry}/tracks/0/{other}", "ann") == 404
    assert status(opened, f"/entries/{entry}/tracks/7/bass-error.ogg", "ann") == 404
    assert status(opened, f"/entries/{entry}/tracks/-1/bass-error.ogg", "ann") == 404
    opened.program("ann").delete(f"/api/v1/entries/{entry}")
    assert status(opened, path, "ann") == 404, "nor one that was withdrawn"


def test_private_tracks_and_very_long_ones_are_not_among_them() -> None:
    def track(part: str, seconds: int) -> dict[str, object]:
        return {"part": part, "frames": seconds * 44100, "rate_hz": 44100}

    tracks = [track("public", 700), track("private", 10), track("public", 10), *[track("public", 60)] * 9]
    assert shown_tracks.chosen(tracks, "public") == [2, 3, 4, 5, 6, 7]
    assert shown_tracks.chosen(tracks, "private") == [1]


@pytest.mark.thorough
@pytest.mark.parametrize(
    "written",
    [
        b"<script>",
        pytest.param(None, marks=pytest.mark.slow),
        pytest.param(b"OggS" + bytes(1 << 20), marks=pytest.mark.slow),
    ],
)
def test_what_cannot_be_shown_costs_no_score(
    opened: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, written: bytes | None
) -> None:
    """A child that writes another kind of file, no file, or a longer one than there can be."""
    monkeypatch.setenv("SDX_SANDBOX_WITHOUT", "namespaces,cgroup")  # so that its folder is one of ours
    monkeypatch.setattr(judging, "SPARE_BYTES", 1 << 18)
    ask = judging.Judge._ask

    def asked(judge: judging.Judge, request: dict[str, object], seconds: float) -> object:
        answer = ask(judge, request, seconds)
        if request["op"] == "show":
            sounds = judge._workplace.predictions / "mixture.ogg"
            sounds.unlink()
            if written is not None:
                sounds.write_bytes(written)
        return answer

    monkeypatch.setattr(judging.Judge, "_ask", asked)
    entry = opened.scored("ann", content(), "open", visibility="public")
    assert opened.show(None, entry)["means"]["public"]["sdr"]["bass"] == 20.0
    assert "track 0 is not shown" in caplog.text
    assert "<audio" not in opened.browser().get(f"/entries/{entry}").text
    assert not list((opened.settings.entry_folder(entry) / shown_tracks.FOLDER).iterdir())
