"""What an ablation takes away from a preset: each variant is a preset of its own, as plain YAML data.

A variant keeps the names of steps and the order of members, so that everything it has in common with the others is
the same computation.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from evaluator.tuning.estimator import MemberInfo, PresetInfo, StepInfo
from evaluator.tuning.preset_file import remove_unused_steps

Document = dict[str, Any]
FULL = "the whole preset"
RUN_KEYS = (
    "polarity",
    "shifts",
    "overlap",
    "segment_samples",
    "loudness_lufs",
    "normalise",
)  # of a step, how its members are run


@dataclass(frozen=True)
class Variant:
    """A preset with something taken away; `kind` is a heading for the table."""

    kind: str
    name: str
    document: Document


def variants(document: Document, info: PresetInfo) -> list[Variant]:
    """The preset itself, then without each member, augmentation and step, then each member alone.

    document: the preset as YAML data. info: the same preset as its reader understands it.
    Economies are no part of a variant: they name members that it may not have, and no time is short here.
    What cannot be taken away without losing a stem is left out; of equal variants only the first is kept, under all
    their names.
    """
    document = {key: value for key, value in document.items() if key != "economies"}
    found: list[Variant] = []
    for variant in _all(document, info):
        remove_unused_steps(variant.document, info.instruments)
        for place, earlier in enumerate(found):
            if earlier.document == variant.document:
                found[place] = Variant(earlier.kind, f"{earlier.name} = {variant.name}", earlier.document)
                break
        else:
            found.append(variant)
    return found


def _all(document: Document, info: PresetInfo) -> Iterator[Variant]:
    yield Variant(FULL, FULL, document)
    for index, step in enumerate(info.steps):
        for place, name in enumerate(step.member_names):
            if _covers(step, [member for i, member in enumerate(step.members) if i != place]):
                yield Variant(
                    "without a member",
                    f"{step.name}: without {name}",
                    _without_member(document, index, place),
                )
    yield from _without_augmentations(document, info)
    for index, step in enumerate(info.steps):
        for key in {"consistency", "residual_shares", "mix"} & set(document["steps"][index]):
            changed = _changed_step(document, index, lambda node, key=key: node.pop(key))  # type: ignore[misc]
            yield Variant("without a part", f"{step.name}: without {key.replace('_', ' ')}", changed)
        if "loudness_lufs" in document["steps"][index]:
            changed = _changed_step(document, index, lambda node: node.pop("loudness_lufs"))
            yield Variant("without a part", f"{step.name}: without loudness", changed)
        without = _without_step(document, info, index)
        if without is not None:
            yield Variant("without a part", f"without the step {step.name}", without)
    for index, step in enumerate(info.steps):
        for place, name in enumerate(step.member_names):
            if len(step.members) > 1 and _covers(step, [step.members[place]]):
                yield Variant("one member", f"{step.name}: only {name}", _only_member(document, index, place))
    yield from _alone(document, info)


def _covers(step: StepInfo, members: list[MemberInfo]) -> bool:
    """Whether these members have a say in every stem of the step."""
    return set(step.stems) <= {stem for member in members for stem in member.weights}


def _changed_step(document: Document, index: int, change: Callable[[Document], Any]) -> Document:
    changed = copy.deepcopy(document)
    change(changed["steps"][index])
    return changed


def _without_member(document: Document, index: int, place: int) -> Document:
    return _changed_step(document, index, lambda step: step["members"].pop(place))


def _only_member(document: Document, index: int, place: int) -> Document:
    def keep_one(step: Document) -> None:
        step["members"] = [step["members"][place]]

    return _changed_step(document, index, keep_one)


def _without_augmentations(document: Document, info: PresetInfo) -> Iterator[Variant]:
    """Polarity and shifts, for each step that has them, and in the whole preset where several have."""
    kinds: dict[str, dict[str, tuple[Any, Any]]] = {
        "polarity TTA": {"polarity": ("both", "plain")},
        "shifts": {"shifts": (None, 0)},
        "any TTA": {"polarity": ("both", "plain"), "shifts": (None, 0)},
    }
    for what, changes in kinds.items():
        changed_steps = []
        for index, step in enumerate(info.steps):
            changed = _changed_step(document, index, partial(_reset, changes=changes))
            if changed != document:
                changed_steps.append(index)
                yield Variant("without TTA", f"{step.name}: without {what}", changed)
        if len(changed_steps) > 1:
            everywhere = copy.deepcopy(document)
            for index in changed_steps:
                _reset(everywhere["steps"][index], changes)
            yield Variant("without TTA", f"without {what}", everywhere)


def _reset(step: Document, changes: dict[str, tuple[Any, Any]]) -> None:
    """Give keys of a step and its members another value where they have this one, or any (None)."""
    for node in (step, *step["members"]):
        for key, (value, replacement) in changes.items():
            if key in node and value in (None, node[key]):
                node[key] = replacement


def _without_step(document: Document, info: PresetInfo, index: int) -> Document | None:
    """The preset without a step: the one that works on its residual works on its input, and makes its stems, too.

    For these stems, every member that offers a source of the name has a part, an equal one. None if no step works
    on the residual, or a stem would be offered by nobody.
    """
    step = info.steps[index]
    followers = [later for later in info.steps if later.input == step.residual]
    if step.residual is None or len(followers) != 1:
        return None
    (follower,) = followers
    lost = [stem for stem in step.stems if stem in info.instruments]
    used = {
        signal
        for later in info.steps
        for signal in (later.input, *later.refines)
        if (later, signal) != (follower, step.residual)
    }
    if used & {*step.stems, step.residual} or step.residual in info.instruments:
        return None
    if not all(_offering(follower, stem) for stem in lost):
        return None
    changed = copy.deepcopy(document)
    node = changed["steps"][info.steps.index(follower)]
    node["input"] = step.input
    node["stems"] = [*node["stems"], *lost]
    for member, own in zip(node["members"], follower.members, strict=True):
        member.pop("weight", None)
        member["weights"] = {
            **{stem: weight / _total(follower, stem) for stem, weight in own.weights.items()},
            **{stem: 1 / _offering(follower, stem) for stem in lost if stem in own.offers},
        }
    del changed["steps"][index]
    return changed


def _total(step: StepInfo, stem: str) -> float:
    return sum(member.weights.get(stem, 0.0) for member in step.members)


def _offering(step: StepInfo, stem: str) -> int:
    return sum(stem in member.offers for member in step.members)


def _alone(document: Document, info: PresetInfo) -> Iterator[Variant]:
    """Each model that offers every stem, by itself on the mixture, as it is run where it makes most stems."""
    places = [(index, place) for index, step in enumerate(info.steps) for place in range(len(step.members))]
    places.sort(key=lambda at: -len(info.steps[at[0]].members[at[1]].weights))
    done: set[str] = set()
    for index, place in places:
        member = info.steps[index].members[place]
        if member.model in done or not set(info.instruments) <= set(member.offers):
            continue
        if "estimates" in document["steps"][index]["members"][place]:
            continue  # what it refines would be missing
        done.add(member.model)
        step = document["steps"][index]
        blended = info.steps[index].residual_shares or "mix" in step
        if set(info.steps[index].stems) == set(info.instruments) and not blended:
            continue  # the same as this member only
        yield Variant(
            "one member",
            f"{member.model} alone",
            {**document, "steps": [alone(document, index, place, info.instruments)]},
        )


def alone(document: Document, index: int, place: int, stems: Sequence[str]) -> Document:
    """The only step of a preset in which a member makes these stems of the mixture, run as it is in its own step."""
    step = document["steps"][index]
    own = dict(step["members"][place])
    for key in ("weight", "weights"):
        own.pop(key, None)
    sources = {stem: text for stem, text in own.pop("sources", {}).items() if stem in stems}
    own |= {"sources": sources} if sources else {}  # of other stems there are none now
    return {
        "name": "all",
        "input": "mixture",
        "stems": list(stems),
        **{key: step[key] for key in RUN_KEYS if key in step},
        "members": [own],
    }
