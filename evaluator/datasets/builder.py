"""Builds data sets from a user's own recordings: `synth` as Synth MVSep, `cinematic` after DnR's rules.

Track number i depends only on the seed, i and the recordings. So a stopped build continues as if nothing had
happened, and a longer set begins with the tracks of a shorter one.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from evaluator.datasets import mixing, recordings
from evaluator.datasets.mixing import RATE_HZ, Audio, Pcm
from evaluator.datasets.recordings import Recording, RecordingError
from evaluator.running.dataset import DataError

Rng = np.random.Generator
Progress = Callable[[str], None]

RECIPE_FILE = "dataset.json"
PEAK_DB = -0.5
JOIN_SECONDS = 0.01
FEWEST_SECONDS = 0.1  # shorter recordings are left out
ATTEMPTS = 50

# Divide and Remaster v2 (Petermann et al., "The Cocktail Fork Problem", 2022): loudness in LUFS.
LOUDNESS = {"dialog": -17.0, "effect": -21.0, "music": -24.0}
MIXTURE_LOUDNESS = -27.0
CLASS_SPREAD, CLIP_SPREAD = 2.0, 1.0
# Clips a minute (the mean of a Poisson distribution, at least one) and the longest clip in seconds.
CLIPS_PER_MINUTE = {"dialog": 8.0, "effect": 12.0, "music": 4.0}
LONGEST_CLIP = {"dialog": 15.0, "effect": 10.0, "music": 30.0}
SHORTEST_CLIP = 0.5
FILLED = (0.55, 0.9)  # at most this share of a scene has clips of a class
SHORTEST_SCENE = 2.0  # seconds
MUSIC_FADE_SECONDS = 0.5


@dataclass(frozen=True)
class Plan:
    """What is asked for: how many tracks of how many seconds, from which seed, as wav or flac."""

    out: Path
    tracks: int
    seconds: float
    seed: int
    suffix: str = ".wav"

    @property
    def samples(self) -> int:
        return round(self.seconds * RATE_HZ)


@dataclass(frozen=True)
class Piece:
    """Where a stretch of a track comes from, in seconds."""

    source: str
    source_start: float
    start: float
    seconds: float


@dataclass(frozen=True)
class Clip:
    """A stretch of one recording, or of its stems: {stem: audio (2, samples)}."""

    stems: Mapping[str, Audio]
    source: str
    source_start: float

    @property
    def samples(self) -> int:
        return int(next(iter(self.stems.values())).shape[1])


@dataclass(frozen=True)
class Library:
    """Recordings of one kind; each is {stem: file}, of equal length within a tenth of a second.

    `left_out` holds one sentence for everything in the folder that cannot be used.
    """

    root: Path
    items: Sequence[Mapping[str, Recording]]
    left_out: Sequence[str]

    def name(self, item: Mapping[str, Recording]) -> str:
        path = next(iter(item.values())).path
        return (path if len(item) == 1 else path.parent).relative_to(self.root).as_posix()


@dataclass(frozen=True)
class Draft:
    """A track before it is written: the audio of its stems and the pieces they are made of."""

    stems: Mapping[str, Audio]
    pieces: Mapping[str, Sequence[Piece]]


def library(root: Path, stem: str, parts: Sequence[str] = ()) -> Library:
    """The recordings below `root`, each a file of the stem `stem`.

    A folder that holds a file for every one of `parts` (as "bass.wav") is one recording in stems.
    Files that are unreadable, shorter than 0.1 s or silent from end to end are left out.
    Raises DataError if nothing can be used.
    """
    if not root.is_dir():
        raise DataError([f"{root}: not a folder; expected one with recordings"])
    items: list[Mapping[str, Recording]] = []
    left_out: list[str] = []
    by_folder: dict[Path, list[Path]] = {}
    for path in recordings.find(root):
        by_folder.setdefault(path.parent, []).append(path)
    for paths in by_folder.values():
        named = {path.stem.lower(): path for path in paths}
        groups = (
            [{part: named[part] for part in parts}]
            if parts and named.keys() >= set(parts)
            else [{stem: path} for path in paths]
        )
        for group in groups:
            try:
                items.append(_usable(group))
            except RecordingError as error:
                left_out.append(str(error))
    if not items:
        problem = (
            f"{root}: no usable recording; expected audio files ({' '.join(sorted(recordings.SUFFIXES))})"
        )
        raise DataError([problem, *left_out])
    return Library(root, items, left_out)


def _usable(group: Mapping[str, Path]) -> Mapping[str, Recording]:
    probed = {part: recordings.probe(path) for part, path in group.items()}
    path, lengths = next(iter(group.values())), [recording.seconds for recording in probed.values()]
    if max(lengths) - min(lengths) > 0.1:
        raise RecordingError(
            f"{path.parent}: stems of {min(lengths):.1f} to {max(lengths):.1f} s, expected equal lengths"
        )
    if min(lengths) < FEWEST_SECONDS:
        raise RecordingError(f"{path}: {min(lengths):.2f} s long, expected at least {FEWEST_SECONDS} s")
    if not any(_has_sound(recording) for recording in probed.values()):
        raise RecordingError(f"{path}: silent (nothing above {mixing.SILENCE_DB:.0f} dBFS)")
    return probed


def _has_sound(recording: Recording) -> bool:
    """Whether anything in the file is above the silence level; reads half a minute at a time."""
    step = 30.0
    starts = np.arange(0.0, recording.seconds, step)
    return any(not mixing.is_silent(recordings.read(recording, float(start), step)) for start in starts)


def excerpt(rng: Rng, source: Library, longest: float) -> Clip:
    """A random stretch of at most `longest` seconds of a random recording in which every stem is heard.

    After fifty attempts, one in which any stem is heard is enough.
    Raises RecordingError if there was none of these either, or if a file cannot be decoded.
    """
    second_best: Clip | None = None
    for _ in range(ATTEMPTS):
        item = source.items[int(rng.integers(len(source.items)))]
        length = min(recording.seconds for recording in item.values())
        start = float(rng.uniform(0.0, max(0.0, length - longest)))
        read = {stem: recordings.read(recording, start, longest) for stem, recording in item.items()}
        samples = min(audio.shape[1] for audio in read.values())
        stems = {stem: audio[:, :samples] for stem, audio in read.items()}
        heard = [not mixing.is_silent(audio) for audio in stems.values()]
        if all(heard):
            return Clip(stems, source.name(item), start)
        if any(heard) and second_best is None:
            second_best = Clip(stems, source.name(item), start)
    if second_best is None:
        raise RecordingError(f"{source.root}: {ATTEMPTS} random excerpts of {longest:.1f} s were all silent")
    return second_best


def joined(rng: Rng, source: Library, plan: Plan) -> tuple[dict[str, Audio], list[Piece]]:
    """Excerpts of random recordings, one after another until the track is full; a long one fills it alone."""
    names = sorted({stem for item in source.items for stem in item})
    stems = {stem: np.zeros((2, plan.samples), np.float32) for stem in names}
    pieces: list[Piece] = []
    now = 0
    while now < plan.samples:
        clip = excerpt(rng, source, (plan.samples - now) / RATE_HZ)
        for stem, audio in clip.stems.items():
            stems[stem][:, now : now + clip.samples] = mixing.faded(audio, JOIN_SECONDS)
        pieces.append(Piece(clip.source, clip.source_start, now / RATE_HZ, clip.samples / RATE_HZ))
        now += clip.samples
    return stems, pieces


def without_clipping(stems: Mapping[str, Audio]) -> dict[str, Audio]:
    """Stems under one common gain, so that neither they nor their sum pass −0.5 dBFS."""
    highest = mixing.peak(np.stack(list(stems.values())))
    factor = np.float32(min(1.0, mixing.gain(PEAK_DB) / max(highest, 1e-9)))
    return {stem: audio * factor for stem, audio in stems.items()}


def synth_track(rng: Rng, vocals: Library, instrumentals: Library, plan: Plan) -> Draft:
    """Random vocals over a random instrumental, at the levels they were recorded at."""
    sung, sung_pieces = joined(rng, vocals, plan)
    played, played_pieces = joined(rng, instrumentals, plan)
    return Draft(without_clipping({**played, **sung}), {"vocals": sung_pieces, "instrumental": played_pieces})


def spread_out(rng: Rng, lengths: Sequence[int], samples: int) -> list[int]:
    """Start samples that place clips of these lengths in this order without overlap, silence shared at random.

    Raises ValueError if they are longer than `samples` together.
    """
    free = samples - sum(lengths)
    if free < 0:
        raise ValueError(f"clips of {sum(lengths)} samples do not fit {samples}")
    shares = np.diff([0, *np.sort(rng.integers(0, free + 1, len(lengths))), free])[:-1]
    starts, now = [], 0
    for gap, length in zip(shares, lengths, strict=True):
        now += int(gap)
        starts.append(now)
        now += length
    return starts


def clip_track(rng: Rng, stem: str, source: Library, plan: Plan, target: float) -> tuple[Audio, list[Piece]]:
    """One class of a scene: clips with silences between them, each at the loudness `target` ± 1 LUFS."""
    wanted = max(1, int(rng.poisson(CLIPS_PER_MINUTE[stem] * plan.seconds / 60.0)))
    clips: list[Clip] = []
    left = round(plan.samples * rng.uniform(*FILLED))
    for _ in range(wanted):
        longest = min(LONGEST_CLIP[stem] * float(rng.uniform(0.4, 1.0)), left / RATE_HZ)
        if longest < SHORTEST_CLIP:
            break
        clips.append(excerpt(rng, source, longest))
        left -= clips[-1].samples
    track = np.zeros((2, plan.samples), np.float32)
    pieces = []
    for clip, start in zip(clips, spread_out(rng, [c.samples for c in clips], plan.samples), strict=True):
        audio = mixing.faded(clip.stems[stem], MUSIC_FADE_SECONDS if stem == "music" else JOIN_SECONDS)
        aim = target + float(rng.uniform(-CLIP_SPREAD, CLIP_SPREAD))
        track[:, start : start + clip.samples] = audio * np.float32(mixing.gain(aim - _measured(audio)))
        pieces.append(Piece(clip.source, clip.source_start, start / RATE_HZ, clip.samples / RATE_HZ))
    return track, pieces


def _measured(audio: Audio) -> float:
    """Loudness, or the level of the loudest tenth of a second where the gates of the measure leave nothing."""
    found = mixing.loudness(audio)
    return found if np.isfinite(found) else float(mixing.block_levels(audio).max())


def cinematic_track(rng: Rng, sources: Mapping[str, Library], plan: Plan) -> Draft:
    """Dialogue, effects and music at DnR's loudness, the mixture at −27 ± 2 LUFS unless it would clip."""
    stems, pieces = {}, {}
    for stem, source in sources.items():
        target = LOUDNESS[stem] + float(rng.uniform(-CLASS_SPREAD, CLASS_SPREAD))
        stems[stem], pieces[stem] = clip_track(rng, stem, source, plan, target)
    wanted = MIXTURE_LOUDNESS + float(rng.uniform(-CLASS_SPREAD, CLASS_SPREAD))
    factor = np.float32(mixing.gain(wanted - _measured(np.asarray(sum(stems.values())))))
    return Draft(without_clipping({stem: audio * factor for stem, audio in stems.items()}), pieces)


def build_synth(vocals: Library, instrumentals: Library, plan: Plan, progress: Progress) -> int:
    """Tracks in the music challenge's layout; returns how many were made now. Raises DataError.

    With an instrumental library in stems the references are vocals, bass, drums and other; otherwise they
    are vocals and instrumental, as in Synth MVSep.
    """
    kinds = {tuple(sorted(item)) for item in instrumentals.items}
    if len(kinds) > 1:
        raise DataError(
            [
                f"{instrumentals.root}: some recordings are in stems and some are not; use a folder for each kind"
            ]
        )
    libraries = {"vocals": vocals, "instrumental": instrumentals}

    def make(rng: Rng) -> Draft:
        return synth_track(rng, vocals, instrumentals, plan)

    def files(name: str, stems: Mapping[str, Pcm], mixture: Pcm) -> dict[str, Pcm]:
        return {"mixture": mixture, **stems}

    return _build("synth", libraries, plan, make, files, progress)


def build_cinematic(sources: Mapping[str, Library], plan: Plan, progress: Progress) -> int:
    """Tracks in the cinematic challenge's layout; returns how many were made now. Raises DataError."""
    if plan.seconds < SHORTEST_SCENE:
        raise DataError([f"scenes of {plan.seconds:g} s: expected at least {SHORTEST_SCENE:g} s"])

    def make(rng: Rng) -> Draft:
        return cinematic_track(rng, sources, plan)

    def files(name: str, stems: Mapping[str, Pcm], mixture: Pcm) -> dict[str, Pcm]:
        sides = {f"{name}_mixture_Lt": mixture[:1], f"{name}_mixture_Rt": mixture[1:]}
        return sides | {f"{name}_{stem}": audio for stem, audio in stems.items()}

    return _build("cinematic", sources, plan, make, files, progress)


def _build(
    kind: str,
    libraries: Mapping[str, Library],
    plan: Plan,
    make: Callable[[Rng], Draft],
    files: Callable[[str, Mapping[str, Pcm], Pcm], dict[str, Pcm]],
    progress: Progress,
) -> int:
    _begin(kind, libraries, plan)
    made = 0
    for index in range(plan.tracks):
        name = f"{kind}_{index:04d}"
        folder = plan.out / name
        if not folder.exists():
            try:
                draft = make(np.random.default_rng([plan.seed, index]))
            except RecordingError as error:
                raise DataError([f"{name}: {error}"]) from error
            _write(folder, draft, files, plan.suffix)
            made += 1
        progress(name)
    return made


def _begin(kind: str, libraries: Mapping[str, Library], plan: Plan) -> None:
    """Make the folder and note what determines its tracks; DataError for a folder that was begun otherwise."""
    recipe = {
        "kind": kind,
        "seconds": plan.seconds,
        "seed": plan.seed,
        "format": plan.suffix,
        "recordings": {name: _digest(found) for name, found in libraries.items()},
    }
    inside = [
        found.root for found in libraries.values() if plan.out.resolve().is_relative_to(found.root.resolve())
    ]
    if inside:
        raise DataError(
            [f"{plan.out}: inside {inside[0]}, whose recordings it is made of; choose a folder outside"]
        )
    if plan.out.exists() and not plan.out.is_dir():
        raise DataError([f"{plan.out}: not a folder; choose a new one"])
    path = plan.out / RECIPE_FILE
    if not path.exists():
        if plan.out.is_dir() and any(plan.out.iterdir()):
            raise DataError([f"{plan.out}: not empty and not begun by this command; choose a new folder"])
        plan.out.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(recipe, indent=2) + "\n")
        return
    try:
        before: dict[str, Any] = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise DataError([f"{path}: not JSON ({error}); remove it and the tracks beside it"]) from error
    problems = [
        f"{path}: {key} was {before.get(key)}, now {recipe[key]}; continue as before or choose a new folder"
        for key in recipe
        if before.get(key) != recipe[key]
    ]
    if problems:
        raise DataError(problems)


def _digest(found: Library) -> str:
    """Changes when a recording is added, taken away, renamed or becomes longer or shorter."""
    lines = [
        f"{recording.path.relative_to(found.root).as_posix()} {recording.seconds:.3f}"
        for item in found.items
        for recording in item.values()
    ]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def _write(
    folder: Path,
    draft: Draft,
    files: Callable[[str, Mapping[str, Pcm], Pcm], dict[str, Pcm]],
    suffix: str,
) -> None:
    """The track's files, complete or not at all."""
    whole = mixing.quantised(np.stack(list(draft.stems.values())))
    mixture = np.asarray(whole.sum(axis=0, dtype=np.int32), dtype=np.int16)
    temporary = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    for name, audio in files(folder.name, dict(zip(draft.stems, whole, strict=True)), mixture).items():
        soundfile.write(temporary / f"{name}{suffix}", audio.T, RATE_HZ, subtype="PCM_16")
    pieces = {stem: [asdict(piece) for piece in made] for stem, made in draft.pieces.items()}
    (temporary / "pieces.json").write_text(json.dumps(pieces, indent=2) + "\n")
    temporary.rename(folder)
