"""All systems that the kit can run: its presets, and the bags and checkpoints that a preset of one's own can name."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from my_submission.ensemble.preset import Preset, as_bag
from my_submission.ensemble.preset_reader import load_preset, preset_names
from my_submission.schema import read_document
from my_submission.weights import Checkpoint, Manifest, ManifestError, load_manifest
from my_submission.weights.licences import licence_text
from my_submission.weights.manifest import WEIGHTS_FOLDER

PUBLISHED_SCORES = WEIGHTS_FOLDER / "published_scores.yaml"


@dataclass(frozen=True)
class Published:
    """What others published of a system: on which data, by which measure, in dB by stem and "mean"."""

    set: str  # its name in published_scores.yaml
    data: str
    measure: str
    scores: Mapping[str, float]


@dataclass(frozen=True)
class System:
    """A preset, or a bag or checkpoint that a preset of one's own can name.

    makes: stems of a preset, sources of the others. files: the rows whose files it needs.
    """

    name: str
    kind: str  # preset, bag or checkpoint
    makes: tuple[str, ...]
    files: tuple[Checkpoint, ...]
    published: tuple[Published, ...] = ()

    @property
    def bytes(self) -> int | None:
        """Size of all its files, as far as they are known; None if none is."""
        return about_bytes(self.files)


def all_systems() -> list[System]:
    """The shipped presets by name; then bags and checkpoints, but for those that a preset runs alone or a bag has.

    Raises PresetError or ManifestError for a file that is not as it should be.
    """
    manifest, scores = load_manifest(outline=True), _published()
    systems = [_of_preset(load_preset(name, outline=True), scores) for name in preset_names()]
    alone = {one.files[0].name for one in systems if len(one.files) == 1}
    part = {part for row in manifest.checkpoints.values() for part in row.parts}
    in_bags = {name for bag in manifest.bags.values() for name, _ in bag.members}
    for name in manifest.bags:
        systems.append(_of_manifest(name, "bag", manifest, scores))
    for name, row in manifest.checkpoints.items():
        if name == row.row and row.has_file and name not in alone | part | in_bags:
            systems.append(_of_manifest(name, "checkpoint", manifest, scores))
    return systems


def about_bytes(rows: Iterable[Checkpoint]) -> int | None:
    """Size of these rows' files, as far as they are known; None if none is."""
    sizes = [row.about_bytes for row in rows if row.about_bytes is not None]
    return sum(sizes) if sizes else None


def files_of(manifest: Manifest, checkpoints: Iterable[str]) -> tuple[Checkpoint, ...]:
    """The rows whose files these checkpoints need, each once: those of their parts, too, and of any form one."""
    names = dict.fromkeys(row.row for row in manifest.with_parts(checkpoints) if row.has_file)
    return tuple(manifest.checkpoints[name] for name in names)


def rows_by_licence(rows: Iterable[Checkpoint]) -> dict[str, tuple[str, ...]]:
    """Licence, as people read it -> the names of the rows that have it."""
    by_text: dict[str, list[str]] = {}
    for row in rows:
        by_text.setdefault(licence_text(row), []).append(row.name)
    return {text: tuple(names) for text, names in by_text.items()}


def _of_preset(preset: Preset, scores: Mapping[str, tuple[Published, ...]]) -> System:
    """With the scores of its checkpoint, too, if it runs one file."""
    files = files_of(preset.manifest, preset.checkpoints)
    names = dict.fromkeys([preset.name, *(row.name for row in files if len(files) == 1)])
    published = tuple(one for name in names for one in scores.get(name, ()))
    return System(preset.name, "preset", preset.instruments, files, published)


def _of_manifest(
    name: str, kind: str, manifest: Manifest, scores: Mapping[str, tuple[Published, ...]]
) -> System:
    members = as_bag(name, manifest).members
    sources = tuple(dict.fromkeys(source for _, weights in members for source in weights))
    return System(name, kind, sources, files_of(manifest, (one for one, _ in members)), scores.get(name, ()))


def _published() -> dict[str, tuple[Published, ...]]:
    """System -> what was published of it. A row names the preset that runs this model and no other, or the
    checkpoint, if its own name is not that of a system."""
    if not PUBLISHED_SCORES.is_file():  # a packed submission has none
        return {}
    found: dict[str, list[Published]] = {}
    sets: list[dict[str, Any]] = read_document(PUBLISHED_SCORES, ManifestError)
    for one in sets:
        for row in one["rows"]:
            scores = {key: value for key, value in row.items() if key not in ("name", "preset", "checkpoint")}
            published = Published(one["name"], one["data"], one["measure"], scores)
            system = row.get("preset") or row.get("checkpoint") or row["name"]
            found.setdefault(system, []).append(published)
    return {name: tuple(several) for name, several in found.items()}
