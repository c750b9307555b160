"""Renders whole sets: training audio, and the demo tracks; songs and scenes appear complete or not at all."""

import hashlib
import logging
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

from evaluator.datasets.mixing import quantised

from .catalogue import held_out_palette, training_palette
from .dsp import RATE, Pcm, Stems, narrowed
from .scene import SCENE_STEMS, render_scene
from .song import STEMS, render_song

log = logging.getLogger(__name__)

# First words of the seeds, so that no two sets share random numbers.
TRAINING_SEED, DEMO_SEED = 2023, 7305
# A recording played slower or faster, and so lower or higher: ranges of the speed.
VARIANTS = {"a": (0.80, 0.92), "b": (1.08, 1.25)}
# The demo tracks live in the repository: what keeps them small.
DEMO_WIDTH, DEMO_BITS = 0.7, 14
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
    if kind is MUSIC:
        song = render_song(rng, palette, seconds)
        return Rendered(song.stems, song.description)
    scene = render_scene(rng, palette, seconds, held_out)
    return Rendered(scene.stems, scene.description)


def named(kind: Kind, stems: Pcm) -> dict[str, Pcm]:
    return dict(zip(kind.stems, stems, strict=True))


def replayed(stems: Mapping[str, Pcm], speed: float) -> dict[str, Pcm]:
    """Stems played `speed` times as fast, their pitch higher by as much; all softer if they would clip."""
    slowed = np.stack([soxr.resample(stem.T, RATE * speed, RATE, quality="MQ").T for stem in stems.values()])
    whole = slowed.astype(np.float32)
    peak = max(float(np.abs(whole.sum(axis=0)).max()), float(np.abs(whole).max()), 1.0)
    whole *= min(1.0, 32_000 / peak)
    return dict(zip(stems, np.round(whole).astype(np.int16), strict=True))


def write_folder(folder: Path, write: Callable[[Path], None]) -> None:
    """Has `write` fill a temporary folder beside `folder`, then renames it into place."""
    temporary = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    write(temporary)
    temporary.rename(folder)


def write_stems(folder: Path, stems: Mapping[str, Pcm]) -> None:
    """Stems as folder/{stem}.wav: 44.1 kHz, stereo, 16 bit."""

    def write(into: Path) -> None:
        for name, stem in stems.items():
            soundfile.write(into / f"{name}.wav", stem.T, RATE, subtype="PCM_16")

    write_folder(folder, write)


def render_training(kind: Kind, root: Path, indices: Iterable[int], seconds: float, valid_every: int) -> None:
    """Songs or scenes root/{split}/{index:05d}/{stem}.wav, skipping those that exist.

    Every `valid_every`-th index goes to the validation split; each of the others comes with two variants,
    {index}a and {index}b, which are the same recording replayed slower and faster.
    """
    for index in indices:
        validation = index % valid_every == 0
        folder = root / (kind.valid if validation else kind.train) / f"{index:05d}"
        if folder.exists():
            continue
        made = render(kind, (TRAINING_SEED, index), seconds, held_out=False)
        stems = named(kind, quantised(made.stems))
        rng = np.random.default_rng([TRAINING_SEED, index, kind.stream, 7])
        for tag, (low, high) in {} if validation else VARIANTS.items():
            speed = float(rng.uniform(low, high)) ** (1.0 if kind is MUSIC else SCENE_STRENGTH)
            write_stems(folder.with_name(folder.name + tag), replayed(stems, speed))
        write_stems(folder, stems)
        log.info("%s %s: %s", kind.name, folder.name, made.description)


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
    if kind is MUSIC:
        return {"mixture": mixture, **stems}
    files = {f"{name}_mixture_Lt": mixture[:1], f"{name}_mixture_Rt": mixture[1:]}
    return files | {f"{name}_{CHALLENGE_NAMES.get(stem, stem)}": audio for stem, audio in stems.items()}


def render_demo(kind: Kind, root: Path, count: int, seconds: float) -> list[str]:
    """The demo tracks root/{song|scene}_{number}/*.flac, replacing those there; returns a line on each."""
    lines = []
    for number in range(1, count + 1):
        name = f"{'song' if kind is MUSIC else 'scene'}_{number}"
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
