"""A preset's YAML file -> `preset.Preset`, checked in full before any model is loaded."""

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, NoReturn

import yaml

from my_submission.ensemble.preset import (
    INSTRUMENTS,
    MIXTURE,
    STEP_INPUT,
    Economy,
    Member,
    Preset,
    PresetError,
    Step,
    as_bag,
    check_overlap,
    check_segment_samples,
    check_shifts,
    is_number,
)
from my_submission.ensemble.signed_sum import parse_sum
from my_submission.signal.augment import Polarity
from my_submission.weights import Manifest, load_manifest
from my_submission.yaml_file import read_yaml

PRESETS_FOLDER = Path(__file__).parents[1] / "presets"


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
    root.check_keys(required={"track", "steps"}, optional={"description", "manifest", "economies"})
    extra = root.text("manifest", default=None)
    manifest = load_manifest(*([path.parent / extra] if extra else []))
    track = root.choice("track", INSTRUMENTS)
    steps: list[Step] = []
    for node in root.items("steps"):
        steps.append(_read_step(node, steps, manifest))
    _check_outputs(root, track, steps)
    description = root.text("description", default="") or ""
    return Preset(
        path.stem,
        track,
        description,
        tuple(steps),
        manifest,
        INSTRUMENTS[track],
        _read_economies(root, steps),
    )


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


_RUN_KEYS = {"polarity", "overlap", "shifts", "segment_samples"}
"""How members are run; given for a step, they hold for all its members that do not say otherwise."""


def _read_step(node: _Node, earlier: list[Step], manifest: Manifest) -> Step:
    optional = {"consistency", "residual_shares", "residual", "loudness_lufs", *_RUN_KEYS}
    node.check_keys(required={"name", "input", "stems", "members"}, optional=optional)
    name = node.text("name") or node.fail("name", "expected a name, found none")
    if name in [step.name for step in earlier]:
        node.fail("name", f"{name!r} is the name of an earlier step; give each step its own")
    signals = [MIXTURE, *(signal for step in earlier for signal in step.makes)]
    source = node.text("input")
    if source not in signals:
        node.fail("input", f"found {source!r}, which no earlier step makes; {_allowed(str(source), signals)}")
    stems = _names(node, "stems")
    shares = _read_shares(node, stems)
    residual = node.text("residual")
    if residual and math.isclose(sum(shares.values()), 1.0):
        node.fail("residual", "the stems leave nothing of the input, since their shares of it add up to one")
    made = [*stems, residual] if residual else list(stems)
    for signal in made:
        if signal in signals or signal == STEP_INPUT or made.count(signal) > 1:
            node.fail("", f"makes {signal!r}, which is already taken; every signal has one name")
    members = tuple(_read_member(item, node, stems, manifest) for item in node.items("members"))
    for stem in stems:
        if not any(stem in member.weights for member in members):
            node.fail("stems", f"{stem!r} has no member with a weight above zero; its weights sum to zero")
    loudness = node.value.get("loudness_lufs")
    if loudness is not None and (not is_number(loudness) or not -70 <= loudness <= 0):
        node.fail("loudness_lufs", f"expected a loudness from -70 to 0 LUFS, found {loudness!r}")
    return Step(name, str(source), stems, members, shares, residual, loudness)


def _read_shares(node: _Node, stems: tuple[str, ...]) -> dict[str, float]:
    """stem -> share of what the stems leave of the input; `consistency: true` is the same share for all."""
    consistency = node.value.get("consistency", False)
    if not isinstance(consistency, bool):
        node.fail("consistency", f"expected true or false, found {consistency!r}")
    if consistency and "residual_shares" in node.value:
        node.fail("residual_shares", "consistency: true is an equal share for all; drop one of the two keys")
    shares = node.value.get(
        "residual_shares", dict.fromkeys(stems, Fraction(1, len(stems))) if consistency else {}
    )
    if not isinstance(shares, dict):
        node.fail("residual_shares", f"expected a mapping of stems to shares, found {shares!r}")
    for stem in shares:
        if stem not in stems:
            node.fail("residual_shares", f"found {stem!r}; {_allowed(str(stem), stems)}")
    read = {stem: _read_share(node, stem, share) for stem, share in shares.items()}
    return {stem: share for stem, share in read.items() if share}


def _read_share(node: _Node, stem: str, value: Any) -> float:
    """A number, or a fraction as text: 1/3."""
    try:
        share = float(Fraction(value)) if is_number(value) or isinstance(value, str | Fraction) else math.nan
    except (ValueError, ArithmeticError):
        share = math.nan
    if not 0 <= share <= 1:
        node.fail(
            f"residual_shares.{stem}", f"expected a share from 0 to 1, such as 0.5 or 1/3, found {value!r}"
        )
    return share


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
        overlap=check_overlap(*setting("overlap", 0.25)),
        shifts=check_shifts(*setting("shifts", 0)),
        segment_samples=check_segment_samples(*setting("segment_samples", None)),
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
        if not is_number(weight) or weight < 0:
            node.fail(f"weights.{stem}", f"expected a number from 0 on, found {weight!r}")
        if stem not in sources:
            node.fail(
                f"weights.{stem}", f"{model} has no source {stem!r}; say in `sources` how to read it off"
            )
    used = {stem: float(weight) for stem, weight in weights.items() if weight > 0}
    if not used:
        node.fail("weights", "the weights sum to zero; remove the member or give it a weight")
    return used


_SAVINGS = {"drop", "polarity", "overlap", "shifts"}


def _read_economies(root: _Node, steps: list[Step]) -> tuple[Economy, ...]:
    """The list `economies`, each of which must save something after those before it."""
    if "economies" not in root.value:
        return ()
    economies = []
    current = {step.name: step for step in steps}
    for node in root.items("economies"):
        economy = _read_economy(node, current)
        before = current[economy.step]
        after = economy.applied_to(before)
        if after == before:
            node.fail("", "saves nothing that is not saved already; remove it")
        for stem in after.stems:
            if not any(stem in member.weights for member in after.members):
                node.fail("", f"leaves no member for {stem!r} in the step {economy.step!r}")
        current[economy.step] = after
        economies.append(economy)
    return tuple(economies)


def _read_economy(node: _Node, steps: Mapping[str, Step]) -> Economy:
    node.check_keys(required={"step"}, optional={"model", *_SAVINGS})
    step = node.choice("step", steps)
    savings = sorted(_SAVINGS & set(node.value))
    if len(savings) != 1:
        node.fail(
            "", f"expected one of {', '.join(sorted(_SAVINGS))}, found {' and '.join(savings) or 'none'}"
        )
    models = [member.model for member in steps[step].members if member.weights]
    saving, value = savings[0], node.value[savings[0]]
    place = f"{node.file}: {node.key}.{saving}"
    if saving == "drop":
        if "model" in node.value:
            node.fail("model", "with drop, which names the model, this key says nothing")
        return Economy(step, node.choice("drop", models), drop=True)
    whole = Economy(step, node.choice("model", models) if "model" in node.value else None)
    if saving == "overlap":
        return replace(whole, overlap=check_overlap(place, value))
    if saving == "shifts":
        return replace(whole, shifts=check_shifts(place, value))
    return replace(whole, polarity=Polarity(node.choice("polarity", [Polarity.PLAIN, Polarity.INVERTED])))


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
