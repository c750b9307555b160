"""Builds data sets from a user's own recordings, in the challenges' layouts.

Track number i depends only on the seed, i and the recordings. So a stopped build continues as if nothing had
happened, and a longer set begins with the tracks of a shorter one.
"""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import soundfile

from evaluator.datasets import mixing
from evaluator.datasets.library import Library
from evaluator.datasets.mixing import RATE_HZ, Pcm
from evaluator.datasets.recordings import RecordingError, changed
from evaluator.datasets.tracks import SHORTEST_SCENE, Draft, Plan, cinematic_track, synth_track
from evaluator.datasets.whole_folders import remove_partial, write_folder
from evaluator.running.dataset import DataError
from sdx.engines import making
from sdx.engines.address import Address
from sdx.engines.making import Failed, Watcher
from sdx.engines.work import Task
from sdx.writing import written

Progress = Callable[[str], None]
Kind = Literal["synth", "cinematic"]

RECIPE_FILE = "dataset.json"


@dataclass(frozen=True)
class Recipe:
    """What determines a data set: its kind, the recordings of each stem or group of stems, and the plan."""

    kind: Kind
    libraries: Mapping[str, Library]
    plan: Plan

    def folder(self, index: int) -> Path:
        """Where a track lies."""
        return self.plan.out / f"{self.kind}_{index:04d}"


def synth(vocals: Library, instrumentals: Library, plan: Plan) -> Recipe:
    """Tracks in the music challenge's layout. Raises DataError.

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
    return Recipe("synth", {"vocals": vocals, "instrumental": instrumentals}, plan)


def cinematic(sources: Mapping[str, Library], plan: Plan) -> Recipe:
    """Tracks in the cinematic challenge's layout. Raises DataError."""
    if plan.seconds < SHORTEST_SCENE:
        raise DataError([f"scenes of {plan.seconds:g} s: expected at least {SHORTEST_SCENE:g} s"])
    return Recipe("cinematic", sources, plan)


def build(recipe: Recipe, progress: Progress) -> int:
    """Make the tracks that are not there yet, one after the other; returns how many. Raises DataError."""
    left = begin(recipe)
    for index in range(recipe.plan.tracks):
        if index in left:
            made = make_track(recipe, index)
            if isinstance(made, Failed):
                raise DataError([made.reason])
        progress(recipe.folder(index).name)
    return len(left)


def build_over(address: Address, recipe: Recipe, left: Sequence[int], watcher: Watcher) -> None:
    """Have the workers of an engine make these tracks; they see the recordings and the folder at the same paths.

    Each compares the recordings that it reads with ours by hash. What fails is told to the watcher; EngineError.
    """
    libraries = {name: found.hashed() for name, found in recipe.libraries.items()}
    told = replace(recipe, libraries=libraries, plan=replace(recipe.plan, out=recipe.plan.out.resolve()))
    tasks = [Task(recipe.folder(index).name, (told, index)) for index in left]
    read = [each for found in libraries.values() for item in found.items for each in item.values()]
    making.make_all(address, recipe.plan.out, make_track, tasks, watcher, lambda key: changed(read))


def make_track(recipe: Recipe, index: int) -> Failed | None:
    """Write one track, unless it is there; Failed names a recording that cannot be used."""
    folder, plan = recipe.folder(index), recipe.plan
    if folder.exists():
        return None  # another worker was quicker
    rng = np.random.default_rng([plan.seed, index])
    try:
        if recipe.kind == "synth":
            draft = synth_track(rng, recipe.libraries["vocals"], recipe.libraries["instrumental"], plan)
        else:
            draft = cinematic_track(rng, recipe.libraries, plan)
    except RecordingError as error:
        return Failed(f"{folder.name}: {error}")
    _write(folder, draft, FILES[recipe.kind], plan.suffix)
    return None


def _music_files(name: str, stems: Mapping[str, Pcm], mixture: Pcm) -> dict[str, Pcm]:
    return {"mixture": mixture, **stems}


def _cinematic_files(name: str, stems: Mapping[str, Pcm], mixture: Pcm) -> dict[str, Pcm]:
    sides = {f"{name}_mixture_Lt": mixture[:1], f"{name}_mixture_Rt": mixture[1:]}
    return sides | {f"{name}_{stem}": audio for stem, audio in stems.items()}


Files = Callable[[str, Mapping[str, Pcm], Pcm], dict[str, Pcm]]
FILES: Mapping[Kind, Files] = {"synth": _music_files, "cinematic": _cinematic_files}
"""{kind: (name, stems, mixture) -> {file name without its ending: audio}}."""


def begin(recipe: Recipe) -> list[int]:
    """Make the folder; the tracks that are not in it yet. DataError for a folder that was begun otherwise."""
    _begin(recipe.kind, recipe.libraries, recipe.plan)
    remove_partial(recipe.plan.out)
    return [index for index in range(recipe.plan.tracks) if not recipe.folder(index).exists()]


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
    files: Files,
    suffix: str,
) -> None:
    """The track's files, complete or not at all."""
    whole = mixing.quantised(np.stack(list(draft.stems.values())))
    mixture = np.asarray(whole.sum(axis=0, dtype=np.int32), dtype=np.int16)
    pieces = {stem: [asdict(piece) for piece in made] for stem, made in draft.pieces.items()}

    def write(into: Path) -> None:
        for name, audio in files(folder.name, dict(zip(draft.stems, whole, strict=True)), mixture).items():
            file = into / f"{name}{suffix}"
            with written(file):
                soundfile.write(file, audio.T, RATE_HZ, subtype="PCM_16")
        (into / "pieces.json").write_text(json.dumps(pieces, indent=2) + "\n")

    write_folder(folder, write)
