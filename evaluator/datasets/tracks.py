"""The tracks of a data set before they are written: `synth` as Synth MVSep, `cinematic` after DnR's rules."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from evaluator.datasets import mixing
from evaluator.datasets.library import Clip, Library, Rng, excerpt
from evaluator.datasets.mixing import RATE_HZ, Audio

PEAK_DB = -0.5
JOIN_SECONDS = 0.01

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
class Draft:
    """A track before it is written: the audio of its stems and the pieces they are made of."""

    stems: Mapping[str, Audio]
    pieces: Mapping[str, Sequence[Piece]]


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
