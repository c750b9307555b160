"""An estimator whose tracks are done by the workers of an engine (`worker_side`).

What a preset is, is still read here; neither its weights nor a GPU need be.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from evaluator.running import dataset, worker_data
from evaluator.running.dataset import Dataset, Track
from evaluator.tuning import worker_side
from evaluator.tuning.estimator import CACHE, Estimator, EstimatorError, PresetInfo, Question, Required
from evaluator.tuning.worker_side import Asked, Place, PresetText, Settings, WorkerAnswer
from sdx.engines import work
from sdx.engines.address import PATIENCE_SECONDS, SLOW_SECONDS, Address
from sdx.engines.engine import Answer, Engine, Needs, Refused, Worker
from sdx.engines.opening import open_engine
from sdx.engines.work import Stragglers, Task

T = TypeVar("T")

AUTO = "auto"
CHOICE = "the models' precision"  # the key of that piece of work


class Watcher:
    """Is told what happens, so that a command line can show it; does nothing itself."""

    def notice(self, text: str) -> None:
        """Something happened with the engine or its workers; a sentence."""

    def checking(self, done: int, tracks: int) -> None:
        """So many tracks have been hashed."""

    def working(self, workers: int, machines: int, done: int, tracks: int, pace: float) -> None:
        """Who is at work, and what is done, `pace` in tracks a second; told again and again."""


class EngineEstimator(Estimator):
    """An estimator whose `answers` come from an engine, which is opened when they are first asked for.

    only: the pattern by which the data's tracks were chosen. The rest is as in `Estimator`, for the workers; `cache`
    is a path of theirs, too. Where it is the default, each has its own.
    """

    def __init__(
        self, address: Address, only: str | None, cache: Path, limit_bytes: int, device: str, precision: str
    ) -> None:
        super().__init__(cache, limit_bytes)
        self.watcher = Watcher()
        self._address = address
        self._only = only
        self._cache = cache
        self._remote = Settings(
            None if cache == CACHE else str(cache.resolve()),
            limit_bytes,
            device,
            precision,
            is_kept=address.kind != "slurm",
        )
        self._engine: Engine | None = None
        self._hashes: dict[tuple[str, ...], str] = {}
        self._weights: dict[str, str] = {}
        self._precisions: dict[str, str] = {}
        self._asked: set[PresetText] = set()  # whose networks' precisions are known
        self._device: str | None = None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if self._engine is not None:
                self._engine.close()
        finally:
            super().__exit__(kind, error, trace)

    def require(
        self, preset: Path, precisions: Mapping[str, str] | None = None, chooses: bool = False
    ) -> Required:
        """Which weights a preset has here, that workers must have, too; nothing is known where they are not here."""
        try:
            found = super().require(preset, precisions, chooses)
        except EstimatorError:
            return Required({}, {})
        self._weights |= found.weights
        return found

    def where(self, info: PresetInfo) -> str:
        """On what the workers ran the models."""
        return self._device or super().where(info)

    def answers(
        self,
        data: Dataset,
        questions: Sequence[Question[T]],
        progress: Callable[[Track, int], None] = lambda track, question: None,
    ) -> list[list[T]]:
        """As those of `Estimator`, each track from a worker, in any order of time.

        Raises EngineError where nobody may do it, or nobody comes; EstimatorError for a track that three cannot do.
        """
        asked: Asked = [(PresetText.of(question.preset), question) for question in questions]
        if self._remote.precision == AUTO:
            self._choose_precisions([text for text, _ in asked])
        chosen = tuple(sorted(self._precisions.items()))
        tasks = [
            Task(track.name, (self._remote, self._place(data, track), asked, chosen), track.seconds)
            for track in data.tracks
        ]
        client = _Client(self, data, progress)
        self._complete(worker_side.answer_track, tasks, client)
        return [list(client.found[track.name].answers) for track in data.tracks]

    def unlike_the_others(self, value: WorkerAnswer) -> str | None:
        """Why a worker's answers are not taken: other weights, or another device, than those before; else None."""
        expected = {name: self._weights.get(name, found) for name, found in value.weights.items()}
        if (reason := worker_data.other_weights(expected, value.weights)) is not None:
            return reason
        if self._device not in (None, value.device):
            return f"runs models on {value.device}, expected {self._device}; say which by --device and --precision"
        self._weights |= value.weights
        self._device = value.device
        return None

    def require_unchanged(self, data: Dataset, track: Track) -> None:
        """EstimatorError where a track's files are no longer what they were when workers were told of them."""
        changed = worker_data.changed(data.path, track, self._place(data, track).sha256)
        if changed is not None:
            raise EstimatorError(f"{changed}; put it back, and run the command again")

    def _choose_precisions(self, texts: Sequence[PresetText]) -> None:
        """Have one worker say what "auto" is for each network; all others follow, so that it is one everywhere."""
        new = tuple(text for text in dict.fromkeys(texts) if text not in self._asked)
        if new:
            client = _Client(self, None, lambda track, question: None)
            self._complete(worker_side.choose_precisions, [Task(CHOICE, (self._remote, new))], client)
            self._precisions = {**client.found[CHOICE].precisions, **self._precisions}
            self._asked |= set(new)

    def _complete(
        self, function: Callable[..., WorkerAnswer | Refused], tasks: Sequence[Task], client: "_Client"
    ) -> None:
        if self._engine is None:
            self._engine = open_engine(self._address, self._cache, self.watcher.notice)
        work.complete(
            self._engine,
            function,
            tasks,
            client,
            Needs(gpus=self._address.option("gpus", 0)),
            self._address.option("patience", PATIENCE_SECONDS),
            Stragglers(seconds=self._address.option("slow", SLOW_SECONDS)),
        )

    def _place(self, data: Dataset, track: Track) -> Place:
        key = (track.name, *sorted(track.references))
        if key not in self._hashes:
            self._hashes[key] = dataset.track_hash(track)
            self.watcher.checking(len(self._hashes), len(data.tracks))
        path = str(data.path.resolve())
        skip_bad = bool(data.left_out)
        return Place(path, self._only, data.challenge.name, track.name, self._hashes[key], skip_bad)


class _Client:
    """Takes the workers' answers; a `work.Client`."""

    def __init__(
        self, runner: EngineEstimator, data: Dataset | None, progress: Callable[[Track, int], None]
    ) -> None:
        self._runner = runner
        self._data = data
        self._tracks = {} if data is None else {track.name: track for track in data.tracks}
        self._progress = progress
        self._began = time.monotonic()
        self._workers: Sequence[Worker] = ()
        self.found: dict[str, WorkerAnswer] = {}

    def answered(self, task: Task, answer: Answer) -> str | None:
        value: WorkerAnswer = answer.value
        if (reason := self._runner.unlike_the_others(value)) is None:
            self.found[task.key] = value
            self._show()
            for place in range(len(value.answers)):
                self._progress(self._tracks[task.key], place)
        return reason

    def changed(self, task: Task) -> str | None:
        """EstimatorError where the track is no longer what it was."""
        if (track := self._tracks.get(task.key)) is not None and self._data is not None:
            self._runner.require_unchanged(self._data, track)
        return None

    def gave_up(self, task: Task, reason: str) -> None:
        raise EstimatorError(f"{task.key}: {reason}")

    def notice(self, text: str) -> None:
        self._runner.watcher.notice(text)

    def watched(self, workers: Sequence[Worker], busy: Mapping[str, str]) -> None:
        self._workers = workers
        self._show()

    def _show(self) -> None:
        if self._tracks and self._workers:
            fit = [worker for worker in self._workers if worker.set_aside is None]
            pace = len(self.found) / max(time.monotonic() - self._began, 1)
            machines = len({worker.machine for worker in fit})
            self._runner.watcher.working(len(fit), machines, len(self.found), len(self._tracks), pace)
