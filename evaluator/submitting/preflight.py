"""What a careful person checks before spending a submission: what a check is, and the checks of the configuration.

The checks of the files are in preflight_files.py, those of the push in preflight_push.py, their order in
checklist.py. Everything is read from the commit, laid out as the server would see it.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from evaluator.challenge import Challenge
from evaluator.submitting.configured import Configured

State = Literal["ok", "warning", "failed", "skipped"]

PACKAGE = "my_submission"
MANIFEST_KEYS: Mapping[str, type] = {
    "challenge_id": str,
    "authors": list,
    "description": str,
    "external_dataset_used": bool,
    "gpu": bool,
}
MUSIC_KEYS: Mapping[str, type] = {"labelnoise": bool, "bleeding": bool}
PLACEHOLDER_AUTHORS = ("aicrowd-bot",)  # as the starter kit has it
SHOWN = 5


@dataclass(frozen=True)
class Check:
    """One line of the checklist; `advice` says what to do where the state is not ok."""

    name: str
    state: State
    found: str
    advice: str = ""

    @property
    def passed(self) -> bool:
        """Whether this check lets a submission go ahead."""
        return self.state != "failed"


def shorten(names: Sequence[str]) -> str:
    """The first few names, and how many more there are."""
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def size_text(size: int) -> str:
    """A size as people read it, in MB of 10⁶ bytes."""
    return f"{size / 1e6:.1f} MB"


def check_challenge(configured: Configured, asked: str | None) -> Check:
    """Whether the configured preset is for the challenge that is asked for."""
    if asked is None or asked == configured.challenge:
        return Check("preset", "ok", f"{configured.preset} for the {configured.challenge} challenge")
    return Check(
        "preset",
        "failed",
        f"{configured.preset} is for the {configured.challenge} challenge, not for {asked}",
        f"set PRESET in {PACKAGE}/user_config.py to a {asked} preset and challenge_id in aicrowd.json, and commit"
        " both (one branch per challenge keeps them apart)",
    )


def read_manifest(root: Path) -> Any:
    """What aicrowd.json in `root` holds; its JSON error where it cannot be read."""
    try:
        return json.loads((root / "aicrowd.json").read_text(encoding="utf-8"))
    except ValueError as error:
        return error


def check_manifest(document: Any, challenge: Challenge) -> Iterator[Check]:
    """aicrowd.json: complete, for the right challenge, authors filled in, external data declared."""
    if isinstance(document, ValueError):
        yield Check("aicrowd.json", "failed", f"not valid JSON: {document}", "correct it and commit")
        return
    keys = {**MANIFEST_KEYS, **(MUSIC_KEYS if challenge.name == "music" else {})}
    problems = _key_problems(document, keys)
    if problems:
        yield Check("aicrowd.json", "failed", shorten(problems), "fill in what is missing and commit")
        return
    yield Check("aicrowd.json", "ok", f"complete; gpu: {str(document['gpu']).lower()}")
    yield check_challenge_id(document["challenge_id"], challenge)
    yield check_authors(document["authors"])
    if document["external_dataset_used"]:
        yield Check("external data", "ok", "external_dataset_used is true")
    else:
        yield Check(
            "external data",
            "failed",
            "external_dataset_used is false, but the models were trained on external data",
            "set it to true in aicrowd.json and commit",
        )


def _key_problems(document: Any, keys: Mapping[str, type]) -> list[str]:
    if not isinstance(document, dict):
        return ["expected an object"]
    problems = [f"{key} is missing" for key in keys if key not in document]
    return problems + [
        f"{key}: found {document[key]!r}, expected {kind.__name__}"
        for key, kind in keys.items()
        if key in document and not isinstance(document[key], kind)
    ]


def check_challenge_id(found: str, challenge: Challenge) -> Check:
    """Whether aicrowd.json names the challenge of the configured preset."""
    if found == challenge.challenge_id:
        return Check("challenge", "ok", found)
    return Check(
        "challenge",
        "failed",
        f"challenge_id is {found}, expected {challenge.challenge_id} for a {challenge.name} preset",
        "change it in aicrowd.json and commit",
    )


def check_authors(authors: Sequence[Any]) -> Check:
    """Whether somebody has put their name in."""
    named = [author for author in authors if isinstance(author, str) and author.strip()]
    if named and len(named) == len(authors) and not set(named) & set(PLACEHOLDER_AUTHORS):
        return Check("authors", "ok", ", ".join(named))
    return Check(
        "authors", "failed", f"{authors}", "write the AIcrowd names of the team into aicrowd.json and commit"
    )
