"""Runs with audio for the report page, scored but never separated: every estimate is a known blend."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import soundfile

from evaluator.challenge import MUSIC
from evaluator.running import dataset, scoring
from evaluator.runs import entries, results
from evaluator.runs.entries import Entry
from tests.evaluator import made_results
from tests.evaluator.audio import RATE_HZ, write_track

PITCHES_HZ = {"bass": 110.0, "drums": 2000.0, "other": 440.0, "vocals": 660.0}


def write_data(root: Path, names: tuple[str, ...], seconds: float) -> Path:
    """Tracks whose stems are sines, each of its own frequency."""
    time = np.arange(int(seconds * RATE_HZ)) / RATE_HZ
    for name in names:
        stems = {
            stem: np.stack([0.2 * np.sin(2 * np.pi * hertz * time)] * 2, axis=1)
            for stem, hertz in PITCHES_HZ.items()
        }
        write_track(root / name, {**stems, "mixture": sum(stems.values(), np.zeros((len(time), 2)))})
    return root


def make_run(folder: Path, names: tuple[str, ...], seconds: float, log: str = "a line\n") -> Entry:
    """A run in `folder`/run on such tracks; each estimate is its reference and a tenth of the others."""
    data = dataset.load(write_data(folder / "data", names, seconds))
    given: dict[str, made_results.Given] = {}
    for track in data.tracks:
        references = {stem: soundfile.read(path)[0] for stem, path in track.references.items()}
        estimates = folder / "run" / "estimates" / track.folder
        estimates.mkdir(parents=True)
        for stem in MUSIC.stems:
            others = sum((references[other] for other in MUSIC.stems if other != stem), np.zeros(1))
            soundfile.write(estimates / f"{stem}.wav", references[stem] + 0.1 * others, track.rate_hz)
        scores = scoring.score_track(track, estimates, ["sdr"])["sdr"]
        given[track.name] = {stem: float(value) for stem, value in scores.items() if value is not None}
        logs = folder / "run" / "logs"
        logs.mkdir(exist_ok=True)
        (logs / f"{track.folder}.log").write_text(log)
    made = made_results.result(given, data_hash=dataset.content_hash(data.tracks))
    plan = replace(made.plan, data=replace(made.plan.data, path=str(folder / "data")))
    result = replace(made, plan=plan)
    results.write(folder / "run" / "result.json", result.to_json())
    return entries.make_entry(result, folder / "run")
