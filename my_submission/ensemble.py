"""Runs a preset's steps over one mixture."""

import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from my_submission.audio import MODEL_SAMPLE_RATE, Stems
from my_submission.augment import Augmentation, draw_delays, loudness_gain
from my_submission.inference import ChunkModel, ModelPool, count_chunks, estimate_track
from my_submission.preset import MIXTURE, STEP_INPUT, Member, Preset, Step, needed_experts

MAX_DELAY_SAMPLES = MODEL_SAMPLE_RATE // 2
"""The shift trick's delays go up to half a second."""

Progress = Callable[[float, float], None]
"""Told (work done, work in all); only their ratio has a meaning."""


@dataclass(frozen=True)
class Run:
    """One checkpoint over one signal: what it contributes to which stem.

    coefficients: stem -> {source: factor}, the member's weight, the bag's share and the sum's sign in one number.
    """

    checkpoint: str
    augmentations: tuple[Augmentation, ...]
    overlap: float
    coefficients: Mapping[str, Mapping[str, float]]


class Ensemble:
    """A preset with its models loaded.

    seed: of the random delays. They depend on it and on the place of a run in the preset alone, so that a track's
        estimates do not depend on what was separated before.
    batch_size: chunks a call of a model.
    """

    def __init__(self, preset: Preset, models: ModelPool, seed: int = 0, batch_size: int = 1) -> None:
        self.preset = preset
        self._models = models
        self._seed = seed
        self._batch_size = batch_size

    def separate(self, mixture: Tensor, progress: Progress | None = None) -> Stems:
        """(channels, samples) float32 at the models' rate -> the track's stems, each of that shape."""
        meter = _Meter(self._work(mixture.shape[-1]), progress)
        signals = {MIXTURE: mixture}
        for index, step in enumerate(self.preset.steps):
            signals.update(self._run_step(step, signals[step.input], meter))
            _forget(signals, self._still_needed(index + 1))
        return {stem: signals[stem] for stem in self.preset.instruments}

    def _still_needed(self, next_step: int) -> set[str]:
        return {*self.preset.instruments, *(step.input for step in self.preset.steps[next_step:])}

    def _run_step(self, step: Step, signal: Tensor, meter: "_Meter") -> Stems:
        stems = {stem: torch.zeros_like(signal) for stem in step.stems}
        gain = 1.0
        if step.loudness_lufs is not None:
            gain = loudness_gain(signal, MODEL_SAMPLE_RATE, step.loudness_lufs)
        for stem, factor in input_coefficients(step).items():
            stems[stem] += factor * signal
        for run in self._runs(step, gain):
            model = self._models.get(run.checkpoint)
            pieces = estimate_track(
                model, signal, run.augmentations, run.overlap, self._batch_size, meter.counter(model)
            )
            for start, piece in pieces:
                _add_piece(stems, run.coefficients, model.sources, start, piece)
        residual = signal - sum(stems.values())
        if step.consistency:
            share = residual / len(stems)
            return {stem: estimate + share for stem, estimate in stems.items()}
        return stems if step.residual is None else {**stems, step.residual: residual}

    def _runs(self, step: Step, gain: float) -> Iterator[Run]:
        for index, member in enumerate(step.members):
            for checkpoint, shares in needed_experts(member, self.preset.manifest):
                place = zlib.crc32(f"{step.name}/{index}/{checkpoint}".encode())
                delays = draw_delays(
                    member.shifts, MAX_DELAY_SAMPLES, np.random.default_rng([self._seed, place])
                )
                augmentations = tuple(
                    Augmentation(gain * polarity, delay)
                    for delay in delays
                    for polarity in member.polarity.gains
                )
                coefficients = source_coefficients(step, member, shares)
                yield Run(checkpoint, augmentations, member.overlap, coefficients)

    def _work(self, samples: int) -> float:
        """Samples that go through networks in all."""
        return sum(
            count_chunks(model.geometry, samples, run.augmentations, run.overlap) * chunk_work(model)
            for step in self.preset.steps
            for run in self._runs(step, 1.0)
            for model in [self._models.get(run.checkpoint)]
        )


def chunk_work(model: ChunkModel) -> float:
    """The work of one chunk, in samples read."""
    return model.geometry.chunk_samples + 2 * model.geometry.margin_samples


def _total_weight(step: Step, stem: str) -> float:
    return sum(member.weights.get(stem, 0.0) for member in step.members)


def source_coefficients(
    step: Step, member: Member, shares: Mapping[str, float]
) -> dict[str, dict[str, float]]:
    """stem -> {source: factor} by which an expert's estimates enter the step's weighted means.

    shares: the expert's share of each source in its bag.
    """
    return {
        stem: {
            source: weight / _total_weight(step, stem) * sign * shares[source]
            for source, sign in member.sources[stem].items()
            if source in shares
        }
        for stem, weight in member.weights.items()
        if any(source in shares for source in member.sources[stem])
    }


def input_coefficients(step: Step) -> dict[str, float]:
    """stem -> factor by which the step's own input enters it, from members read as `input - …`."""
    return {
        stem: sum(
            member.weights.get(stem, 0.0) * member.sources.get(stem, {}).get(STEP_INPUT, 0)
            for member in step.members
        )
        / _total_weight(step, stem)
        for stem in step.stems
    }


def _add_piece(
    stems: Stems,
    coefficients: Mapping[str, Mapping[str, float]],
    sources: tuple[str, ...],
    start: int,
    piece: Tensor,
) -> None:
    for stem, factors in coefficients.items():
        there = stems[stem][:, start : start + piece.shape[-1]]
        for source, factor in factors.items():
            there.add_(piece[sources.index(source)], alpha=factor)


def _forget(signals: Stems, needed: set[str]) -> None:
    for name in set(signals) - needed:
        del signals[name]


class _Meter:
    """Counts the work of one track and tells it to whoever asked."""

    def __init__(self, total: float, progress: Progress | None) -> None:
        self._done = 0.0
        self._total = total
        self._progress = progress

    def counter(self, model: ChunkModel) -> Callable[[int], None]:
        work = chunk_work(model)

        def count(chunks: int) -> None:
            self._done += chunks * work
            if self._progress is not None:
                self._progress(self._done, self._total)

        return count
