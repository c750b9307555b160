"""Changing weights in a preset's YAML file while everything else, comments included, stays as its author wrote it."""

import io
import os
import re
import textwrap
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq

NOTE = "tuned"
"""Our comments begin with `# tuned (STEP)`; those of an earlier tuning of the step are replaced."""
NOTE_WIDTH = 90


def with_weights(
    text: str, step_name: str, weights: Sequence[Mapping[str, float]], note: Sequence[str]
) -> str:
    """A preset's text with other weights in one step.

    weights: stem -> weight for each member in order, for every stem that the member has a say in; a member with
        nothing above zero is taken out, since a preset must not have one, and with it the step's economies,
        which may name it or leave too little.
    note: sentences to put above the step's members as comments.
    """
    mark = f"# {NOTE} ({step_name})"
    text = re.sub(rf"^ *{re.escape(mark)}.*\n", "", text, flags=re.MULTILINE)
    yaml = _yaml()
    document = yaml.load(text)
    (step,) = (step for step in document["steps"] if step["name"] == step_name)
    members: CommentedSeq = step["members"]
    for member, own in zip(members, weights, strict=True):
        _set_weights(member, own, one_stem=len(step["stems"]) == 1)
    unused = [place for place, own in enumerate(weights) if not any(own.values())]
    for place in reversed(unused):
        _remove(members, place)
    if unused:
        _remove_economies(document, step_name)
    lines = [
        line for sentence in note for line in textwrap.wrap(sentence, NOTE_WIDTH, break_on_hyphens=False)
    ]
    _comment_before(step, "members", [f"{mark[2:]}: {line}" for line in lines])
    return _text(yaml, document)


def with_runs(text: str, step_name: str, runs: Sequence[Mapping[str, Any] | None]) -> str:
    """A preset's text in which a step's members are run otherwise.

    runs: for each member the keys to set (polarity, overlap), or None to take it out. Where anything changes, the
    step's economies go, which may name what is no more.
    """
    if not any(run is None or run for run in runs):
        return text
    yaml = _yaml()
    document = yaml.load(text)
    (step,) = (step for step in document["steps"] if step["name"] == step_name)
    members: CommentedSeq = step["members"]
    for place in reversed(range(len(members))):
        run = runs[place]
        if run is None:
            _remove(members, place)
            continue
        end = _take_end(members[place])
        members[place].update(run)
        _give_end(members[place], end)
    _remove_economies(document, step_name)
    return _text(yaml, document)


def with_used_steps(text: str, stems: Collection[str]) -> str:
    """A preset's text without the steps that only members refined that are gone, and without their economies."""
    yaml = _yaml()
    document = yaml.load(text)
    removed = remove_unused_steps(document, stems)
    for name in removed:
        _remove_economies(document, name)
    return _text(yaml, document) if removed else text


def remove_unused_steps(document: Any, stems: Collection[str]) -> list[str]:
    """Take out the steps of a preset's document whose signals nothing takes any more; returns their names.

    stems: what the preset makes.
    """
    removed: list[str] = []
    steps = document["steps"]
    for place in reversed(range(len(steps))):  # what a step takes comes from those before it
        taken = {*stems}
        for later in steps[place + 1 :]:
            refined = (
                signal for member in later["members"] for signal in member.get("estimates", {}).values()
            )
            taken |= {later["input"], *refined}
        step = steps[place]
        if not taken & {*step["stems"], step.get("residual")}:
            removed.append(step["name"])
            del steps[place]
    return removed


def with_manifest_for(text: str, old_folder: Path, new_folder: Path) -> str:
    """A preset's text for a file in another folder: its own manifest, if it names one, is found from there."""
    yaml = _yaml()
    document = yaml.load(text)
    if document.get("manifest") is None or old_folder.resolve() == new_folder.resolve():
        return text
    document["manifest"] = os.path.relpath(old_folder.resolve() / document["manifest"], new_folder.resolve())
    return _text(yaml, document)


def _yaml() -> YAML:
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 10_000
    yaml.indent(mapping=2, sequence=4, offset=2)
    return yaml


def _text(yaml: YAML, document: Any) -> str:
    stream = io.StringIO()
    yaml.dump(document, stream)
    return stream.getvalue()


def _set_weights(member: CommentedMap, weights: Mapping[str, float], one_stem: bool) -> None:
    """Replace `weight` or `weights`; a new key comes after all others."""
    key, value = ("weight", next(iter(weights.values()))) if one_stem else ("weights", _flow(weights))
    end = _take_end(member)
    for old in ("weight", "weights"):
        if old != key and old in member:
            place = list(member).index(old)
            member.insert(place, key, value)
            del member[old]
    member[key] = value
    _give_end(member, end)


def _flow(weights: Mapping[str, float]) -> CommentedMap:
    result = CommentedMap(weights)
    result.fa.set_flow_style()
    return result


def _remove(members: CommentedSeq, place: int) -> None:
    """Take a member out; a comment after the last one, which belongs to what follows, stays."""
    end = _take_end(members[place]) if place == len(members) - 1 else None
    del members[place]
    if end is not None:
        _give_end(members[-1], end)


def _remove_economies(document: CommentedMap, step_name: str) -> None:
    economies: CommentedSeq = document.get("economies", CommentedSeq())
    for place in reversed(range(len(economies))):
        if economies[place]["step"] == step_name:
            del economies[place]
    if not economies:
        document.pop("economies", None)


def _take_end(node: CommentedMap) -> Any:
    """Remove and return the comment (or blank line) after the last key of a mapping, however deep it hangs."""
    key = next(reversed(node))
    if isinstance(node[key], CommentedMap) and not node[key].fa.flow_style():
        return _take_end(node[key])
    tokens = node.ca.items.get(key)
    if tokens is None or tokens[2] is None:
        return None
    end, tokens[2] = tokens[2], None
    return end


def _give_end(node: CommentedMap, end: Any) -> None:
    """Put a comment that was taken after the last key of a mapping."""
    key = next(reversed(node))
    if end is None:
        return
    if isinstance(node[key], CommentedMap) and not node[key].fa.flow_style():
        _give_end(node[key], end)
        return
    node.ca.items.setdefault(key, [None, None, None, None])[2] = end


def _comment_before(node: CommentedMap, key: str, lines: Sequence[str]) -> None:
    node.yaml_set_comment_before_after_key(key, before="\n".join(lines), indent=4)
