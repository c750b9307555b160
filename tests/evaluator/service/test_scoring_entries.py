"""From files that were uploaded to scores: those of `run_eval.py --predictions`, whatever way the files came."""

import io
import json
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
from sqlalchemy import select

from evaluator.commands import evaluate
from evaluator.running import dataset, parts
from evaluator.service import organising
from evaluator.service.jobs import MOST_ATTEMPTS
from evaluator.service.judging import Judge
from evaluator.service.tables import Entry, TrackScore
from evaluator.service.worker import task_of
from tests.evaluator import audio, known_data
from tests.evaluator.service.world import FRAMES, World, estimates, sound, zipped


def shown(world: World, entry: int) -> dict[str, float]:
    found = world.show("ann", entry)
    assert found["state"] == "done", found
    return dict(found["means"]["public"]["sdr"])


def test_the_scores_are_those_of_run_eval(world: World, tmp_path: Path) -> None:
    files = estimates(0.8)
    entry = world.scored("ann", files)
    folder = tmp_path / "given"
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    result = tmp_path / "result.json"
    assert (
        evaluate.main(["--predictions", str(folder), "--data", str(world.data), "--json", str(result)]) == 0
    )
    expected = json.loads(result.read_text())["score"]
    assert shown(world, entry) == {stem: round(value, 2) for stem, value in expected.items()}
    with world.database.reading() as session:
        found = session.scalars(select(TrackScore).where(TrackScore.entry_id == entry)).all()
    tracks = {track["name"]: track["sdr"] for track in json.loads(result.read_text())["tracks"]}
    assert {(row.track, row.stem): row.value for row in found} == {
        (track, stem): pytest.approx(value, abs=1e-9)
        for track, scores in tracks.items()
        for stem, value in scores.items()
    }


@pytest.mark.slow
def test_a_zip_a_zipped_folder_and_files_are_the_same_entry(world: World) -> None:
    files = estimates(0.7)
    in_folders = {f"{name.split('_')[0]}/{name.split('_')[1]}": content for name, content in files.items()}
    given: list[dict[str, bytes]] = [
        files,
        {"mine.zip": zipped(files)},
        {"mine.zip": zipped({f"folder/{name}": content for name, content in files.items()})},
        {"mine.zip": zipped(in_folders)},
    ]
    numbers = [world.scored("ann", each) for each in given]
    with world.database.reading() as session:
        found = [session.get_one(Entry, number) for number in numbers]
    assert len({entry.content_sha256 for entry in found}) == 1
    assert [entry.is_counted for entry in found] == [True, False, False, False], "the same bytes cost nothing"
    assert all(shown(world, number) == shown(world, numbers[0]) for number in numbers)


@pytest.mark.slow
def test_flac_is_scored_as_wav_is(world: World) -> None:
    one = world.scored("ann", estimates(0.7))
    other = world.scored("ann", estimates(0.7, container="FLAC"))
    assert shown(world, one) == shown(world, other)


@pytest.mark.thorough
def test_some_of_the_stems_are_scored_without_a_mean(world: World) -> None:
    entry = world.scored("ann", estimates(stems=("vocals",)))
    assert set(shown(world, entry)) == {"vocals"}


@pytest.mark.thorough
def test_what_does_not_fit_is_refused_by_name_and_costs_nothing(world: World) -> None:
    wrong = {
        "a_bass.wav": (sound(audio.noise(1501)), "length in samples 1501, expected 1500"),
        "a_drums.wav": (sound(audio.noise(1500), rate=48000), "sample rate 48000, expected 44100"),
        "a_other.wav": (sound(audio.noise(1500, channels=3)), "channels 3, expected 2"),
        "a_vocals.wav": (b"RIFF" + bytes(3000), "RIFF, but not WAVE"),
        "b_bass.wav": (sound(audio.noise(2000))[:-100], "cut short, 7900 of 8000 bytes of samples"),
    }
    files = estimates() | {name: content for name, (content, _) in wrong.items()}
    for given in (files, {"mine.zip": zipped(files)}):
        entry = world.scored("ann", given)
        found = world.show("ann", entry)
        assert found["state"] == "refused"
        assert found["problems"] == [f"{name}: {problem}" for name, (_, problem) in wrong.items()]
        assert not world.settings.entry_folder(entry).exists()
    left = world.program("ann").get("/api/v1/benchmarks/bench").json()["scores_left"]
    assert left == {"today": 5, "in_all": 100}


@pytest.mark.thorough
@pytest.mark.parametrize(("value", "expected"), [(np.nan, "NaN"), (1e15, "far beyond full scale")])
def test_what_no_header_shows_is_refused_when_it_is_scored(world: World, value: float, expected: str) -> None:
    files = {**estimates(), "a_bass.wav": sound(np.full((1500, 2), value), subtype="FLOAT")}
    found = world.show("ann", world.scored("ann", files))
    assert found["state"] == "refused"
    assert expected in found["problems"][0]


@pytest.mark.thorough
def test_what_is_missing_is_said_file_by_file(world: World) -> None:
    files = estimates()
    del files["a_bass.wav"], files["b_drums.wav"]
    entry = world.scored("ann", files)
    assert world.show("ann", entry)["problems"] == [
        "a_bass.wav: missing (or the same as .flac)",
        "b_drums.wav: missing (or the same as .flac)",
    ]


@pytest.mark.thorough
def test_scoring_happens_behind_the_walls_of_the_sandbox(world: World, tmp_path: Path) -> None:
    entry = world.uploaded("ann", estimates())
    with world.database.reading() as session:
        task = task_of(session, session.get_one(Entry, entry))
    folder = world.settings.entry_folder(entry)
    task.write(folder / "task.json")
    with Judge(folder, task, tmp_path / "work") as judge:
        walls = judge.isolation
    if not walls.references_hidden:
        pytest.skip("this system has no namespaces; SECURITY.md says so")
    assert walls.open_promises() == ()
    assert walls.memory is not None


@pytest.mark.slow
def test_a_system_without_namespaces_scores_the_same_and_says_so(
    world: World, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    files = estimates(0.7, ("bass",))
    usual = shown(world, world.scored("ann", files))
    monkeypatch.setenv("SDX_SANDBOX_WITHOUT", "namespaces,cgroup")
    assert shown(world, world.scored("ann", {"mine.zip": zipped(files)})) == usual
    assert "not held on this system: the network could not be cut off" in caplog.text
    assert not list((world.settings.root / "work").rglob("*.wav"))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["silent", "mixture"])
def test_what_reads_single_tracks_through_a_mean_is_held_back(world: World, kind: str) -> None:
    files = estimates()
    level = 0.0 if kind == "silent" else 4.0
    files["a_vocals.wav"] = sound(level * audio.noise(FRAMES["a"], seed=0))
    entry = world.scored("ann", files, visibility="public")
    assert world.show("ann", entry)["means"] is None
    assert world.show("ann", entry)["held_back"]
    world.token("eve", "organiser")
    assert world.signed_in("eve").get(f"/api/v1/entries/{entry}").json()["means"]["public"]["sdr"]
    rows = world.program(None).get("/api/v1/leaderboards/bench").json()["rows"]
    assert rows == []


def test_data_that_has_changed_is_our_fault(world: World) -> None:
    audio.write_music(world.data, {"b": 1000})
    entry = world.scored("ann", estimates())
    assert world.show("ann", entry)["state"] == "queued"
    for _ in range(2):
        world.seconds += 60
        assert world.worker().work_once()
    found = world.show("ann", entry)
    assert found["state"] == "failed"
    assert "no fault of the entry" in found["words"]
    assert "tried 3 times" in found["problems"][0]
    assert str(world.root) not in found["problems"][0]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["musdb18", "moisesdb"])
def test_references_that_are_no_plain_files(world: World, tmp_path: Path, kind: str) -> None:
    """What scores an entry reads streams of a file, and sums of files, as run_eval.py does."""
    if kind == "musdb18":
        data = known_data.write_musdb18(tmp_path / "odd")
    else:
        data = known_data.write_moisesdb(tmp_path / "odd", {"one": known_data.song()})
    world.add("odd", data)
    (track,) = dataset.load(data).tracks
    files = {}
    for stem, part in track.references.items():
        content = io.BytesIO()
        soundfile.write(content, parts.read(part) * 0.9, track.rate_hz, format="WAV", subtype="FLOAT")
        files[f"{track.folder}_{stem}.wav"] = content.getvalue()
    entry = world.scored("ann", files, "odd")
    assert shown(world, entry)["mean"] == pytest.approx(20.0, abs=0.01)


@pytest.mark.thorough
def test_no_entry_is_scored_by_other_data_than_its_benchmark_was_made_of(world: World) -> None:
    """Of the same length, so that no header shows it; the entry is not to blame, and waits for the organiser."""
    worker = world.worker()
    first = world.uploaded("ann", estimates(0.9))
    assert world.submit("ann", first).status_code == 202
    assert worker.work_once()
    assert world.show("ann", first)["state"] == "done"
    reference = world.data / "a" / "bass.wav"
    content = reference.read_bytes()
    os.utime(reference)
    second = world.uploaded("ann", estimates(0.8))
    world.submit("ann", second)
    assert worker.work_once()
    assert world.show("ann", second)["state"] == "done", "another date alone changes nothing"
    reference.write_bytes(content[:-2] + b"\x12\x34")
    third = world.uploaded("ann", estimates(0.7))
    world.submit("ann", third)
    for _ in range(MOST_ATTEMPTS):
        assert worker.work_once()
        world.seconds += 60
    found = world.show("ann", third)
    assert found["state"] == "failed"
    assert "the benchmark's data is not as it was" in found["problems"][0]
    reference.write_bytes(content)
    with world.database.writing() as session:
        organising.decide(session, session.get_one(Entry, third), "retry", world.now())
    assert worker.work_once()
    assert world.show("ann", third)["state"] == "done"
