"""An album over an engine: the files of `separate`, whoever made them, and a folder that says what is done."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from my_submission.__main__ import main
from my_submission.files import over_engine
from my_submission.files.inputs import Recording
from my_submission.files.journal import JOURNAL, sha256_of
from my_submission.files.model import ModelChoice, identity
from my_submission.files.options import FileOptions
from my_submission.files.placing import temporary_path
from my_submission.files.separate import separate_recording
from my_submission.files.workers import Event, Failed, Finished, ModelFailed, RunSettings
from sdx.engines import address, making
from sdx.engines.dispatcher import Piece
from sdx.engines.engine import Worker
from sdx.engines.held import HELD, EndedError, UnfitError
from sdx.engines.work import NobodyLeftError
from tests.my_submission.files_model import SHARES, KnownShares
from tests.sdx.engines.test_making import does
from tests.sdx.engines.test_work import MadeEngine

HERE = address.parse("local?workers=1")
WORKERS = (Worker("w1", "one"), Worker("w2", "two"))


class Album:
    """Three short recordings, and what is told of them while an engine's workers separate them in this process."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root = root
        self.out = root / "out"
        self.out.mkdir()
        self.monkeypatch = monkeypatch
        self.recordings = {}
        for seed, name in enumerate("abc"):
            samples = np.random.default_rng(seed).standard_normal((3000, 2)) * 0.1
            soundfile.write(root / f"{name}.wav", samples, 44100, subtype="FLOAT")
            self.recordings[Recording(root / f"{name}.wav")] = 1.0
        self.settings = RunSettings(ModelChoice("known"), FileOptions(), tuple(SHARES), self.out)
        self.hosts = iter(["one", "two"] * 10)
        self.address = HERE
        self.events: list[Event] = []
        self.told: list[str] = []
        monkeypatch.setattr(over_engine, "open_model", lambda choice: KnownShares())
        monkeypatch.setattr("socket.gethostname", lambda: next(self.hosts))
        monkeypatch.setattr("sdx.engines.work.LOOK_SECONDS", 0.0)
        monkeypatch.setattr("sdx.engines.work.NEWCOMER_SECONDS", 0.0)

    def separate(self, fate: Any = does, **changes: Any) -> list[Event]:
        self.monkeypatch.setattr(making, "open_engine", lambda *given: MadeEngine(fate, WORKERS))
        self.events, self.told = [], []
        settings = replace(self.settings, **changes)
        over_engine.separate_over(
            self.address, self.recordings, settings, self.events.append, self.told.append, lambda words: None
        )
        return self.events

    def finished(self) -> dict[str, bool]:
        """{recording: whether it was there already}."""
        found = [event for event in self.events if isinstance(event, Finished)]
        assert len({event.recording for event in found}) == len(found), "once"
        return {event.recording.source.name: event.result.skipped for event in found}


@pytest.fixture
def album(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Album]:
    HELD.let_go()
    yield Album(tmp_path, monkeypatch)
    HELD.let_go()


def test_the_files_are_those_of_separate_and_each_machine_notes_its_own(album: Album) -> None:
    album.separate()
    assert album.finished() == {"a.wav": False, "b.wav": False, "c.wav": False}
    here = album.root / "here"
    for recording in album.recordings:
        made = separate_recording(recording, here, KnownShares(), KnownShares().provenance(), FileOptions())
        for stem, file in made.files.items():
            there = album.out / file.relative_to(here)
            assert (soundfile.read(there)[0] == soundfile.read(file)[0]).all(), stem
    assert {path.name for path in album.out.glob(".*")} == {".separated-one.jsonl", ".separated-two.jsonl"}


@pytest.mark.parametrize("is_gone", [False, True])
@pytest.mark.parametrize("engine", ["local?workers=1", "dask://cluster:1"])
def test_a_recording_that_changes_meanwhile_is_no_fault_of_the_workers(
    engine: str, is_gone: bool, album: Album
) -> None:
    album.address = address.parse(engine)
    changed = list(album.recordings)[1].source

    def fate(engine: MadeEngine, worker: Worker, piece: Piece) -> None:
        changed.unlink(missing_ok=True)
        if not is_gone:
            changed.write_bytes(b"something else")
        does(engine, worker, piece)

    album.separate(fate)
    assert set(album.finished()) == {"a.wav", "c.wav"}
    (failed,) = [event for event in album.events if isinstance(event, Failed)]
    assert failed.reason == f"{changed}: changed, or gone, since the run began"
    assert album.told == []


def test_resume_finds_what_any_machine_has_done(album: Album) -> None:
    """Also what this machine did by itself before."""
    first = next(iter(album.recordings))
    separate_recording(first, album.out, KnownShares(), identity(KnownShares()), album.settings.options)
    assert (album.out / JOURNAL).is_file()
    album.separate()
    assert album.finished() == {"a.wav": True, "b.wav": False, "c.wav": False}
    album.separate()
    assert album.finished() == dict.fromkeys(("a.wav", "b.wav", "c.wav"), True)


def test_a_worker_that_dies_leaves_no_files_behind_and_what_it_had_finished_counts(album: Album) -> None:
    """One dies before anything, one when everything is written and nothing said."""
    deaths: list[str] = []

    def fate(engine: MadeEngine, worker: Worker, piece: Piece) -> None:
        if len(deaths) < 2 and piece.key.startswith("0001"):
            deaths.append(worker.name)
            if len(deaths) == 2:
                piece.function(*piece.arguments)
            else:
                errand = piece.arguments[2][0]
                left = temporary_path(album.out / "b" / "vocals.wav", f"{errand.run}-one-123")
                left.parent.mkdir()
                left.touch()
            engine.dies(worker)
        else:
            does(engine, worker, piece)

    album.separate(fate)
    assert album.finished() == {"a.wav": False, "b.wav": True, "c.wav": False}
    assert not list(album.out.rglob("*.part"))


def test_what_cannot_be_read_fails_alone(album: Album) -> None:
    (album.root / "b.wav").write_bytes(b"no sound")
    album.separate()
    (failure,) = [event for event in album.events if isinstance(event, Failed)]
    assert "b.wav" in failure.reason
    assert set(album.finished()) == {"a.wav", "c.wav"}


def test_a_worker_with_another_recording_or_another_model_makes_nothing(album: Album) -> None:
    def fate(engine: MadeEngine, worker: Worker, piece: Piece) -> None:
        if worker.name == "w1" and piece.key.startswith("0000"):
            errand, recording, _ = piece.arguments[2]
            other = over_engine.separate_one(errand, recording, "0" * 64)
            engine._done(worker.name, piece, other)
        elif piece.key.startswith("0002") and worker.name == "w1":
            raise AssertionError("it was set aside")
        else:
            does(engine, worker, piece)

    album.address = address.parse("dask://cluster:1")
    album.separate(fate)
    assert len(album.finished()) == 3
    assert any("has another recording" in text and ", expected 000000000000" in text for text in album.told)


def test_another_model_is_refused_with_both(album: Album) -> None:
    station = over_engine._Station(ModelChoice("known"))
    errand = over_engine.Errand(album.settings, {**station.identity, "weights": [{"sha256": "aa"}]}, "x")
    with pytest.raises(UnfitError, match=r"weights \[\], expected \[{'sha256': 'aa'}\]"):
        station.separate(errand, next(iter(album.recordings)), "")
    station.close()


def test_what_is_ended_before_a_recording_begins_leaves_no_files(album: Album) -> None:
    station = over_engine._Station(ModelChoice("known"))
    errand = over_engine.Errand(album.settings, station.identity, "x")
    recording = next(iter(album.recordings))
    station.cancel()
    with pytest.raises(EndedError):
        station.separate(errand, recording, sha256_of(recording.source))
    assert not list(album.out.iterdir())
    station.close()


def test_where_no_worker_has_the_model_the_reason_is_said(album: Album) -> None:
    def fails(choice: ModelChoice) -> KnownShares:
        raise ValueError("preset known: no weights")

    album.monkeypatch.setattr(over_engine, "open_model", fails)
    with pytest.raises(
        (NobodyLeftError, ModelFailed), match="cannot load the model: preset known: no weights"
    ):
        album.separate()


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--engine", "nowhere"], "found the kind nowhere, expected local?workers=N"),
        (["--engine", "local", "--jobs", "2"], "--jobs is for this machine alone"),
        (["--tls-ca", "file"], "go with --engine dask+tls://HOST:PORT"),
    ],
)
def test_what_cannot_be_is_one_sentence(
    words: list[str], reason: str, album: Album, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["separate", str(album.root), "-o", str(album.out / "new"), *words]) == 2
    assert reason in capsys.readouterr().err
    assert not (album.out / "new").exists()
