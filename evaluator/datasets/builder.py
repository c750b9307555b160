"""Builds data sets from a user's own recordings, in the challenges' layouts.

Track number i depends only on the seed, i and the recordings. So a stopped build continues as if nothing had
happened, and a longer set begins with the tracks of a shorter one.
"""

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from evaluator.datasets import mixing
from evaluator.datasets.library import Library, Rng
from evaluator.datasets.mixing import RATE_HZ, Pcm
from evaluator.datasets.recordings import RecordingError
from evaluator.datasets.tracks import SHORTEST_SCENE, Draft, Plan, cinematic_track, synth_track
from evaluator.running.dataset import DataError

Progress = Callable[[str], None]

RECIPE_FILE = "dataset.json"


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
