"""What a preset may do without in a given time: members, polarities and overlaps against score and predicted time.

Each member of a step is run in every way that is considered (each polarity by itself, at each overlap), once per
track. As a member's estimate with both polarities is the mean of the two, the Gram matrix of all these runs holds the
score of every choice among them, with weights fitted to it, and no audio is needed any more. Time is additive over
runs, too. A step's input is what the steps before it make as they are in the preset, so what one step saves is taken
not to bear on the next; the preset that is chosen is tuned again by itself, which puts that right.

The choices are walked through greedily: from the preset as it is, each time the saving that costs the least score for
each second saved. Everything that was looked at on the way counts for the table.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from evaluator import text_table
from evaluator.running.dataset import Dataset, Track
from evaluator.tuning import ablate
from evaluator.tuning.estimator import Estimator, Prediction, PresetInfo, StepInfo
from evaluator.tuning.tune import SEED, StepGram, TuneError
from evaluator.tuning.weighting import Layout, best_weights, equal_weights, scorer
from sdx.engines.scratch import scratch_folder

OVERLAPS = (0.5, 0.25)  # tried below a member's own
POLARITIES = {"both": ("plain", "inverted"), "plain": ("plain",), "inverted": ("inverted",)}
SHOWN_POINTS = 20


@dataclass(frozen=True)
class Run:
    """How a member is run: with which polarities, at which overlap."""

    polarities: tuple[str, ...]
    overlap: float

    @property
    def polarity(self) -> str:
        """As a preset says it."""
        return self.polarities[0] if len(self.polarities) == 1 else "both"


Choice = tuple[Run | None, ...]
"""For each member of a step how it is run, or that it is left out."""


@dataclass(frozen=True)
class StepStudy:
    """All runs of a step's members that were looked at.

    runs: (member, polarity, overlap) of each. seconds: (runs, tracks). grams: a track's inner products of the
    references of `outputs`, the step's input, and the runs' estimates (`candidates`: (run, stem)). Steps without
    outputs have references of nothing, and stay as they are.
    """

    step: StepInfo
    runs: tuple[tuple[int, str, float], ...]
    seconds: NDArray[np.float64]
    outputs: tuple[str, ...] = ()
    candidates: tuple[tuple[int, str], ...] = ()
    grams: tuple[NDArray[np.float64], ...] = ()
    scores: dict[Choice, float] = field(default_factory=dict)

    @property
    def whole(self) -> Choice:
        """The step as it is."""
        return tuple(Run(POLARITIES[member.polarity], member.overlap) for member in self.step.members)

    def taking(self, choice: Choice) -> NDArray[np.float64]:
        """Seconds for each track."""
        places = [place for member, run in enumerate(choice) if run for place in self._places(member, run)]
        return np.asarray(self.seconds[places].sum(axis=0))

    def _places(self, member: int, run: Run) -> list[int]:
        return [self.runs.index((member, polarity, run.overlap)) for polarity in run.polarities]

    def score(self, choice: Choice) -> float:
        """The sum of the outputs' SDR in dB, each a mean over tracks, with the best weights for this choice."""
        if choice not in self.scores:
            self.scores[choice] = self._score(choice)
        return self.scores[choice]

    def _score(self, choice: Choice) -> float:
        kept = tuple(
            (member, stem)
            for member, run in enumerate(choice)
            if run
            for stem in self.step.stems
            if stem in self.step.members[member].weights
        )
        head = len(self.outputs) + 1
        mixing = np.zeros((head + len(self.candidates), head + len(kept)))
        mixing[:head, :head] = np.eye(head)
        for column, (member, stem) in enumerate(kept):
            run = choice[member]
            assert run is not None
            for place in self._places(member, run):
                row = head + self.candidates.index((place, stem))
                mixing[row, head + column] = 1 / len(run.polarities)
        layout = Layout(self.outputs, kept, self.step.blend)
        scores = scorer(layout, [mixing.T @ gram @ mixing for gram in self.grams])
        start = equal_weights(layout)
        weights = start if len(kept) == len(layout.stems) else best_weights(scores, start, SEED)
        return float(scores.sdr(weights).mean(axis=0).sum())

    def savings(self, choice: Choice) -> Iterator[tuple[str, Choice]]:
        """Every single thing that can still be saved, in words, and what is left."""
        if not self.outputs:
            return
        names = self.step.member_names
        for member, run in enumerate(choice):
            if run is None:
                continue
            others = [own for i, own in enumerate(self.step.members) if i != member and choice[i] is not None]
            if set(self.step.stems) <= {stem for own in others for stem in own.weights}:
                yield f"{names[member]} dropped", _with(choice, member, None)
            if len(run.polarities) > 1:
                yield f"{names[member]} plain", _with(choice, member, replace(run, polarities=("plain",)))
            lower = [overlap for overlap in OVERLAPS if overlap < run.overlap]
            if lower:
                yield (
                    f"{names[member]} overlap {max(lower):g}",
                    _with(choice, member, replace(run, overlap=max(lower))),
                )

    def words(self, choice: Choice) -> list[str]:
        """What a choice does without."""
        said = []
        for name, before, now in zip(self.step.member_names, self.whole, choice, strict=True):
            assert before is not None
            if now is None:
                said.append(f"{name} dropped")
                continue
            changes = [now.polarity] if now.polarities != before.polarities else []
            changes += [f"overlap {now.overlap:g}"] if now.overlap != before.overlap else []
            if changes:
                said.append(f"{name} {', '.join(changes)}")
        return [f"{self.step.name}: {each}" for each in said]

    def keys(self, choice: Choice) -> list[Mapping[str, Any] | None]:
        """A choice as `preset_file.with_runs` takes it."""
        result: list[Mapping[str, Any] | None] = []
        for before, now in zip(self.whole, choice, strict=True):
            assert before is not None
            if now is None:
                result.append(None)
                continue
            changes: dict[str, Any] = {}
            if now.polarities != before.polarities:
                changes["polarity"] = now.polarity
            if now.overlap != before.overlap:
                changes["overlap"] = now.overlap
            result.append(changes)
        return result


def _with(choice: Choice, member: int, run: Run | None) -> Choice:
    return (*choice[:member], run, *choice[member + 1 :])


@dataclass(frozen=True)
class Point:
    """A choice for every step, with its mean SDR in dB over stems and tracks, and its predicted time."""

    choices: tuple[Choice, ...]
    sdr: float
    rtf: float
    seconds: NDArray[np.float64]  # of each track

    @property
    def per_second(self) -> float:
        """SDR in dB for each second of computing per second of audio."""
        return self.sdr / self.rtf


@dataclass(frozen=True)
class Study:
    """All steps of a preset, and what was looked at."""

    steps: tuple[StepStudy, ...]
    prediction: Prediction
    lengths: NDArray[np.float64]  # of the tracks, in seconds

    def point(self, choices: Sequence[Choice]) -> Point:
        """A choice for every step, scored and timed."""
        pairs = list(zip(self.steps, choices, strict=True))
        outputs = sum(len(step.outputs) for step in self.steps)
        sdr = sum(step.score(choice) for step, choice in pairs if step.outputs) / outputs
        seconds = np.sum([step.taking(choice) for step, choice in pairs], axis=0)
        return Point(tuple(choices), sdr, self.prediction.rtf(seconds, self.lengths), seconds)

    def walk(self) -> list[Point]:
        """Every point that was looked at, the preset as it is first."""
        here = self.point([step.whole for step in self.steps])
        seen = [here]
        while near := list(self._near(here)):
            seen += near
            here = min(near, key=lambda point: (here.sdr - point.sdr) / (here.rtf - point.rtf))
        return seen

    def _near(self, here: Point) -> Iterator[Point]:
        for index, step in enumerate(self.steps):
            for _, choice in step.savings(here.choices[index]):
                point = self.point([*here.choices[:index], choice, *here.choices[index + 1 :]])
                if point.rtf < here.rtf:
                    yield point

    def fits(self, point: Point, limit_factor: float) -> bool:
        """Whether each track would be in time."""
        return self.prediction.fits(point.seconds, self.lengths, limit_factor)

    def words(self, point: Point) -> str:
        """What a point does without."""
        said = [
            each
            for step, choice in zip(self.steps, point.choices, strict=True)
            for each in step.words(choice)
        ]
        return "; ".join(said) or "nothing"


def study(
    estimator: Estimator,
    preset: Path,
    info: PresetInfo,
    data: Dataset,
    progress: Callable[[Track], None] = lambda track: None,
) -> Study:
    """Run every member of every step in every way that is considered; `progress` is called after each track of each.

    Raises TuneError where the preset makes nothing that has a reference; EstimatorError.
    """
    document = ablate.read_document(preset)
    document.pop("economies", None)
    steps, seconds = [], []
    with scratch_folder() as folder:
        for index, step in enumerate(info.steps):
            file = folder / f"step{index}.yaml"
            runs, expanded = _expanded(document, index, step)
            file.write_text(yaml.safe_dump(expanded, sort_keys=False), encoding="utf-8")
            prediction = estimator.predict(file, data.tracks)
            seconds.append(prediction.seconds[index])
            steps.append(_study_step(estimator, file, step, runs, seconds[-1], data, progress))
    if not any(step.outputs for step in steps):
        raise TuneError(f"{preset.name}: it makes none of {data.challenge.listed}, so nothing can be scored")
    return Study(tuple(steps), prediction, np.array([track.seconds for track in data.tracks]))


def _expanded(
    document: Mapping[str, Any], index: int, step: StepInfo
) -> tuple[tuple[tuple[int, str, float], ...], dict[str, Any]]:
    """All runs of a step's members, and a preset whose step has a member for each of them."""
    runs, members = [], []
    for place, member in enumerate(step.members):
        for overlap in (member.overlap, *(each for each in OVERLAPS if each < member.overlap)):
            for polarity in POLARITIES[member.polarity]:
                runs.append((place, polarity, overlap))
                own = document["steps"][index]["members"][place]
                members.append({**own, "polarity": polarity, "overlap": overlap})
    steps = [*document["steps"]]
    steps[index] = {**steps[index], "members": members}
    return tuple(runs), {**document, "steps": steps}


def _study_step(
    estimator: Estimator,
    file: Path,
    step: StepInfo,
    runs: tuple[tuple[int, str, float], ...],
    seconds: NDArray[np.float64],
    data: Dataset,
    progress: Callable[[Track], None],
) -> StepStudy:
    outputs = tuple(made for made in step.blend if made in data.challenge.stems)
    if not outputs:
        return StepStudy(step, runs, seconds)
    candidates = tuple(
        (place, stem)
        for place, (member, _, _) in enumerate(runs)
        for stem in step.stems
        if stem in step.members[member].weights
    )
    layout = Layout(outputs, candidates, step.blend)
    by_track = estimator.answers(data, [StepGram(file, step, layout)], lambda track, _: progress(track))
    return StepStudy(step, runs, seconds, outputs, candidates, tuple(gram for (gram,) in by_track))


def pareto(points: Sequence[Point]) -> list[Point]:
    """Those that no other one beats in both score and time, the slowest first."""
    best: list[Point] = []
    for point in sorted(points, key=lambda point: (point.rtf, -point.sdr)):
        if not best or point.sdr > best[-1].sdr:
            best.append(point)
    return best[::-1]


def choose(found: Study, points: Sequence[Point], within: float | None, per_second: bool) -> Point:
    """The point with the highest score, or the most of it for each second, that is in time.

    TuneError where even the fastest is too slow.
    """
    usable = [point for point in points if within is None or found.fits(point, within)]
    if not usable:
        fastest = min(points, key=lambda point: point.rtf)
        raise TuneError(
            f"--within {within:g}: even the least that is left of the preset is predicted to take {fastest.rtf:.2f} s"
            f" per second of audio here, and {found.prediction.margin:.0%} more are kept in reserve; choose"
            " a smaller preset or a longer time"
        )
    return max(usable, key=lambda point: (point.per_second if per_second else point.sdr, -point.rtf))


def table(found: Study, points: Sequence[Point], chosen: Point, within: float | None) -> str:
    """The preset as it is and the points that none other beats, as text; the chosen one has a mark."""
    whole = points[0]
    extra = {id(point): point for point in (whole, chosen)}
    front = sorted(
        {**{id(point): point for point in pareto(points)}, **extra}.values(), key=lambda point: -point.rtf
    )
    rows = [["", "predicted RTF", "mean SDR", "difference", "dB per second", "in time", "does without"]]
    for point in _shown(front, chosen):
        in_time = "-" if within is None else "yes" if found.fits(point, within) else "no"
        rows.append(
            [
                "*" if point is chosen else "",
                f"{point.rtf:.3f}",
                text_table.db(point.sdr),
                text_table.signed_db(point.sdr - whole.sdr),
                f"{point.per_second:.2f}",
                in_time,
                found.words(point),
            ]
        )
    return "\n".join(
        [
            f"Score against time, of {len(points)} presets that were looked at; with weights fitted to each",
            *text_table.align(rows, left=(0, 6)),
            "SDR in dB, mean over stems and tracks, in sample; RTF: seconds per second of audio on this machine."
            + (
                ""
                if within is None
                else f" In time: within {within:g}, with {found.prediction.margin:.0%} to spare."
            ),
        ]
    )


def _shown(front: Sequence[Point], chosen: Point) -> list[Point]:
    """Some of many, evenly, with the ends and the chosen one."""
    if len(front) <= SHOWN_POINTS:
        return list(front)
    places = {round(place) for place in np.linspace(0, len(front) - 1, SHOWN_POINTS)}
    return [point for place, point in enumerate(front) if place in places or point is chosen]
