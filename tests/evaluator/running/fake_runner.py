"""A runner that runs nothing, and jobs that it does."""

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import soundfile

from evaluator.isolation import folders
from evaluator.isolation.sandbox import Isolation, Limits, Outcome, Runner, Status, Workplace
from evaluator.running import dataset
from evaluator.running.job import Job
from evaluator.runs.records import DataInfo, Identity, Plan
from tests.evaluator import audio

PROVENANCE = {"preset": "mdx-c", "weights": [{"name": "a", "file": "a.th", "sha256": "ff"}]}


Work = Callable[[Workplace, str], Status]


class FakeRunner:
    """Answers as a submission would that does `work` with a track's folder name, and notes what it is asked."""

    def __init__(self, workplace: Workplace, work: Work) -> None:
        self._workplace = workplace
        self._work = work
        self.asked: list[str] = []
        self.rooms: list[int] = []
        self.limits: list[float | None] = []
        self.cancelled = threading.Event()

    @property
    def isolation(self) -> Isolation | None:
        return Isolation("fake", True, True, True, True, None, None, None)

    @property
    def predictions(self) -> int | Path:
        return self._workplace.predictions

    def start(self) -> Outcome:
        self.asked.append("start")
        return self._outcome("ok", PROVENANCE)

    def make_room(self, predictions_bytes: int, stage: Callable[[Path], object]) -> None:
        self.rooms.append(predictions_bytes)
        for folder in (self._workplace.mixtures, self._workplace.predictions):
            folders.remove(str(folder))
            folder.mkdir(parents=True)
        stage(self._workplace.mixtures)

    def separate(self, folder: str, limit_seconds: float | None) -> Outcome:
        self.asked.append(folder)
        self.limits.append(limit_seconds)
        return self._outcome(self._work(self._workplace, folder), {**PROVENANCE, "economies": [folder]})

    def close(self) -> None:
        self.asked.append("close")

    def cancel(self) -> None:
        self.cancelled.set()

    @staticmethod
    def _outcome(status: Status, provenance: Mapping[str, Any]) -> Outcome:
        return Outcome(status, None if status == "ok" else "because", 1.0, 1000, "log\n", provenance)


def write_perfect(workplace: Workplace, folder: str) -> Status:
    """Write a quarter of the mixture for every stem, which is the truth."""
    mixture, rate = soundfile.read(workplace.mixtures / folder / "mixture.wav")
    (workplace.predictions / folder).mkdir()
    for stem in ("bass", "drums", "other", "vocals"):
        soundfile.write(workplace.predictions / folder / f"{stem}.wav", mixture / 4, rate)
    return "ok"


JobMaker = Callable[..., tuple[Job, list[FakeRunner]]]


def job_maker(tmp_path: Path) -> JobMaker:
    """Makes a job on two tracks or more, a, b and so on, and the list into which its runners go."""

    def make(work: Work, tracks: int = 2, jobs: int = 1) -> tuple[Job, list[FakeRunner]]:
        frames = dict.fromkeys("abcdefgh"[:tracks], 1000)
        data = dataset.load(audio.write_music(tmp_path / "data", frames))
        plan = Plan(
            "music",
            Identity(str(tmp_path), None, None, "f" * 64, None),
            DataInfo(str(data.path), tracks, "d" * 64),
            Limits(),
            ("sdr",),
            "fake",
            jobs,
        )
        runners: list[FakeRunner] = []

        def make_runner(workplace: Workplace) -> Runner:
            runners.append(FakeRunner(workplace, work))
            return runners[-1]

        return Job(plan, data, tmp_path / "out", True, make_runner), runners

    return make
