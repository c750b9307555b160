"""Renders whole sets: training audio, and the demo tracks; songs and scenes appear complete or not at all."""

import hashlib
import logging
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import soundfile
import soxr

from evaluator.datasets.mixing import quantised
from evaluator.datasets.whole_folders import remove_partial, write_folder
from sdx.engines import making
from sdx.engines.address import Address
from sdx.engines.held import UnfitError
from sdx.engines.making import Watcher
from sdx.engines.work import Task
from sdx.writing import written

from .catalogue import held_out_palette, training_palette
from .dsp import RATE, Pcm, Stems, narrowed
from .scene import SCENE_STEMS, render_scene
from .song import STEMS, render_song
from .tools import MissingToolError, require_tools, versions

log = logging.getLogger(__name__)

# First words of the seeds, so that no two sets share random numbers.
TRAINING_SEED, DEMO_SEED = 2023, 7305
# A recording played slower or faster, and so lower or higher: ranges of the speed.
VARIANTS = {"a": (0.80, 0.92), "b": (1.08, 1.25)}
# The demo tracks live in the repository: what keeps them small.
DEMO_WIDTH, DEMO_BITS = 0.7, 14
LONGEST_SECONDS = 3600.0  # that a folder may take to be written, on a slow disk
SCENE_STRENGTH = 0.6  # the speed's exponent for scenes, whose speech must stay natural


@dataclass(frozen=True)
class Kind:
    """A challenge: our stems' names, its random stream, DnR's or MUSDB18's splits."""

    name: str
    stems: tuple[str, ...]
    stream: int
    train: str
    valid: str


MUSIC = Kind("music", STEMS, 1, "train", "valid")
CINEMATIC = Kind("cinematic", SCENE_STEMS, 2, "tr", "cv")
KINDS = {kind.name: kind for kind in (MUSIC, CINEMATIC)}
# DnR's names of the stems and the challenge's.
CHALLENGE_NAMES = {"speech": "dialog", "sfx": "effect"}


@dataclass(frozen=True)
class Rendered:
    """A song or scene: stems (stems, 2, samples) in the kind's order, and what it is, in words."""

    stems: Stems
    description: str


def render(kind: Kind, seed: tuple[int, ...], seconds: float, held_out: bool) -> Rendered:
    """One song or scene of `seconds`; the seed alone decides what it is."""
    rng = np.random.default_rng([*seed, kind.stream])
    palette = held_out_palette() if held_out else training_palette()
    if kind == MUSIC:
        song = render_song(rng, palette, seconds)
        return Rendered(song.stems, song.description)
    scene = render_scene(rng, palette, seconds, held_out)
    return Rendered(scene.stems, scene.description)


def named(kind: Kind, stems: Pcm) -> dict[str, Pcm]:
    """The stems under the kind's names for them."""
    return dict(zip(kind.stems, stems, strict=True))


def replayed(stems: Mapping[str, Pcm], speed: float) -> dict[str, Pcm]:
    """Stems played `speed` times as fast, their pitch higher by as much; all softer if they would clip."""
    slowed = np.stack([soxr.resample(stem.T, RATE * speed, RATE, quality="MQ").T for stem in stems.values()])
    whole = slowed.astype(np.float32)
    peak = max(float(np.abs(whole.sum(axis=0)).max()), float(np.abs(whole).max()), 1.0)
    whole *= min(1.0, 32_000 / peak)
    return dict(zip(stems, np.round(whole).astype(np.int16), strict=True))


def write_stems(folder: Path, stems: Mapping[str, Pcm]) -> None:
    """Stems as folder/{stem}.wav: 44.1 kHz, stereo, 16 bit."""

    def write(into: Path) -> None:
        for name, stem in stems.items():
            file = into / f"{name}.wav"
            with written(file):
                soundfile.write(file, stem.T, RATE, subtype="PCM_16")

    write_folder(folder, write)


@dataclass(frozen=True)
class Plan:
    """What training audio is asked for: songs or scenes of `seconds`, every `valid_every`-th one for validation."""

    kind: Kind
    root: Path
    seconds: float
    valid_every: int

    def folder(self, index: int) -> Path:
        """Where the song or scene of this number lies."""
        split = self.kind.train if index % self.valid_every else self.kind.valid
        return self.root / split / f"{index:05d}"

    def left(self, indices: Iterable[int]) -> list[int]:
        """Those that are not there yet."""
        return [index for index in indices if not self.folder(index).exists()]


def render_training(plan: Plan, indices: Iterable[int]) -> None:
    """Songs or scenes root/{split}/{index:05d}/{stem}.wav, skipping those that exist."""
    for index in plan.left(indices):
        log.info("%s", render_one(plan, index))


def render_over(address: Address, plan: Plan, left: Sequence[int], watcher: Watcher) -> None:
    """Have the workers of an engine render these; they need the same programs and sound fonts. EngineError."""
    plan.root.mkdir(parents=True, exist_ok=True)
    told, expected = replace(plan, root=plan.root.resolve()), versions()
    tasks = [Task(f"{plan.kind.name} {index:05d}", (told, index, expected)) for index in left]

    def changed(key: str) -> str | None:
        now = versions()
        return (
            None
            if now == expected
            else f"the programs have changed since the run began: {now}, were {expected}"
        )

    making.make_all(address, plan.root, render_on_worker, tasks, watcher, changed)


def render_on_worker(plan: Plan, index: int, expected: str) -> str:
    """`render_one` where its programs are those of whoever asks; raises UnfitError."""
    try:
        require_tools(held_out=False)
    except MissingToolError as error:
        raise UnfitError(f"cannot render: {error}") from None
    if (found := versions()) != expected:
        raise UnfitError(f"has other programs: found {found}, expected {expected}")
    return render_one(plan, index)


def render_one(plan: Plan, index: int) -> str:
    """One song or scene, and what it is, in words.

    Those that are not for validation come with two variants, {index}a and {index}b, which are the same recording
    replayed slower and faster.
    """
    kind, folder = plan.kind, plan.folder(index)
    remove_partial(folder.parent, f"{folder.name}*", LONGEST_SECONDS)
    made = render(kind, (TRAINING_SEED, index), plan.seconds, held_out=False)
    stems = named(kind, quantised(made.stems))
    rng = np.random.default_rng([TRAINING_SEED, index, kind.stream, 7])
    for tag, (low, high) in VARIANTS.items() if index % plan.valid_every else ():
        speed = float(rng.uniform(low, high)) ** (1.0 if kind == MUSIC else SCENE_STRENGTH)
        write_stems(folder.with_name(folder.name + tag), replayed(stems, speed))
    write_stems(folder, stems)
    return f"{kind.name} {folder.name}: {made.description}"


def demo_stems(kind: Kind, stems: Stems) -> Pcm:
    """Stems made small for FLAC: a narrower image, mono dialogue, and at most DEMO_BITS bits per sample."""
    widths = [0.0 if stem == "speech" else DEMO_WIDTH for stem in kind.stems]
    narrow = np.stack([narrowed(stem, width) for stem, width in zip(stems, widths, strict=True)])
    return quantised(narrow, DEMO_BITS)


def demo_files(kind: Kind, name: str, stems: Mapping[str, Pcm]) -> dict[str, Pcm]:
    """The files of a demo track in the challenge's layout: name without suffix -> (channels, samples).

    The mixture is the exact sum of the 16-bit stems.
    """
    total = np.sum(np.stack(list(stems.values())), axis=0, dtype=np.int32)
    mixture: Pcm = np.asarray(total, dtype=np.int16)
    if kind == MUSIC:
        return {"mixture": mixture, **stems}
    files = {f"{name}_mixture_Lt": mixture[:1], f"{name}_mixture_Rt": mixture[1:]}
    return files | {f"{name}_{CHALLENGE_NAMES.get(stem, stem)}": audio for stem, audio in stems.items()}


def render_demo(kind: Kind, root: Path, count: int, seconds: float) -> list[str]:
    """The demo tracks root/{song|scene}_{number}/*.flac, replacing those there; returns a line on each."""
    lines = []
    for number in range(1, count + 1):
        name = f"{'song' if kind == MUSIC else 'scene'}_{number}"
        made = render(kind, (DEMO_SEED, number), seconds, held_out=True)
        stems = named(kind, demo_stems(kind, made.stems))
        shutil.rmtree(root / name, ignore_errors=True)

        def write(into: Path, name: str = name, stems: Mapping[str, Pcm] = stems) -> None:
            for file, audio in demo_files(kind, name, stems).items():
                soundfile.write(into / f"{file}.flac", audio.T, RATE, subtype="PCM_16", compression_level=1.0)

        write_folder(root / name, write)
        lines.append(f"{kind.name}/{name}: {made.description}")
        log.info("%s", lines[-1])
    return lines


def audio_checksums(root: Path) -> dict[str, str]:
    """sha256 of the decoded 16-bit samples of every FLAC file below `root`, by relative path.

    Of the samples, not of the file: another version of the FLAC encoder may pack the same audio differently.
    """
    sums = {}
    for path in sorted(root.rglob("*.flac")):
        samples, _ = soundfile.read(path, dtype="int16", always_2d=True)
        sums[path.relative_to(root).as_posix()] = hashlib.sha256(samples.astype("<i2").tobytes()).hexdigest()
    return sums
