"""What the child that scores is asked at once."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from evaluator.challenge import of_stems
from evaluator.isolation import supervisor
from evaluator.running import dataset, estimates
from evaluator.service import deriving, judge
from evaluator.service.judging import RefusedEntry, _parsed, batches, files_at_once
from evaluator.service.task import SENTENCE_CHARACTERS, TASK_FILE, Task
from tests import thinned
from tests.evaluator import audio
from tests.evaluator.service.world import sound, zipped


@pytest.mark.parametrize("measures", [["sdr"], ["bss_eval_sdr"]])  # one stem at a time, or all together
@pytest.mark.parametrize("is_zip", [False, True])
@pytest.mark.parametrize(
    ("stems", "given"),
    thinned.one_in(
        4,
        [
            (("instrumental", "vocals"), ("vocals",)),
            (("bass", "drums", "instrumental", "other"), ("bass", "drums", "other")),
            (("bass", "drums", "instrumental", "other", "vocals"), ("bass", "drums", "other", "vocals")),
            (("instrumental", "vocals"), ("instrumental", "vocals")),
        ],
    ),
)
def test_there_is_room_for_all_files_that_are_there_at_once(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stems: tuple[str, ...],
    given: tuple[str, ...],
    is_zip: bool,
    measures: list[str],
) -> None:
    """A track of samples in the widest format needs all of the room that is asked for."""
    data = audio.write_stems(tmp_path / "data", stems, ("one",))
    loaded = dataset.load(data, wanted=of_stems(stems))
    tracks = [
        {"name": track.name, "frames": track.frames, "rate_hz": track.rate_hz} for track in loaded.tracks
    ]
    files = {f"one_{stem}.wav": sound(0.5 * audio.noise(20000), subtype="DOUBLE") for stem in given}
    entry, room = tmp_path / "entry", tmp_path / "room"
    entry.mkdir()
    room.mkdir()
    for name, content in {"x": zipped(files)}.items() if is_zip else files.items():
        (entry / name).write_bytes(content)
    names = {"x": "x.zip"} if is_zip else {name: name for name in files}
    task = Task(str(data), stems, tracks, measures, names, "x" if is_zip else "", derives=True)
    task.write(entry / TASK_FILE)
    most = 0

    def look(function: Any) -> Any:
        def looked(*arguments: Any) -> Any:
            nonlocal most
            found = function(*arguments)
            most = max(most, sum(path.is_file() for path in room.rglob("*")))
            return found

        return looked

    for module, name in (
        (estimates, "keep"),
        (deriving, "minus_vocals"),
        (deriving, "sum_of"),
    ):
        monkeypatch.setattr(module, name, look(getattr(module, name)))
    monkeypatch.setattr(judge, "_scores", lambda track, copies, measures: {})
    monkeypatch.setattr(judge, "_oddity", lambda *arguments: None)
    judge.Judge(entry, room).answer({"op": "score", "tracks": [0]})
    assert 0 < most <= files_at_once(task, sorted({*given, *task.derived(given)}))


def tracks(*seconds: float) -> list[Mapping[str, Any]]:
    return [{"frames": 100 * each, "rate_hz": 100} for each in seconds]


@pytest.mark.parametrize(
    ("seconds", "answers", "expected"),
    [
        ((10, 10, 10), 1, [[0, 1, 2]]),
        ((30, 30, 30), 1, [[0, 1], [2]]),  # 60 s at once
        ((10, 90, 10), 1, [[0], [1], [2]]),  # one that is longer has to be asked for, too
        ((10, 10, 10), 4, [[0, 1], [2]]),  # 8 answers at once
        ((10, 10), 9, [[0], [1]]),
        ((), 1, []),
    ],
)
def test_as_much_is_asked_at_once_as_may_be(
    seconds: tuple[float, ...], answers: int, expected: list[list[int]]
) -> None:
    assert list(batches(tracks(*seconds), answers, 8, 60.0)) == expected


@pytest.mark.parametrize("sentence", [400 * "x", 400 * "漢", 400 * "🎵", 5000 * "x", "short"])
@pytest.mark.parametrize("number", [1, 100, 1000])
def test_problems_are_told_as_far_as_they_go_through(sentence: str, number: int) -> None:
    """Names are the sender's, of any length: an answer that is cut would count as a fault of ours."""
    line = json.dumps(judge._problems(number * [sentence]))
    assert len(line) < supervisor.LINE_BYTES
    with pytest.raises(RefusedEntry) as raised:
        _parsed(line)
    told = raised.value.problems
    assert told[0] == sentence[:SENTENCE_CHARACTERS]
    assert len(told) == number or told[-1] == f"and {number - len(told) + 1} more"
