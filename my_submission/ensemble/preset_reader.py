"""A preset's YAML file -> `preset.Preset`, checked in full before any model is loaded.

The records of `preset_rows` say what the file may hold. Here is checked what only the whole file and the manifest can
tell: whether the models, sources, stems and signals that it names exist.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

from my_submission.ensemble.preset import (
    CHALLENGES,
    MIXTURE,
    STEP_INPUT,
    Economy,
    Member,
    Preset,
    PresetError,
    Step,
    as_bag,
    check_work,
)
from my_submission.ensemble.preset_rows import WIENER, EconomyRow, MemberRow, PresetRow, StepRow
from my_submission.ensemble.signed_sum import parse_sum
from my_submission.plain_files import check_regular, read_regular
from my_submission.registry import find_architecture
from my_submission.schema import (
    LARGEST_DOCUMENT_BYTES,
    LONGEST_TEXT,
    Record,
    allowed_text,
    brief,
    did_you_mean,
    place_text,
    read,
    validate,
)
from my_submission.signal.augment import Polarity
from my_submission.weights import Checkpoint, Manifest, load_manifest

PRESETS_FOLDER = Path(__file__).parents[1] / "presets"


def preset_names() -> list[str]:
    """The presets that come with the submission. There may be manifests in the same folder."""
    return sorted(path.stem for path in PRESETS_FOLDER.glob("*.yaml") if not is_manifest(path))


def called(preset: Preset) -> str:
    """What a command takes for a preset: its name if it comes with the submission, else its file."""
    own = (PRESETS_FOLDER / f"{preset.name}.yaml").resolve()
    return preset.name if preset.path.resolve() == own else str(preset.path)


def is_manifest(path: Path) -> bool:
    """Whether a YAML file has checkpoints or bags and no steps, by the lines that begin with these keys."""
    try:
        text = read_regular(path, LARGEST_DOCUMENT_BYTES).decode(errors="replace")
    except OSError:
        return False
    return bool(re.search(r"(?m)^(checkpoints|bags)\s*:", text)) and not re.search(r"(?m)^steps\s*:", text)


def load_preset(name_or_path: str | Path, outline: bool = False) -> Preset:
    """Read and check a preset.

    name_or_path: one of `preset_names()`, or a YAML file; a file's own checkpoints are in the manifest that its key
        `manifest` names, relative to the preset.
    outline: of its models only what the manifest says by itself (`load_manifest`): for what lists presets.
    Raises PresetError for anything wrong in it, ManifestError for a wrong manifest.
    """
    path = _preset_path(name_or_path)
    row = read(PresetRow, path, PresetError)
    manifest_file = path.parent / row.manifest if row.manifest else None
    manifest = load_manifest(*([manifest_file] if manifest_file else []), outline=outline)
    manifest = _with_filters(manifest, row, path)
    root = _Place(path)
    steps: list[Step] = []
    for index, step in enumerate(row.steps):
        steps.append(_Reader(root.at("steps", index), step, manifest).step(steps))
    instruments = row.stems or CHALLENGES[str(row.challenge or row.track)]
    _check_outputs(root, instruments, steps)
    economies = _read_economies(root, row.economies, steps)
    return check_work(
        Preset(path.stem, row.description, tuple(steps), manifest, instruments, path, economies)
    )


def _with_filters(manifest: Manifest, row: "PresetRow", path: Path) -> Manifest:
    """The manifest with the filters that members name: checkpoints without files."""
    filters = {}
    for index, step in enumerate(row.steps):
        for place, member in enumerate(step.members):
            if member.wiener is not None:
                at = ("steps", index, "members", place, WIENER)
                kind = Record if manifest.is_outline else find_architecture(WIENER).parameters
                given = {} if manifest.is_outline else dict(member.wiener)
                parameters = validate(kind, given, path, PresetError, at)
                filters[member.name] = Checkpoint(
                    name=member.name,
                    architecture=WIENER,
                    sources=tuple(member.estimates),
                    parameters=parameters,
                    file="",
                    bytes=None,
                    about_bytes=None,
                    sha256=None,
                    origins=(),
                    licence=None,
                    manifest=path,
                    path=None,
                )
    return replace(manifest, checkpoints={**manifest.checkpoints, **filters}) if filters else manifest


def _preset_path(name_or_path: str | Path) -> Path:
    path = Path(name_or_path)
    if path.suffix in (".yaml", ".yml"):
        try:
            check_regular(path)
        except FileNotFoundError as error:
            raise PresetError(f"{path}: no such preset file") from error
        except OSError as error:
            raise PresetError(str(error)) from error
        return path
    named = PRESETS_FOLDER / f"{name_or_path}.yaml"
    name, names = str(name_or_path), preset_names()
    if name not in names:
        raise PresetError(
            f"preset: found {name!r}{did_you_mean(name, names)}; expected a YAML file or one of {', '.join(names)}"
        )
    return named


@dataclass(frozen=True)
class _Place:
    """A place in a file, for readable errors."""

    file: Path
    keys: tuple[str | int, ...] = ()

    def at(self, *keys: str | int) -> "_Place":
        return _Place(self.file, (*self.keys, *keys))

    def fail(self, text: str, *keys: str | int) -> NoReturn:
        place = place_text((*self.keys, *keys))
        raise PresetError(f"{self.file}: {place}{': ' if place else ''}{text}")

    def check_choice(self, found: str, allowed: Iterable[str], *keys: str | int, note: str = "") -> None:
        allowed = list(allowed)
        if found not in allowed:
            self.fail(f"found {brief(found)}{note}; {allowed_text(found, allowed)}", *keys)


@dataclass(frozen=True)
class _Reader:
    """Makes a step from its row, with the manifest's models."""

    place: _Place
    row: StepRow
    manifest: Manifest

    def step(self, earlier: list[Step]) -> Step:
        row, place = self.row, self.place
        if row.name in [step.name for step in earlier]:
            place.fail(f"{row.name!r} is the name of an earlier step; give each step its own", "name")
        signals = [MIXTURE, *(signal for step in earlier for signal in step.makes)]
        place.check_choice(row.input, signals, "input", note=", which no earlier step makes")
        made = [*row.stems, row.residual] if row.residual else list(row.stems)
        for signal in made:
            if signal in signals or signal == STEP_INPUT or made.count(signal) > 1:
                place.fail(f"makes {signal!r}, but that name is taken; give every signal its own")
        members = tuple(
            self._member(place.at("members", index), member, signals)
            for index, member in enumerate(row.members)
        )
        for stem in row.stems:
            if not any(stem in member.weights for member in members):
                place.fail(f"{stem!r} has no member with a weight above zero", "stems")
        return Step(
            row.name, row.input, row.stems, members, row.shares, row.residual, row.loudness_lufs, row.mix
        )

    def _member(self, place: _Place, member: MemberRow, signals: list[str]) -> Member:
        """signals: those that there are before the step."""
        place.check_choice(member.name, [*self.manifest.checkpoints, *self.manifest.bags], "model")
        offered = {source for _, weights in as_bag(member.name, self.manifest).members for source in weights}
        sources = self._sources(place, member, offered)
        weights = self._weights(place, member, sources)
        estimates = self._estimates(place, member, signals)
        if estimates and (member.normalise or self.row.normalise):
            place.fail(
                f"{member.name} refines estimates, whose level would have to change, too; it cannot be"
                " normalised. Give the key to the other members",
                "normalise",
            )

        def setting(key: str, default: Any) -> Any:
            given = (getattr(row, key) for row in (member, self.row))
            return next((value for value in given if value is not None), default)

        return Member(
            model=member.name,
            sources={stem: sources[stem] for stem in weights},
            weights=weights,
            polarity=setting("polarity", Polarity.PLAIN),
            overlap=setting("overlap", 0.25),
            shifts=setting("shifts", 0),
            segment_samples=setting("segment_samples", None),
            estimates=estimates,
            normalise=setting("normalise", None),
        )

    def _estimates(self, place: _Place, member: MemberRow, signals: list[str]) -> Mapping[str, str]:
        """source -> the signal that the model refines: one for each of its sources, or none at all."""
        if self.manifest.is_outline:
            return member.estimates
        experts = [self.manifest.checkpoints[name] for name, _ in as_bag(member.name, self.manifest).members]
        refined = {
            source: None
            for expert in experts
            if find_architecture(expert.architecture).refines
            for source in expert.sources
        }
        if member.estimates and not refined:
            place.fail(f"{member.name} refines no estimates; remove this key", "estimates")
        for source, signal in member.estimates.items():
            place.check_choice(source, refined, "estimates", note=f", which {member.name} does not have")
            place.check_choice(signal, signals, "estimates", source, note=", which no earlier step makes")
        if missing := [source for source in refined if source not in member.estimates]:
            place.fail(
                f"{member.name} refines estimates of {', '.join(refined)}; say which signals, also for"
                f" {', '.join(missing)}",
                "estimates",
            )
        return member.estimates

    def _sources(self, place: _Place, member: MemberRow, offered: set[str]) -> dict[str, dict[str, int]]:
        """stem -> signed sources: the source of the same name, unless `sources` has a sum for the stem."""
        sources = {stem: {stem: 1} for stem in self.row.stems if stem in offered}
        for stem, text in member.sources.items():
            place.check_choice(stem, self.row.stems, "sources")
            sources[stem] = _read_sum(place.at("sources", stem), text, offered | {STEP_INPUT})
        return sources

    def _weights(self, place: _Place, member: MemberRow, sources: Mapping[str, Any]) -> dict[str, float]:
        """stem -> weight above zero; without any, 1 for every stem the model has a source for."""
        weights = member.weights
        if weights is None:
            weights = dict.fromkeys(sources, 1.0 if member.weight is None else member.weight)
        for stem in weights:
            place.check_choice(stem, self.row.stems, "weights", note=", which the step does not make")
            if stem not in sources:
                advice = f"{member.name} has no source {stem!r}; say in `sources` how to get it"
                place.fail(advice, "weights", stem)
        used = {stem: float(weight) for stem, weight in weights.items() if weight > 0}
        if not used:
            place.fail("the weights sum to zero; remove the member or give it a weight", "weights")
        return used


def _read_sum(place: _Place, text: Any, allowed: set[str]) -> dict[str, int]:
    """`other + guitar - piano` as {"other": 1, "guitar": 1, "piano": -1}."""
    terms = parse_sum(text) if isinstance(text, str) and len(text) <= LONGEST_TEXT else None
    if terms is None:
        place.fail(f"expected a sum such as 'other + guitar' or 'input - instrumental', found {brief(text)}")
    names = [name for name, _ in terms]
    for name in names:
        if name not in allowed or names.count(name) > 1:
            place.fail(f"found {brief(name)} in {brief(text)}; {allowed_text(name, allowed)}, each once")
    if names == [STEP_INPUT]:
        place.fail(f"{text!r} does not use the model")
    return dict(terms)


def _read_economies(root: _Place, rows: Iterable[EconomyRow], steps: list[Step]) -> tuple[Economy, ...]:
    """The list `economies`; each must save something that those before it did not."""
    economies = []
    current = {step.name: step for step in steps}
    for index, row in enumerate(rows):
        place = root.at("economies", index)
        economy = _read_economy(place, row, current)
        before = current[economy.step]
        after = economy.applied_to(before)
        if after == before:
            place.fail("saves nothing beyond those before it; remove it")
        for stem in after.stems:
            if not any(stem in member.weights for member in after.members):
                place.fail(f"leaves no member for {stem!r} in the step {economy.step!r}")
        current[economy.step] = after
        economies.append(economy)
    return tuple(economies)


def _read_economy(place: _Place, row: EconomyRow, steps: Mapping[str, Step]) -> Economy:
    place.check_choice(row.step, steps, "step")
    models = [member.model for member in steps[row.step].members if member.weights]
    for key, model in (("drop", row.drop), ("model", row.model)):
        if model is not None:
            place.check_choice(model, models, key)
    if row.drop is not None:
        return Economy(row.step, row.drop, drop=True)
    return Economy(row.step, row.model, polarity=row.polarity, overlap=row.overlap, shifts=row.shifts)


def _check_outputs(root: _Place, instruments: tuple[str, ...], steps: list[Step]) -> None:
    made = [signal for step in steps for signal in step.makes]
    for stem in instruments:
        if stem not in made:
            root.fail(f"no step makes {stem!r}; this preset makes {', '.join(instruments)}", "steps")
    wanted = {*instruments, *(signal for step in steps for signal in step.reads)}
    for index, step in enumerate(steps):
        if not wanted & set(step.makes):
            root.fail(f"nothing uses what it makes: {', '.join(step.makes)}", "steps", index)
