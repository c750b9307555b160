"""Our side of the child that scores (judge.py): start it in the sandbox, ask it, believe little of its answers."""

import os
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from evaluator import printable, schema, strict_json
from evaluator.isolation import view
from evaluator.isolation.limits import Isolation, Limits, effective_memory_bytes
from evaluator.isolation.process_runner import SUPERVISOR
from evaluator.isolation.sandbox import Cancelled, SandboxError, Session, Workplace
from evaluator.isolation.variables import THREAD_VARIABLES
from evaluator.isolation.worker_spec import PREDICTIONS, SCRATCH, WorkerSpec
from evaluator.locations import REPOSITORY
from evaluator.measures.catalogue import MEASURES
from evaluator.running.estimates import Folder, InvalidOutputError, opened_file
from evaluator.running.preparation import WITHOUT_VARIABLE
from evaluator.service import shown_tracks
from evaluator.service.task import INSTRUMENTAL, MOST_PROBLEMS, SENTENCE_CHARACTERS, Task

LIMITS = Limits(cpus=1, memory_bytes=4 << 30, scratch_bytes=64 << 20)
MOST_PROCESSES = 64
SPARE_BYTES, MOST_ENTRIES = 64 << 20, 256  # of the folder for a track's copies
GRACE_SECONDS = 1.0
LOOK_SECONDS, TRACK_SECONDS = 300.0, 120.0
PATIENCE = 40.0  # seconds for a second of a stem, by measure: BSS Eval takes half of one, the others far less
SAMPLE_BYTES = 8
# Of what is asked at once: each question and its answer go through several processes, all of which wait their turn.
CHECKED_FILES, CHECKED_SECONDS = MOST_PROBLEMS, 1200.0
SCORED_VALUES, SCORED_SECONDS = 500, 60.0
NONSENSE = "the process that scores answered what nobody asked for"
PASSED_ON = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "TZ")

Sentence = Annotated[str, Field(max_length=4000)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class JudgeError(Exception):
    """The child could not do its work: it ended, took too long, or answered nonsense. Not the entry's fault.

    detail: for the organiser, since it may name our files.
    """

    def __init__(self, sentence: str, detail: str = "") -> None:
        super().__init__(sentence)
        self.detail = detail


class NotStartedError(JudgeError):
    """The child could not be started at all: nothing is known of the entry."""


class LostJobError(Exception):
    """The job is not ours any more; nothing went wrong."""


class RefusedEntry(Exception):  # noqa: N818 (not a fault of ours)
    """The entry cannot be scored; `problems` says why, in sentences for its owner."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


Measures = dict[str, dict[str, Annotated[float, Field(allow_inf_nan=False)] | None]]
"""{measure: {stem: value}} of a track."""
Odd = dict[str, str]
"""{stem: "silent" or "mixture"} of a track."""


class _Answer(BaseModel):
    """What the child may say."""

    model_config = ConfigDict(strict=True, extra="forbid")
    problems: Annotated[list[Sentence], Field(max_length=MOST_PROBLEMS)] = []
    number: Annotated[int, Field(ge=0)] = 0
    stems: list[str] = []
    sha256: list[dict[str, Sha256]] = []
    scores: list[Measures] = []
    odd: list[Odd] = []


def seconds_of(track: Mapping[str, Any]) -> float:
    """How long a track of a benchmark's table is."""
    return float(track["frames"]) / float(track["rate_hz"])


def batches(
    tracks: Sequence[Mapping[str, Any]], answers: int, most_answers: int, most_seconds: float
) -> Iterator[list[int]]:
    """The numbers of all tracks, in order, as many at once as there may be: one at least.

    answers: how many each track has.
    """
    batch: list[int] = []
    seconds = 0.0
    for index, track in enumerate(tracks):
        if batch and (
            (len(batch) + 1) * answers > most_answers or seconds + seconds_of(track) > most_seconds
        ):
            yield batch
            batch, seconds = [], 0.0
        batch.append(index)
        seconds += seconds_of(track)
    if batch:
        yield batch


def files_at_once(task: Task, stems: Collection[str]) -> int:
    """How many files the child has at most while it scores a track: copies of all stems, and one that is unpacked.

    While the instrumental is derived, what it is made of is there once more.
    """
    others = set(stems) - {INSTRUMENTAL}
    is_derived = task.derives and INSTRUMENTAL in stems  # unless it was uploaded, which costs nothing here
    return len(stems) + 1 + (len(task.parts(others)) if is_derived else 0)


class Judge:
    """The child of one entry: a context manager, since it must not outlive its job.

    Every method raises RefusedEntry for what is the entry's fault and JudgeError for all else.
    """

    def __init__(self, entry: Path, task: Task, workplace: Path) -> None:
        self._task = task
        self._entry = entry
        self._workplace = Workplace(workplace)
        self._session: Session | None = None

    def __enter__(self) -> Self:
        try:
            self._session = Session(SUPERVISOR, self._spec())
            described = self._session.expect("isolation", SUPERVISOR.start_seconds)
        except (SandboxError, OSError) as error:
            self.close()
            raise NotStartedError("the process that scores could not be started", str(error)) from None
        self.isolation = Isolation(SUPERVISOR.runner, **described)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the child."""
        if self._session is not None:
            session, self._session = self._session, None
            session.end(GRACE_SECONDS)

    def cancel(self) -> None:
        """From another thread: have whatever is asked of the child raise LostJobError."""
        if (session := self._session) is not None:
            session.cancel()

    def look(self) -> list[str]:
        """The stems that there are files of."""
        self._make_room(SPARE_BYTES)
        stems = self._ask({"op": "look"}, LOOK_SECONDS).stems
        if not stems or not set(stems) <= set(self._task.stems):
            raise JudgeError(NONSENSE, f"stems {schema.found(stems)}")
        return stems

    def check(self, tracks: Sequence[int], stems: list[str]) -> list[dict[str, str]]:
        """The SHA-256 of each file by stem, of each of these tracks, whose headers fit."""
        if self._task.zip:  # else nothing is copied
            self._make_room(max(map(self._bytes, tracks)))
        found = self._ask({"op": "check", "tracks": tracks}, self._seconds(tracks, stems, 1)).sha256
        if [set(each) for each in found] != [set(stems)] * len(tracks):
            raise JudgeError(NONSENSE, f"checked stems {schema.found([sorted(each) for each in found])}")
        return found

    def score(self, tracks: Sequence[int], stems: list[str]) -> list[tuple[Measures, Odd]]:
        """The measures of each of these tracks, and which stems are silent or the mixture itself."""
        largest = max(map(self._bytes, tracks))
        self._make_room(files_at_once(self._task, stems) * largest)  # it counts as memory once it is written
        seconds = self._seconds(tracks, stems, len(self._task.measures))
        answer = self._ask({"op": "score", "tracks": tracks}, seconds)
        if not len(answer.scores) == len(answer.odd) == len(tracks):
            raise JudgeError(NONSENSE, "scores of other tracks than it was asked for")
        found = list(zip(answer.scores, answer.odd, strict=True))
        for scores, odd in found:
            self._require_possible(scores, odd, stems)
        return found

    def show(self, index: int, stems: list[str], target: Path) -> None:
        """Write what is heard and seen of a track into an empty folder; the entry was scored before."""
        most = self._bytes(index)  # of a file
        with self._room(2 * (len(stems) + 1) * most) as folder:
            self._ask({"op": "show", "track": index}, self._seconds([index], stems, 1))
            for name in shown_tracks.files(stems):
                (target / name).write_bytes(_content(folder, name, most))

    def _require_possible(self, scores: Measures, odd: Odd, stems: list[str]) -> None:
        values = [
            MEASURES[name].can_be(value)
            for name, found in scores.items()
            if name in MEASURES
            for value in found.values()
        ]
        complete = set(scores) == set(self._task.measures) and all(
            set(found) == set(stems) for found in scores.values()
        )
        is_odd = set(odd) <= set(stems) and set(odd.values()) <= {"silent", "mixture"}
        if not (complete and is_odd and all(values)):
            raise JudgeError(NONSENSE, "other scores than it was asked for")

    def _bytes(self, index: int) -> int:
        """What a file of a track may take, with some to spare."""
        track = self._task.tracks[index]
        return int(track["frames"]) * int(max(track["channels"])) * SAMPLE_BYTES + SPARE_BYTES

    def _seconds(self, tracks: Sequence[int], stems: list[str], measures: int) -> float:
        seconds = sum(seconds_of(self._task.tracks[index]) for index in tracks)
        return TRACK_SECONDS + PATIENCE * measures * len(stems) * seconds

    def _make_room(self, size_bytes: int) -> None:
        with self._room(size_bytes):
            pass

    @contextmanager
    def _room(self, size_bytes: int) -> Iterator[Folder]:
        """An empty folder for copies, which the child has, too; it is the child's alone when this is left."""
        try:
            room = self._running().make_room(size_bytes, MOST_ENTRIES)
        except Cancelled:
            raise LostJobError from None
        except (SandboxError, OSError) as error:
            raise JudgeError("the process that scores was lost", str(error)) from None
        if room is None:
            yield self._workplace.predictions
            return
        try:
            yield room.predictions
        finally:
            room.close()

    def _running(self) -> Session:
        if self._session is None:
            raise JudgeError("the process that scores was ended")
        return self._session

    def _ask(self, request: Mapping[str, Any], limit_seconds: float) -> _Answer:
        session = self._running()
        try:
            session.send(request)
            event = session.next_event({"worker", "exited", "broken"}, limit_seconds)
            if event is not None and event["event"] == "worker":
                session.next_event({"frozen", "exited"}, GRACE_SECONDS + LOOK_SECONDS)
        except Cancelled:
            raise LostJobError from None
        except SandboxError as error:
            raise JudgeError("the process that scores was lost", str(error)) from None
        if event is None:
            raise JudgeError(
                f"the process that scores took longer than {limit_seconds:.0f} s to {request['op']}"
            )
        if event["event"] != "worker":
            said = printable.plain(session.log.take()[-1500:], 1500)
            why = "ran out of memory" if event.get("out_of_memory") else "ended"
            raise JudgeError(f"the process that scores {why}", said)
        return _parsed(event["line"])

    def _spec(self) -> WorkerSpec:
        kept = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        own = [
            REPOSITORY / name for name in ("evaluator", "sdx")
        ]  # an installed kit has the latter elsewhere
        shown = [*filter(Path.is_dir, own), Path(self._task.folder)]
        return WorkerSpec(
            command=[
                *(sys.executable, "-P", "-m", "evaluator.service.judge", str(self._entry), PREDICTIONS),
            ],
            environment={
                **kept,
                **dict.fromkeys(THREAD_VARIABLES, "1"),
                **dict.fromkeys(("HOME", "TMPDIR", "TEMP", "TMP"), SCRATCH),
                "PYTHONPATH": str(REPOSITORY),
                "PYTHONDONTWRITEBYTECODE": "1",
            },
            folder=str(self._entry),
            view=view.of_submission(self._entry, shown, [], REPOSITORY, gpu=False),
            mixtures=str(self._workplace.mixtures),
            shared=str(self._workplace.shared),
            scratch=str(self._workplace.scratch),
            temporary=str(self._workplace.root),
            cpus=None,
            cpu_quota=LIMITS.cpus,
            memory_bytes=effective_memory_bytes(LIMITS),
            scratch_bytes=LIMITS.scratch_bytes,
            max_processes=MOST_PROCESSES,
            without=[name for name in os.environ.get(WITHOUT_VARIABLE, "").split(",") if name],
        )


def _content(folder: Folder, name: str, most_bytes: int) -> bytes:
    """A file that the child wrote, which must look like what it was asked for."""
    try:
        with opened_file(folder, name) as file:
            content = file.read(most_bytes + 1)
    except InvalidOutputError as error:
        raise JudgeError(NONSENSE, str(error)) from None
    _, beginning = shown_tracks.KINDS[Path(name).suffix]
    if len(content) > most_bytes or not content.startswith(beginning):
        raise JudgeError(NONSENSE, f"{name}: {len(content)} bytes that are no such file")
    return content


def _parsed(line: str) -> _Answer:
    """The answer in a line; RefusedEntry if it lists problems."""
    try:
        answer = _Answer.model_validate(strict_json.loads_object(line))
    except (strict_json.JsonError, ValidationError) as error:
        raise JudgeError(NONSENSE, printable.plain(str(error))) from None
    if answer.problems:
        more = answer.number - len(answer.problems)
        told = [printable.plain(sentence, SENTENCE_CHARACTERS) for sentence in answer.problems]
        raise RefusedEntry([*told, *([f"and {more} more"] if more > 0 else [])])
    return answer
