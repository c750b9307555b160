"""An ensemble as data: YAML -> frozen records, checked in full before any model is loaded.

A preset is a list of steps. A step runs its members on one signal and makes the stems it names, each the weighted
mean of the members' estimates; what it makes, and its residual, later steps may take as their input.
"""

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

import yaml

from my_submission.augment import Polarity
from my_submission.signed_sum import parse_sum
from my_submission.weights import Bag, Checkpoint, Manifest, load_manifest
from my_submission.yaml_file import read_yaml

PRESETS_FOLDER = Path(__file__).parent / "presets"
MIXTURE = "mixture"
STEP_INPUT = "input"
"""In a member's `sources`, the signal that the step runs on."""

INSTRUMENTS = {
    "music": ("bass", "drums", "other", "vocals"),
    "cinematic": ("dialog", "effect", "music"),
}
"""The stems of each track of the challenge, in the organisers' order."""


class PresetError(ValueError):
    """A preset is wrong: the message names file, key, what was found and what is allowed."""


@dataclass(frozen=True)
class Member:
    """One model in a step.

    model: a checkpoint's or bag's name in the manifest.
    sources: stem -> how it is read off the model: {source or "input": +1 or −1}, summed.
    weights: stem -> weight above zero in the step's mean.
    """

    model: str
    sources: Mapping[str, Mapping[str, int]]
    weights: Mapping[str, float]
    polarity: Polarity
    overlap: float
    shifts: int


@dataclass(frozen=True)
class Step:
    """One stage of a cascade.

    stems: the signals it makes, each the weighted mean of its members' estimates.
    consistency: then add to every stem an equal share of what they leave of the input.
    residual: the name of the signal input − stems, or None.
    loudness_lufs: bring the input to this loudness for the models and undo the gain after, or None.
    """

    name: str
    input: str
    stems: tuple[str, ...]
    members: tuple[Member, ...]
    consistency: bool
    residual: str | None
    loudness_lufs: float | None

    @property
    def makes(self) -> tuple[str, ...]:
        return self.stems if self.residual is None else (*self.stems, self.residual)


@dataclass(frozen=True)
class Preset:
    """A named ensemble for one track of the challenge."""

    name: str
    track: str
    description: str
    steps: tuple[Step, ...]
    manifest: Manifest

    @property
    def instruments(self) -> tuple[str, ...]:
        return INSTRUMENTS[self.track]

    @property
    def checkpoints(self) -> tuple[str, ...]:
        """Names of the checkpoints whose output something uses, in order of first use."""
        experts = (
            expert
            for step in self.steps
            for member in step.members
            for expert, _ in needed_experts(member, self.manifest)
        )
        return tuple(dict.fromkeys(experts))

    @property
    def mixture_consistent(self) -> bool:
        """Whether the stems add up to the mixture by construction."""
        parts = {MIXTURE}
        for step in self.steps:
            if step.input in parts and (step.consistency or step.residual):
                parts = parts - {step.input} | set(step.makes)
        return parts == set(self.instruments)

    def override(self, overlap: float | None, shifts: int | None) -> "Preset":
        """The preset with another overlap or number of shifts in every member."""
        changes: dict[str, Any] = {}
        if overlap is not None:
            changes["overlap"] = _overlap("overlap", overlap)
        if shifts is not None:
            changes["shifts"] = _shifts("shifts", shifts)
        steps = tuple(
            replace(step, members=tuple(replace(member, **changes) for member in step.members))
            for step in self.steps
        )
        return replace(self, steps=steps)


def needed_experts(member: Member, manifest: Manifest) -> list[tuple[str, Mapping[str, float]]]:
    """(checkpoint name, {source: share}) of what a member runs, for the sources it uses only.

    The shares of a source add up to one over a bag's experts; a single checkpoint has shares of one.
    """
    used = {source for stem in member.weights for source in member.sources[stem]} - {STEP_INPUT}
    bag = as_bag(member.model, manifest)
    totals = {source: sum(weights.get(source, 0.0) for _, weights in bag.members) for source in used}
    experts: list[tuple[str, Mapping[str, float]]] = []
    for name, weights in bag.members:
        shares = {source: weights[source] / totals[source] for source in used if weights.get(source)}
        if shares:
            experts.append((name, shares))
    return experts


def as_bag(model: str, manifest: Manifest) -> Bag:
    """A bag by its name, or a checkpoint as the bag of itself."""
    if model in manifest.bags:
        return manifest.bags[model]
    return Bag(model, ((model, dict.fromkeys(manifest.checkpoints[model].sources, 1.0)),))


def preset_names() -> list[str]:
    """The presets that come with the submission."""
    return sorted(path.stem for path in PRESETS_FOLDER.glob("*.yaml"))


def load_preset(name_or_path: str | Path) -> Preset:
    """Read and check a preset.

    name_or_path: one of `preset_names()`, or a YAML file; a file's own checkpoints stand in the manifest file that
        its key `manifest` names, beside it.
    Raises PresetError for anything wrong in it, ManifestError for a wrong manifest.
    """
    path = _preset_path(name_or_path)
    try:
        document = read_yaml(path)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise PresetError(f"{path}: cannot be read as YAML: {error}") from error
    root = _Node(str(path), "", document)
    root.check_keys(required={"track", "steps"}, optional={"description", "manifest"})
    extra = root.text("manifest", default=None)
    manifest = load_manifest(*([path.parent / extra] if extra else []))
    track = root.choice("track", INSTRUMENTS)
    steps: list[Step] = []
    for node in root.items("steps"):
        steps.append(_read_step(node, steps, manifest))
    _check_outputs(root, track, steps)
    return Preset(path.stem, track, root.text("description", default="") or "", tuple(steps), manifest)


def _preset_path(name_or_path: str | Path) -> Path:
    path = Path(name_or_path)
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise PresetError(f"{path}: no such preset file")
        return path
    named = PRESETS_FOLDER / f"{name_or_path}.yaml"
    if str(name_or_path) not in preset_names():
        raise PresetError(
            f"preset: found {str(name_or_path)!r}; expected a YAML file or one of {', '.join(preset_names())}"
        )
    return named


@dataclass(frozen=True)
class _Node:
    """A mapping of the document with the place it stands in, for readable errors."""

    file: str
    key: str
    value: Any

    def fail(self, key: str, problem: str) -> NoReturn:
        place = ".".join(part for part in (self.key, key) if part)
        raise PresetError(f"{self.file}: {place + ': ' if place else ''}{problem}")

    def check_keys(self, required: set[str], optional: set[str]) -> None:
        if not isinstance(self.value, dict):
            self.fail("", f"expected a mapping, found {self.value!r}")
        for key in self.value:
            if key not in required | optional:
                self.fail("", f"unknown key {key!r}; {_allowed(key, required | optional)}")
        for key in sorted(required - set(self.value)):
            self.fail("", f"the key {key!r} is missing")

    def text(self, key: str, default: str | None = None) -> str | None:
        value = self.value.get(key, default)
        if value is not None and not isinstance(value, str):
            self.fail(key, f"expected text, found {value!r}")
        return value

    def choice(self, key: str, allowed: Iterable[str]) -> str:
        value = self.value[key]
        if value not in list(allowed):
            self.fail(key, f"found {value!r}; {_allowed(str(value), allowed)}")
        return str(value)

    def items(self, key: str) -> list["_Node"]:
        value = self.value[key]
        if not isinstance(value, list) or not value:
            self.fail(key, f"expected a list with at least one entry, found {value!r}")
        place = f"{self.key}.{key}" if self.key else key
        return [_Node(self.file, f"{place}[{index}]", item) for index, item in enumerate(value)]


def _allowed(found: str, allowed: Iterable[str]) -> str:
    names = sorted(map(str, allowed))
    close = difflib.get_close_matches(str(found), names, 1)
    return f"allowed: {', '.join(names)}" + (f" (did you mean {close[0]!r}?)" if close else "")


_RUN_KEYS = {"polarity", "overlap", "shifts"}
"""How members are run; given for a step, they hold for all its members that do not say otherwise."""


def _read_step(node: _Node, earlier: list[Step], manifest: Manifest) -> Step:
    optional = {"consistency", "residual", "loudness_lufs", *_RUN_KEYS}
    node.check_keys(required={"name", "input", "stems", "members"}, optional=optional)
    name = node.text("name") or node.fail("name", "expected a name, found none")
    if name in [step.name for step in earlier]:
        node.fail("name", f"{name!r} is the name of an earlier step; give each step its own")
    signals = [MIXTURE, *(signal for step in earlier for signal in step.makes)]
    source = node.text("input")
    if source not in signals:
        node.fail("input", f"found {source!r}, which no earlier step makes; {_allowed(str(source), signals)}")
    stems = _names(node, "stems")
    consistency = node.value.get("consistency", False)
    if not isinstance(consistency, bool):
        node.fail("consistency", f"expected true or false, found {consistency!r}")
    residual = node.text("residual")
    if residual and consistency:
        node.fail(
            "residual", "with consistency the stems leave nothing of the input; drop one of the two keys"
        )
    made = [*stems, residual] if residual else list(stems)
    for signal in made:
        if signal in signals or signal == STEP_INPUT or made.count(signal) > 1:
            node.fail("", f"makes {signal!r}, which is already taken; every signal has one name")
    members = tuple(_read_member(item, node, stems, manifest) for item in node.items("members"))
    for stem in stems:
        if not any(stem in member.weights for member in members):
            node.fail("stems", f"{stem!r} has no member with a weight above zero; its weights sum to zero")
    loudness = node.value.get("loudness_lufs")
    if loudness is not None and (not _is_number(loudness) or not -70 <= loudness <= 0):
        node.fail("loudness_lufs", f"expected a loudness from -70 to 0 LUFS, found {loudness!r}")
    return Step(name, str(source), stems, members, consistency, residual, loudness)


def _names(node: _Node, key: str) -> tuple[str, ...]:
    value = node.value[key]
    if not isinstance(value, list) or not value or not all(isinstance(item, str) and item for item in value):
        node.fail(key, f"expected a list of names, found {value!r}")
    return tuple(value)


def _read_member(node: _Node, step: _Node, stems: tuple[str, ...], manifest: Manifest) -> Member:
    node.check_keys(required={"model"}, optional={"sources", "weight", "weights", *_RUN_KEYS})
    model = node.choice("model", [*manifest.checkpoints, *manifest.bags])
    offered = {source for _, weights in as_bag(model, manifest).members for source in weights}
    sources = _read_sources(node, stems, offered)
    weights = _read_weights(node, stems, sources, model)

    def setting(key: str, default: Any) -> tuple[str, Any]:
        here = node if key in node.value else step
        return f"{here.file}: {here.key}.{key}", here.value.get(key, default)

    place, polarity = setting("polarity", Polarity.PLAIN)
    if polarity not in list(Polarity):
        raise PresetError(f"{place}: found {polarity!r}; {_allowed(str(polarity), Polarity)}")
    return Member(
        model=model,
        sources={stem: sources[stem] for stem in weights},
        weights=weights,
        polarity=Polarity(polarity),
        overlap=_overlap(*setting("overlap", 0.25)),
        shifts=_shifts(*setting("shifts", 0)),
    )


def _read_sources(node: _Node, stems: tuple[str, ...], offered: set[str]) -> dict[str, dict[str, int]]:
    """stem -> signed sources: the source of the same name, unless `sources` has a sum for the stem."""
    sums = node.value.get("sources", {})
    if not isinstance(sums, dict):
        node.fail("sources", f"expected a mapping of stems to sums of sources, found {sums!r}")
    sources = {stem: {stem: 1} for stem in stems if stem in offered}
    for stem, text in sums.items():
        if stem not in stems:
            node.fail("sources", f"found {stem!r}; {_allowed(str(stem), stems)}")
        sources[stem] = _read_sum(node, f"sources.{stem}", text, offered | {STEP_INPUT})
    return sources


def _read_sum(node: _Node, key: str, text: Any, allowed: set[str]) -> dict[str, int]:
    """`other + guitar - piano` as {"other": 1, "guitar": 1, "piano": -1}."""
    terms = parse_sum(text) if isinstance(text, str) else None
    if terms is None:
        node.fail(key, f"expected a sum such as 'other + guitar' or 'input - instrumental', found {text!r}")
    names = [name for name, _ in terms]
    for name in names:
        if name not in allowed or names.count(name) > 1:
            node.fail(key, f"found {name!r} in {text!r}; {_allowed(name, allowed)}, each once")
    if names == [STEP_INPUT]:
        node.fail(key, f"{text!r} uses nothing of the model")
    return dict(terms)


def _read_weights(
    node: _Node, stems: tuple[str, ...], sources: Mapping[str, Any], model: str
) -> dict[str, float]:
    """stem -> weight above zero; without any, 1 for every stem the model has a source for."""
    if "weight" in node.value and "weights" in node.value:
        node.fail("weight", "give either one weight for all stems or weights by stem")
    weights = node.value.get("weights", dict.fromkeys(sources, node.value.get("weight", 1)))
    if not isinstance(weights, dict):
        node.fail("weights", f"expected a mapping of stems to numbers, found {weights!r}")
    for stem, weight in weights.items():
        if stem not in stems:
            node.fail(
                "weights", f"found {stem!r}, which the step does not make; {_allowed(str(stem), stems)}"
            )
        if not _is_number(weight) or weight < 0:
            node.fail(f"weights.{stem}", f"expected a number from 0 on, found {weight!r}")
        if stem not in sources:
            node.fail(
                f"weights.{stem}", f"{model} has no source {stem!r}; say in `sources` how to read it off"
            )
    used = {stem: float(weight) for stem, weight in weights.items() if weight > 0}
    if not used:
        node.fail("weights", "the weights sum to zero; remove the member or give it a weight")
    return used


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _overlap(place: str, value: Any) -> float:
    if not _is_number(value) or not 0 <= value <= 0.99:
        raise PresetError(f"{place}: expected a fraction from 0 to 0.99, found {value!r}")
    return float(value)


def _shifts(place: str, value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= 100:
        raise PresetError(f"{place}: expected a whole number from 0 to 100, found {value!r}")
    return value


def _check_outputs(root: _Node, track: str, steps: list[Step]) -> None:
    made = [signal for step in steps for signal in step.makes]
    for stem in INSTRUMENTS[track]:
        if stem not in made:
            root.fail(
                "steps", f"no step makes {stem!r}; a {track} preset makes {', '.join(INSTRUMENTS[track])}"
            )
    wanted = {*INSTRUMENTS[track], *(step.input for step in steps)}
    for index, step in enumerate(steps):
        if not wanted & set(step.makes):
            root.fail(f"steps[{index}]", f"nothing uses what it makes: {', '.join(step.makes)}")


def checkpoint_rows(preset: Preset) -> list[Checkpoint]:
    """The manifest rows of `preset.checkpoints`."""
    return [preset.manifest.checkpoints[name] for name in preset.checkpoints]
