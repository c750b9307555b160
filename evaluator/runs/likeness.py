"""Which runs are of one submission: equal files, preset and weights, wherever and whenever they were run."""

import hashlib
from collections.abc import Mapping, Sequence

from evaluator.runs.entries import Entry, canonical
from evaluator.runs.results import Result


def submission_key(result: Result) -> str | None:
    """A SHA-256 that is equal for equal submissions, and for equal estimates where estimates were given."""
    plan = result.plan
    if plan.submission is not None:
        made = {"files": plan.submission.files_sha256, "preset": result.preset, "weights": result.weights}
    elif plan.predictions is not None:
        made = {"estimates": plan.predictions.files_sha256}
    else:
        return None
    return hashlib.sha256(canonical(made).encode()).hexdigest()


def same_submission(a: Result, b: Result) -> bool:
    """Whether two runs are of one submission, or of the same estimates."""
    return submission_key(a) == submission_key(b) is not None


def equals(entries: Sequence[Entry]) -> Mapping[str, tuple[Entry, ...]]:
    """{id: the runs of its submission, itself among them}, for those that are not alone."""
    groups: dict[str | None, list[Entry]] = {}
    for entry in entries:
        groups.setdefault(submission_key(entry.result), []).append(entry)
    return {
        entry.id: tuple(group)
        for key, group in groups.items()
        for entry in group
        if key is not None and len(group) > 1
    }


def words(result: Result) -> str:
    """What is equal, for a sentence on it."""
    if result.plan.submission is None:
        return "the same estimates"
    if result.weights is None:
        return "the same submission (equal files and preset; it does not say its weights)"
    return "the same submission (equal files, preset and weights)"
