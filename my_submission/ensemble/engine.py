"""Runs a preset's steps over one mixture, block by block, so that a track's length costs no memory."""

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor

from my_submission.ensemble.costs import Costs
from my_submission.ensemble.passes import Pass, finish_step, step_passes
from my_submission.ensemble.preset import MIXTURE, Preset, Step
from my_submission.runtime.inference import ModelPool, count_chunks, estimate_track, lookahead_samples
from my_submission.runtime.schedule import SEQUENTIAL, Schedule
from my_submission.signal.audio import MODEL_SAMPLE_RATE, Stems
from my_submission.signal.augment import loudness_gain
from my_submission.signal.chunking import Reader, reader
from my_submission.signal.sliding import SlidingSignal

BLOCK_SAMPLES = 2**20
"""About 24 s: how much of a track goes through all steps at a time. It changes memory, not results."""

Progress = Callable[[float, float], None]
"""Told (work done, work in all); only their ratio has a meaning."""


class Ensemble:
    """A preset with its models loaded.

    seed: of the random delays.
    costs: once measured, progress is told in seconds on this machine; without them in samples that models read.
    """

    def __init__(
        self, preset: Preset, models: ModelPool, seed: int = 0, schedule: Schedule = SEQUENTIAL
    ) -> None:
        self.preset = preset
        self._models = models
        self._seed = seed
        self._schedule = schedule
        self.costs: Costs | None = None

    def separate(self, mixture: Tensor, progress: Progress | None = None) -> Stems:
        """(channels, samples) float32 at the models' rate -> the track's stems, each of that shape."""
        channels, samples = mixture.shape
        stems = {stem: torch.empty_like(mixture) for stem in self.preset.instruments}
        for start, block in self.stream(reader(mixture), channels, samples, progress):
            for stem, piece in block.items():
                stems[stem][:, start : start + piece.shape[-1]] = piece
        return stems

    def stream(
        self,
        read: Reader,
        channels: int,
        samples: int,
        progress: Progress | None = None,
        block_samples: int = BLOCK_SAMPLES,
    ) -> Iterator[tuple[int, Stems]]:
        """Separate a track of any length in bounded memory.

        read: gives (channels, length) float32 of the mixture at the models' rate, windows from left to right but
            for a step back of some chunks.
        Yields `(start, stems)`, blocks that follow one another. Every chunk is computed once, on one grid for the
        whole track, so the size of the blocks changes nothing but the order of sums. A step with loudness_lufs reads
        its whole input first; behind another step this takes the whole track as one block.
        """
        steps = self.preset.steps
        if any(step.loudness_lufs is not None and step.input != MIXTURE for step in steps):
            block_samples = samples
        meter = _Meter(self.work(samples), lambda one: self._chunk_work(one, samples), progress)
        stages: list[_Stage] = []
        signals: dict[str, Reader] = {MIXTURE: read}
        for step in steps:
            passes = _Passes(step, self.preset, self._models, self._seed, self._schedule, meter)
            stages.append(_Stage(step, passes, signals[step.input], channels, samples))
            signals |= {name: signal.read for name, signal in stages[-1].made.items()}
        for start in range(0, samples, block_samples):
            end = min(start + block_samples, samples)
            self._advance(stages, end, samples)
            yield start, {stem: signals[stem](start, end - start) for stem in self.preset.instruments}
            self._forget(stages, end)

    def _advance(self, stages: "list[_Stage]", end: int, samples: int) -> None:
        """Bring every stage so far that all of the track's stems are finished up to `end`."""
        goals = dict.fromkeys(self.preset.instruments, end)
        for stage in reversed(stages):
            stage.goal = max(goals.get(signal, 0) for signal in stage.made)
            needed = min(samples, stage.goal + stage.passes.lookahead)
            goals[stage.step.input] = max(goals.get(stage.step.input, 0), needed)
        for stage in stages:
            stage.advance()

    def _forget(self, stages: "list[_Stage]", end: int) -> None:
        """Drop what neither the output nor any stage will read again."""
        kept_from = dict.fromkeys(self.preset.instruments, end)
        for stage in stages:
            first = stage.goal - stage.passes.lookback
            kept_from[stage.step.input] = min(kept_from.get(stage.step.input, first), first)
        for stage in stages:
            for name, signal in stage.made.items():
                signal.forget(min(kept_from.get(name, signal.end), signal.end))

    def work(self, samples: int) -> float:
        """The work of a track, in the unit that progress is told in."""
        passes = (one for step in self.preset.steps for one in step_passes(step, self.preset, self._seed))
        return sum(self._chunks(one, samples) * self._chunk_work(one, samples) for one in passes)

    def _chunks(self, one: Pass, samples: int) -> int:
        geometry = self._models.get(one.checkpoint).geometry
        return count_chunks(geometry, samples, one.augmentation, one.overlap, one.segment_samples)

    def _chunk_work(self, one: Pass, samples: int) -> float:
        if self.costs is not None:
            return self.costs.share_of_chunk(one, samples)
        geometry = self._models.get(one.checkpoint).geometry
        return geometry.read_samples


class _Passes:
    """A step's passes under way, each a stream of pieces drawn as far as it is needed."""

    def __init__(
        self, step: Step, preset: Preset, models: ModelPool, seed: int, schedule: Schedule, meter: "_Meter"
    ) -> None:
        self._step = step
        self._preset = preset
        self._seed = seed
        self._models = models
        self._schedule = schedule
        self._meter = meter
        geometries = [(models.get(one.checkpoint).geometry, one) for one in self._passes(1.0)]
        self.lookahead = max(
            lookahead_samples(g, one.overlap, schedule, one.segment_samples) for g, one in geometries
        )
        self.lookback = max(g.chunk_samples + g.margin_samples for g, _ in geometries)

    def _passes(self, gain: float) -> Iterator[Pass]:
        return step_passes(self._step, self._preset, self._seed, gain)

    def open(self, read: Reader, samples: int) -> "list[_OpenPass]":
        """Begin all passes over a signal, at the loudness that the step asks for."""
        gain = 1.0
        if self._step.loudness_lufs is not None:
            gain = loudness_gain(read(0, samples), MODEL_SAMPLE_RATE, self._step.loudness_lufs)
        return [self._open(one, read, samples) for one in self._passes(gain)]

    def _open(self, one: Pass, read: Reader, samples: int) -> "_OpenPass":
        model = self._models.get(one.checkpoint)
        pieces = estimate_track(
            model, read, samples, one.augmentation, one.overlap, self._schedule, self._meter.counter(one),
            one.segment_samples,
        )  # fmt: skip
        return _OpenPass(one, model.sources, pieces)


class _OpenPass:
    """One pass and how far its pieces have come."""

    def __init__(self, one: Pass, sources: tuple[str, ...], pieces: Iterator[tuple[int, Tensor]]) -> None:
        self._factors = one.factors
        self._sources = sources
        self._pieces = pieces
        self._finished = 0

    def add_to(self, sums: Mapping[str, SlidingSignal], end: int) -> None:
        """Add what this pass says of every sample before `end`, and perhaps some further ones."""
        while self._finished < end:
            start, piece = next(self._pieces)
            for stem, factors in self._factors.items():
                for source, factor in factors.items():
                    sums[stem].add(start, piece[self._sources.index(source)], factor)
            self._finished = start + piece.shape[-1]


class _Stage:
    """A step under way: what it has made so far, up to `goal`."""

    def __init__(self, step: Step, passes: _Passes, read: Reader, channels: int, samples: int) -> None:
        self.step = step
        self.passes = passes
        self.made = {signal: SlidingSignal(channels, samples) for signal in step.makes}
        self.goal = 0
        self._sums = {stem: SlidingSignal(channels, samples) for stem in step.stems}
        self._open: list[_OpenPass] | None = None
        self._read = read
        self._samples = samples
        self._done = 0

    def advance(self) -> None:
        """Make all samples before `goal`."""
        if self._open is None:
            self._open = self.passes.open(self._read, self._samples)
        for one in self._open:
            one.add_to(self._sums, self.goal)
        if self.goal > self._done:
            self._finish(self._read(self._done, self.goal - self._done))
            self._done = self.goal

    def _finish(self, signal: Tensor) -> None:
        stems = {stem: total.take(self.goal) for stem, total in self._sums.items()}
        for name, piece in finish_step(self.step, stems, signal).items():
            self.made[name].add(self._done, piece)


class _Meter:
    """Counts the work of one track and tells it to whoever asked."""

    def __init__(self, total: float, chunk_work: Callable[[Pass], float], progress: Progress | None) -> None:
        self._done = 0.0
        self._total = total
        self._chunk_work = chunk_work
        self._progress = progress

    def counter(self, one: Pass) -> Callable[[int], None]:
        work = self._chunk_work(one)

        def count(chunks: int) -> None:
            self._done += chunks * work
            if self._progress is not None:
                self._progress(self._done, self._total)

        return count
