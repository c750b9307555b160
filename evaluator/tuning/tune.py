"""Ensemble weights by mathematics: each member estimates each track once, after that no audio is needed.

A cascade is tuned step by step: a step's input is what the steps before it make (with their new weights if they were
tuned in the same run) and is fixed while the step is tuned. The score of a step is the SDR of those of the
challenge's stems that it makes.

Estimates enter as the models give them. An evaluation scores 16-bit files, clipped at ±1: libsndfile floors to 16
bits, and our `MySeparationModel` rounds to that grid before. Rounding adds an error of −101 dB of full scale,
flooring one of −95. On a stem of usual loudness neither changes the score by more than some 1e-5 dB; a 10 dB estimate
of a stem at −70 dB of full scale loses 0.03 dB when rounded and 0.14 dB when floored.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from evaluator import text_table
from evaluator.measures import bootstrap
from evaluator.measures.bootstrap import FEWEST_TRACKS
from evaluator.running import parts
from evaluator.running.dataset import Dataset, Track
from evaluator.tuning.estimator import Estimator, StepInfo
from evaluator.tuning.gram import BLOCK_SAMPLES, Blocks, blocks_of, gram_matrix
from evaluator.tuning.weighting import (
    Layout,
    Scorer,
    Vector,
    best_single,
    best_weights,
    equal_weights,
    folds,
    normalised,
    out_of_fold,
    rounded,
    scorer,
    unconstrained_best,
)
from sdx.engines.scratch import scratch_folder

MEAN_SDR = "mean_sdr"
CURRENT, EQUAL, SINGLE, TUNED, FREE = "current", "equal", "best single", "tuned", "no constraints"
FOLDS = 5
NOTHING = 0.005  # a share of a stem below this
FEW_TRACKS = 10  # of which it is said that they are few
SEED = 0


class TuneError(Exception):
    """A step cannot be tuned; the message says why and what to do."""


@dataclass(frozen=True)
class Weighting:
    """One way to weight a step's members, and what it scores in dB, (T, K) over tracks and outputs.

    out_of_fold: every track scored with weights that were found without it; None with fewer than two tracks.
    """

    name: str
    weights: Vector
    in_sample: NDArray[np.float64]
    out_of_fold: NDArray[np.float64] | None


@dataclass(frozen=True)
class Tuned:
    """What tuning a step came to. `number_of_folds` is 0 with fewer than two tracks."""

    step: StepInfo
    scores: Scorer
    weightings: Mapping[str, Weighting]
    number_of_folds: int

    def preset_weights(self) -> list[dict[str, float]]:
        """The tuned weights as a preset states them: stem -> weight for each member."""
        stated = rounded(self.weightings[TUNED].weights, self.scores.layout.groups())
        result: list[dict[str, float]] = [{} for _ in self.step.members]
        for (place, stem), weight in zip(self.scores.layout.candidates, stated, strict=True):
            result[place][stem] = float(weight)
        return result


@dataclass(frozen=True)
class StepGram:
    """An `estimator.Question`: the Gram matrix of a track, with the rows that `layout` names."""

    preset: Path
    step: StepInfo
    layout: Layout

    def at(self, preset: Path) -> Self:
        return replace(self, preset=preset)

    def answer(self, estimator: Estimator, track: Track) -> NDArray[np.float64]:
        with scratch_folder() as folder:
            return track_gram(estimator, self.preset, self.step, self.layout, track, folder)


def tune_step(
    estimator: Estimator,
    preset: Path,
    step: StepInfo,
    data: Dataset,
    objective: str = MEAN_SDR,
    number_of_folds: int = FOLDS,
    progress: Callable[[Track], None] = lambda track: None,
) -> Tuned:
    """Find the weights of a step of the preset in this file that score best on `data`.

    objective: MEAN_SDR for the mean over the stems that the step makes, or one of these.
    progress: called after each track. Raises TuneError, EstimatorError.
    """
    layout = layout_of(step, data.challenge.stems)
    check_objective(layout, step, objective)
    by_track = estimator.answers(data, [StepGram(preset, step, layout)], lambda track, _: progress(track))
    grams = [gram for (gram,) in by_track]
    scores = scorer(layout, grams, None if objective == MEAN_SDR else objective)
    return weigh(step, scores, number_of_folds)


def layout_of(step: StepInfo, stems: Sequence[str]) -> Layout:
    """The weights of a step and those of its outputs that are stems; TuneError if there is nothing to choose."""
    outputs = tuple(made for made in step.blend if made in stems)
    candidates = tuple(
        (place, stem)
        for place, member in enumerate(step.members)
        for stem in step.stems
        if stem in member.weights
    )
    if not outputs:
        raise TuneError(
            f"step {step.name} makes none of {', '.join(stems)}, so there is no reference to tune it on"
        )
    if len(candidates) == len(step.stems):
        raise TuneError(f"step {step.name} has one member for every stem, so there is nothing to weight")
    return Layout(outputs, candidates, step.blend)


def check_objective(layout: Layout, step: StepInfo, objective: str) -> None:
    """TuneError unless the objective is MEAN_SDR or one of the outputs that have a reference."""
    allowed = (MEAN_SDR, *layout.outputs)
    if objective not in allowed:
        raise TuneError(f"objective {objective}: expected {' or '.join(allowed)} for step {step.name}")


def track_gram(
    estimator: Estimator, preset: Path, step: StepInfo, layout: Layout, track: Track, folder: Path
) -> NDArray[np.float64]:
    """The Gram matrix of one track, with the rows that `layout` names; estimates are written to `folder`."""
    estimates = estimator.write_estimates(preset, step.name, track, folder)
    files = [estimates.input, *(estimates.candidates[candidate] for candidate in layout.candidates)]
    references = [_reference_blocks(track, output) for output in layout.outputs]
    return gram_matrix([*references, *(blocks_of(np.load(file, mmap_mode="r")) for file in files)])


def _reference_blocks(track: Track, stem: str) -> Blocks:
    """The reference as the estimates have it: float32, a mono one in every channel."""
    blocks = parts.blocks(track.references[stem], BLOCK_SAMPLES)
    return (np.broadcast_to(block.T, (track.estimate_channels, len(block))) for block in blocks)


def weigh(step: StepInfo, scores: Scorer, number_of_folds: int = FOLDS) -> Tuned:
    """All weightings of a step, scored on the tracks they were found on and on others."""
    groups = scores.layout.groups()
    current = normalised(
        np.array([step.members[place].weights[stem] for place, stem in scores.layout.candidates], float),
        groups,
    )

    def tuned(part: Scorer) -> Vector:
        found = rounded(best_weights(part, current, SEED), groups)
        return normalised(_without_nothing(found, part.layout), groups)

    fits: dict[str, Callable[[Scorer], Vector]] = {
        CURRENT: lambda part: current,
        EQUAL: lambda part: equal_weights(part.layout),
        SINGLE: best_single,
        TUNED: tuned,
        FREE: lambda part: unconstrained_best(part, best_weights(part, current, SEED)),
    }
    tracks = len(scores.energy)
    parts = folds(tracks, number_of_folds, SEED) if tracks > 1 else []
    weightings = {}
    for name, fit in fits.items():
        weights = fit(scores)
        held_out = out_of_fold(scores, fit, parts) if parts else None
        weightings[name] = Weighting(name, weights, scores.sdr(weights), held_out)
    return Tuned(step, scores, weightings, len(parts))


def _without_nothing(weights: Vector, layout: Layout) -> Vector:
    """The weights with zeros for members whose every weight is nothing: they would cost time for no gain."""
    members = np.array([member for member, _ in layout.candidates])
    kept = {int(member) for member in members[weights >= NOTHING]}
    return np.where([int(member) in kept for member in members], weights, 0.0)


def warning_of_few(tracks: int) -> str | None:
    """What weights are worth that were found on so few tracks; None where they are many."""
    if tracks >= FEW_TRACKS:
        return None
    number = f"{tracks} track{' is' if tracks == 1 else 's are'} few"
    return (
        f"{number}: weights fitted to so few overfit, and what they gain here may be lost on other music. Only the"
        f" scores out of fold tell; use {FEW_TRACKS} tracks or more."
    )


def objective_db(tuned: Tuned, name: str) -> float:
    """What a weighting scores on the tracks it was found on, as the mean of what was to be maximised, in dB."""
    return float(tuned.weightings[name].in_sample[:, list(tuned.scores.chosen)].mean())


def table(tuned: Tuned) -> str:
    """Weights side by side and what they score, as text."""
    layout, weightings = tuned.scores.layout, tuned.weightings.values()
    names = tuned.step.member_names
    rows = [["stem", "member", *(weighting.name for weighting in weightings)]]
    for stem in layout.stems:
        for index, (place, own) in enumerate(layout.candidates):
            if own == stem:
                numbers = [f"{weighting.weights[index]:.4f}" for weighting in weightings]
                rows.append([stem, names[place], *numbers])
    parts = [f"Step {tuned.step.name}: weights", *text_table.align(rows, left=(0, 1)), ""]
    parts += ["SDR in dB, mean over tracks", *text_table.align(_score_rows(tuned)), "", verdict(tuned)]
    return "\n".join(parts)


def _score_rows(tuned: Tuned) -> list[list[str]]:
    outputs = tuned.scores.layout.outputs
    several = len(outputs) > 1
    header = ["weights", *outputs, *(["mean"] if several else [])]
    if tuned.number_of_folds:
        header += [f"{output}, out of fold" for output in (["mean"] if several else outputs)]
    rows = [header]
    for weighting in tuned.weightings.values():
        cells = [text_table.db(float(value)) for value in weighting.in_sample.mean(axis=0)]
        if several:
            cells.append(text_table.db(float(weighting.in_sample.mean())))
        if weighting.out_of_fold is not None:
            cells.append(text_table.db(float(weighting.out_of_fold.mean())))
        rows.append([weighting.name, *cells])
    return rows


def verdict(tuned: Tuned) -> str:
    """One sentence: do the tuned weights beat the current ones on tracks they were not found on?"""
    new, old = (tuned.weightings[name].out_of_fold for name in (TUNED, CURRENT))
    if new is None or old is None:
        return "One track cannot tell whether the tuned weights are better than the current ones on others."
    chosen = list(tuned.scores.chosen)
    differences = (new - old)[:, chosen].mean(axis=1)
    number = len(differences)
    low, high = bootstrap.interval(differences)
    mean = float(differences.mean())
    if mean <= 0:
        says = "do not beat the current ones"
    elif low > 0 and number >= FEWEST_TRACKS:
        says = "beat the current ones"
    else:
        says = "are not distinguishably better than the current ones"
    figures = f"{mean:+.3f} dB on average"
    if number >= FEWEST_TRACKS:
        figures += f" (95 % interval {low:+.3f} to {high:+.3f})"
    return (
        f"Out of fold ({tuned.number_of_folds} folds of {number} tracks), the tuned weights of step "
        f"{tuned.step.name} {says}: {figures}, higher on {int((differences > 0).sum())} of {number} tracks."
    )
