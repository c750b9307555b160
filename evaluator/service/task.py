"""What the child that scores is told of an entry: a file in the entry's folder, written by the service."""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from evaluator import printable
from evaluator.running.dataset import Dataset, Track
from evaluator.running.predictions import Survey
from evaluator.runs import results
from evaluator.service.benchmark_data import load_data

INSTRUMENTAL, VOCALS = "instrumental", "vocals"
TASK_FILE = "task.json"
MOST_PROBLEMS = 100  # that are told at once
SENTENCE_CHARACTERS = 600
SHOWN_CHARACTERS = 300


@dataclass(frozen=True)
class Task:
    """An entry and the data it is for.

    names: {name of ours in the entry's folder: name as it was given}; zip: the one of them that holds all, or "".
    tracks: as the benchmark's table has them. derives: whether the instrumental is, where there is none.
    """

    folder: str
    stems: Sequence[str]
    tracks: Sequence[Mapping[str, Any]]
    measures: Sequence[str]
    names: Mapping[str, str]
    zip: str = ""
    derives: bool = False

    def write(self, path: Path) -> None:
        """Keep it in a file."""
        results.write(path, asdict(self))

    @classmethod
    def read(cls, path: Path) -> "Task":
        """The inverse of `write`."""
        return cls(**json.loads(path.read_text(encoding="utf-8")))

    def load_data(self) -> Dataset:
        """The data; DataError if it is not as it was."""
        return load_data(self.folder, self.stems, self.tracks)

    def derived(self, stems: Collection[str]) -> tuple[str, ...]:
        """The stems that are derived from these, which were uploaded: the instrumental, or none."""
        others = set(self.stems) - {INSTRUMENTAL}
        can = VOCALS in stems or (others and others <= set(stems))
        wanted = self.derives and INSTRUMENTAL in self.stems and INSTRUMENTAL not in stems
        return (INSTRUMENTAL,) if wanted and can else ()

    def parts(self, given: Collection[str]) -> tuple[str, ...]:
        """The stems that the instrumental is derived from: the vocals, which the mixture is without, or all."""
        return (VOCALS,) if VOCALS in given else tuple(given)

    def settle(self, survey: Survey) -> tuple[list[str], list[str]]:
        """The stems of an entry by its names, and what is wrong with these: none, strangers, missing, double."""
        stems = sorted(survey.stems & set(self.stems))
        problems = [
            f"{printable.plain('/'.join(parts))}: extra; it is named after no track of the data"
            for parts in survey.strangers
        ]
        problems += [
            f"{printable.plain('/'.join(parts))}: extra; found the stem {printable.plain(stem)}, expected one of"
            f" {', '.join(self.stems)}"
            for (_, stem), several in survey.files.items()
            if stem not in self.stems
            for parts in several
        ]
        if not stems and not problems:
            example = self.tracks[0]["folder"]
            problems.append(
                f"no file of an estimate; expected TRACK_STEM.wav (or .flac), such as {example}_{self.stems[0]}.wav"
            )
        for track in self.tracks:
            for stem in stems:
                several = survey.files.get((track["name"], stem), ())
                if not several:
                    problems.append(f"{track['folder']}_{stem}.wav: missing (or the same as .flac)")
                elif len(several) > 1:
                    names = " and ".join(printable.plain("/".join(parts)) for parts in several)
                    problems.append(
                        f"{names}: found {len(several)} files for {stem} of {track['name']}, expected one"
                    )
        return stems, problems

    def called(self, survey: Survey, track: Track, stem: str) -> str:
        """How the sender calls a file."""
        return printable.plain("/".join(survey.files[track.name, stem][0]), SHOWN_CHARACTERS)
