"""The one loop over a preset's steps and a track's blocks.

A step is a sum of units. A policy decides which of them run, and in which order; the engine adds them up, in blocks
of any size. With small blocks, memory does not grow with a track. A time limit needs the track as one block, since a
unit can be left out only while none of its output has been passed on; so does a study of the members.
"""

import functools
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor

from my_submission.ensemble.combine import add_piece, finish_step
from my_submission.ensemble.costs import Costs
from my_submission.ensemble.plan import Pass, Unit, step_passes, step_units
from my_submission.ensemble.preset import MIXTURE, Preset, Step
from my_submission.models import ChunkModel
from my_submission.runtime.inference import count_chunks, estimate_track, lookahead_samples, lookback_samples
from my_submission.runtime.pool import ModelPool
from my_submission.runtime.schedule import SEQUENTIAL, Schedule
from my_submission.signal.audio import MODEL_SAMPLE_RATE, Stems
from my_submission.signal.augment import Normalise, loudness_gain, mean_and_deviation
from my_submission.signal.chunking import Reader, reader, stacked
from my_submission.signal.sliding import SlidingSignal

BLOCK_SAMPLES = 2**20
"""How much of a track goes through all steps at a time, about 24 s. It affects memory, not results."""

Progress = Callable[[float, float], None]
"""Called with (work done, work in all); only their ratio means anything."""

Pieces = Generator[tuple[int, Mapping[str, Tensor]], None, None]
"""`(start, {source: (channels, length)})` of a pass, from left to right without gaps."""

RunPass = Callable[[Pass, Reader, int, Callable[[int], None]], Pieces]
"""Runs a pass over the signal of a reader, of that many samples; reports how many chunks it has just computed."""

Level = tuple[float, float]
"""What to subtract from a signal, and what to multiply it by then."""

Reach = Callable[[Step], tuple[int, int]]
"""How many samples of its input a step reads behind and ahead of what it has finished."""


class Policy(Protocol):
    """Decides what runs; it touches no audio."""

    def next(self, step: int) -> Unit | None:
        """What step number `step` of the preset runs next; None: nothing more. Every stem needs a unit that ran."""

    def stop(self) -> bool:
        """Whether to leave out the unit under way; asked while part of its first block is still to compute."""

    def note(self, one: Pass, chunks: int) -> tuple[float, float]:
        """That many chunks of a pass have just been computed; returns (work done, work in all)."""


class Everything:
    """The policy without a limit: all units, in the order of the plan.

    work: for the whole track. chunk_work: for a chunk of a pass.
    """

    def __init__(
        self,
        preset: Preset,
        seed: int,
        work: float = 0.0,
        chunk_work: Callable[[Pass], float] = lambda one: 0.0,
    ) -> None:
        self._units = [iter(step_units(step, preset, seed)) for step in preset.steps]
        self._work = work
        self._chunk_work = chunk_work
        self._done = 0.0

    def next(self, step: int) -> Unit | None:
        return next(self._units[step], None)

    def stop(self) -> bool:
        return False

    def note(self, one: Pass, chunks: int) -> tuple[float, float]:
        self._done += chunks * self._chunk_work(one)
        return self._done, self._work


def run_blocks(
    preset: Preset,
    policy: Policy,
    run: RunPass,
    given: Mapping[str, Reader],
    channels: int,
    samples: int,
    progress: Progress | None = None,
    block_samples: int | None = None,
    reach: Reach = lambda step: (0, 0),
) -> Iterator[tuple[int, Stems]]:
    """Separate a track with any `run` for the passes; yields consecutive blocks of `preset.instruments`.

    given: the signals that there are, by name, (channels, length) float32 at the models' rate: the mixture, or what
        these steps take of others that came before them.
    block_samples: None makes the track one block; `reach` is then not needed.
    """
    if any(step.needs_whole_input and step.input != MIXTURE for step in preset.steps):
        block_samples = None  # such a step reads its whole input first
    track = _Track(policy, run, channels, samples, progress)
    signals: dict[str, Reader] = dict(given)
    stages: list[_Stage] = []
    for index, step in enumerate(preset.steps):
        stages.append(_Stage(index, step, track, {name: signals[name] for name in step.reads}, reach(step)))
        signals |= {name: signal.read for name, signal in stages[-1].made.items()}
    for start in range(0, samples, block_samples or samples):
        end = min(start + (block_samples or samples), samples)
        _advance(stages, preset.instruments, end, samples)
        yield start, {stem: signals[stem](start, end - start) for stem in preset.instruments}
        _forget(stages, preset.instruments, end)


def _advance(stages: "list[_Stage]", wanted: Sequence[str], end: int, samples: int) -> None:
    """Advance every stage far enough that all wanted signals are finished up to `end`."""
    goals = dict.fromkeys(wanted, end)
    for stage in reversed(stages):
        stage.goal = max(goals.get(signal, 0) for signal in stage.made)
        needed = min(samples, stage.goal + stage.ahead)
        for name in stage.step.reads:
            goals[name] = max(goals.get(name, 0), needed)
    for stage in stages:
        stage.advance()


def _forget(stages: "list[_Stage]", wanted: Sequence[str], end: int) -> None:
    """Drop what neither the output nor any stage will read again."""
    kept_from = dict.fromkeys(wanted, end)
    for stage in stages:
        first = stage.goal - stage.behind
        for name in stage.step.reads:
            kept_from[name] = min(kept_from.get(name, first), first)
    for stage in stages:
        for name, signal in stage.made.items():
            signal.forget(min(kept_from.get(name, signal.end), signal.end))


@dataclass(frozen=True)
class _Track:
    """One track under way: how passes over its signals start, and who decides which."""

    policy: Policy
    run: RunPass
    channels: int
    samples: int
    progress: Progress | None

    def silence(self, names: Iterable[str]) -> dict[str, SlidingSignal]:
        """An empty signal for each name."""
        return {name: SlidingSignal(self.channels, self.samples) for name in names}

    def open(self, one: Pass, read: Reader, level: Level) -> "_OpenPass":
        """Start a pass over a signal brought to a level, which is undone on its estimates."""
        offset, gain = level
        augmentation = replace(one.augmentation, gain=gain * one.augmentation.gain, offset=offset)

        def count(chunks: int) -> None:
            told = self.policy.note(one, chunks)
            if self.progress is not None:
                self.progress(*told)

        return _OpenPass(one, self.run(replace(one, augmentation=augmentation), read, self.samples, count))


class _OpenPass:
    """One pass, and how far it has come."""

    def __init__(self, one: Pass, pieces: Pieces) -> None:
        self._one = one
        self._pieces = pieces
        self._finished = 0

    def add_to(
        self, sums: Mapping[str, SlidingSignal], end: int, stop: Callable[[], bool] = lambda: False
    ) -> bool:
        """Add this pass's estimates of all samples before `end`, and perhaps some more.

        False if it was stopped before that; it cannot continue then.
        """
        while self._finished < end:
            start, estimates = next(self._pieces)
            add_piece(sums, self._one, start, estimates)
            self._finished = start + next(iter(estimates.values())).shape[-1]
            if self._finished < end and stop():
                self._pieces.close()
                return False
        return True


class _Stage:
    """Step number `index` under way: what it has made so far, up to `goal`.

    reads: the signals that it takes. behind, ahead: how much of them a pass reads around what it has finished.
    """

    def __init__(
        self, index: int, step: Step, track: _Track, reads: Mapping[str, Reader], reach: tuple[int, int]
    ) -> None:
        self.step = step
        self.behind, self.ahead = reach
        self.goal = 0
        self.made = track.silence(step.makes)
        self._sums = track.silence(step.stems)
        self._index = index
        self._track = track
        self._reads = reads
        self._read = reads[step.input]
        self._ran: list[Unit] = []
        self._open: list[_OpenPass] = []
        self._done = 0

    def advance(self) -> None:
        """Make all samples before `goal`."""
        if self.goal <= self._done:
            return
        if self._ran:
            for one in self._open:
                one.add_to(self._sums, self.goal)
        else:
            self._begin()
        sums = {stem: total.take(self.goal) for stem, total in self._sums.items()}
        signal = self._read(self._done, self.goal - self._done)
        for name, piece in finish_step(self.step, self._ran, sums, signal).items():
            self.made[name].add(self._done, piece)
        self._done = self.goal

    def _begin(self) -> None:
        """Run the first block of each unit in turn. Only a unit that finishes it counts, and continues."""
        level_for = functools.cache(self._level)  # which reads the whole signal
        while unit := self._track.policy.next(self._index):
            sums = self._track.silence(unit.masses)
            passes = [
                self._track.open(one, self._reader_for(one), level_for(one.normalise)) for one in unit.passes
            ]
            if all(one.add_to(sums, self.goal, self._track.policy.stop) for one in passes):
                for stem, own in sums.items():
                    self._sums[stem].add(0, own.read(0, own.end))
                self._ran.append(unit)
                self._open += passes

    def _level(self, normalise: Normalise | None) -> Level:
        """Of the step's input: of mean 0 and deviation 1, or at the step's loudness, or as it is."""
        if normalise is not None:
            mean, deviation = mean_and_deviation(self._read, self._track.samples, normalise)
            return mean, 1 / deviation
        if self.step.loudness_lufs is not None:
            whole = self._read(0, self._track.samples)
            return 0.0, loudness_gain(whole, MODEL_SAMPLE_RATE, self.step.loudness_lufs)
        return 0.0, 1.0

    def _reader_for(self, one: Pass) -> Reader:
        """Reads what a pass takes: the step's input, with the channels of what it refines below."""
        return (
            stacked([self._read, *(self._reads[name] for name in one.beside)]) if one.beside else self._read
        )


def compute_pass(
    one: Pass,
    model: ChunkModel,
    read: Reader,
    samples: int,
    schedule: Schedule = SEQUENTIAL,
    on_chunks: Callable[[int], None] = lambda chunks: None,
) -> Pieces:
    """Run a model over the signal that `read` reads; yields pieces of the sources that the pass uses."""
    places = {source: model.sources.index(source) for source in one.sources}
    for start, piece in estimate_track(
        model, read, samples, one.augmentation, one.overlap, schedule, on_chunks, one.segment_samples
    ):
        yield start, {source: piece[place] for source, place in places.items()}


class Ensemble:
    """A preset with its models loaded.

    seed: for the random delays.
    costs: once measured, progress counts seconds on this machine; before that, samples that models read.
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
        """(channels, samples) float32 at the models' rate -> the preset's stems, each of that shape."""
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
        block_samples: int | None = BLOCK_SAMPLES,
        policy: Policy | None = None,
    ) -> Iterator[tuple[int, Stems]]:
        """Separate a track of any length in bounded memory.

        read: gives (channels, length) float32 of the mixture at the models' rate; windows go from left to right, with
            steps back of at most a few chunks.
        block_samples: None makes the track one block. policy: the default runs everything in the preset.
        Yields `(start, stems)`, consecutive blocks. Every chunk is computed once, on one grid for the whole track, so
        block size changes nothing but the order of sums. A step with loudness_lufs, or a member that normalises,
        reads its whole input first; if that is another step's output, the whole track becomes one block.
        """
        if policy is None:
            work = self.work(samples)
            policy = Everything(self.preset, self._seed, work, lambda one: self._chunk_work(one, samples))
        return run_blocks(
            self.preset,
            policy,
            self._run,
            {MIXTURE: read},
            channels,
            samples,
            progress,
            block_samples,
            self._reach,
        )

    def work(self, samples: int) -> float:
        """The work of a track, in the unit of `progress`."""
        passes = (one for step in self.preset.steps for one in step_passes(step, self.preset, self._seed))
        return sum(self._chunks(one, samples) * self._chunk_work(one, samples) for one in passes)

    def _run(self, one: Pass, read: Reader, samples: int, on_chunks: Callable[[int], None]) -> Pieces:
        return compute_pass(one, self._models.get(one.checkpoint), read, samples, self._schedule, on_chunks)

    def _reach(self, step: Step) -> tuple[int, int]:
        passes = step_passes(step, self.preset, self._seed)
        geometries = [self._models.get(one.checkpoint).geometry for one in passes]
        ahead = (
            lookahead_samples(geometry, one.overlap, self._schedule, one.segment_samples)
            for geometry, one in zip(geometries, passes, strict=True)
        )
        return max(map(lookback_samples, geometries)), max(ahead)

    def _chunks(self, one: Pass, samples: int) -> int:
        geometry = self._models.get(one.checkpoint).geometry
        return count_chunks(geometry, samples, one.augmentation, one.overlap, one.segment_samples)

    def _chunk_work(self, one: Pass, samples: int) -> float:
        if self.costs is not None:
            return self.costs.share_of_chunk(one, samples)
        return self._models.get(one.checkpoint).geometry.read_samples
