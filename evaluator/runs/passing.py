"""Would a submission pass? What a run says of it under the limits that it had."""

from typing import Literal

from evaluator.challenge import CHALLENGES
from evaluator.isolation.limits import SAFE_SHARE, Limits, gib
from evaluator.runs.results import Result

Passing = Literal["yes", "no", "unknown"]


def would_pass(result: Result) -> Passing:
    """Whether the organisers' limits would be met; "yes" takes limits at least as strict as theirs.

    A failure under stricter limits does not show that theirs would be missed, and neither does one of tracks that
    shared the machine. On several machines nothing is known unless each is of the organisers' size and did one track
    at a time. A track that was late has its score, and counts as one that failed. Of stems that are no
    challenge's, and of estimates without a submission, nothing is known.
    """
    if result.plan.challenge not in CHALLENGES or result.plan.submission is None:
        return "unknown"
    if not_like_theirs(result):
        return "unknown"
    organisers, limits = Limits(), result.plan.limits
    compared = [
        _compare(limits.time_factor, organisers.time_factor),
        _compare(limits.setup_seconds, organisers.setup_seconds),
        _compare(limits.cpus, organisers.cpus),
        _compare(limits.memory_bytes, organisers.memory_bytes),
    ]
    late = any(track.late for track in result.tracks)
    if result.status == "ok" and not late:
        return "yes" if all(value <= 0 for value in compared) else "unknown"
    if result.status in ("ok", "failed"):
        alone = result.plan.jobs == 1
        return "no" if alone and all(value >= 0 for value in compared) else "unknown"
    return "unknown"


def not_like_theirs(result: Result) -> tuple[str, ...]:
    """One phrase for each machine of a run over several whose times say nothing about the organisers' machine."""
    limits = Limits()
    phrases = []
    for host in result.machines:
        memory = None if host.memory_bytes is None else int(host.memory_bytes * SAFE_SHARE)
        wrong = []
        if host.tracks_at_a_time > 1:
            wrong.append(f"did {host.tracks_at_a_time} tracks at a time")
        if limits.cpus is not None and (host.cores or 0) < limits.cpus:
            wrong.append(f"has {host.cores or 'an unknown number'} of the {limits.cpus} cores")
        if limits.memory_bytes is not None and (memory or 0) < limits.memory_bytes:
            wrong.append(f"has memory for {gib(memory or 0)} of the {gib(limits.memory_bytes)}")
        if wrong:
            phrases.append(f"{host.name} {' and '.join(wrong)}")
    return tuple(phrases)


def _compare(limit: float | None, organisers: float | None) -> int:
    """Below 0 if `limit` is stricter than the organisers', above 0 if it is looser; None is no limit."""
    given, theirs = (float("inf") if value is None else value for value in (limit, organisers))
    return (given > theirs) - (given < theirs)
