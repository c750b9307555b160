"""What came of a track, or of constructing the submission -> the record that is kept of it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from evaluator import printable
from evaluator.challenge import CHALLENGES
from evaluator.isolation.sandbox import Outcome
from evaluator.measures.catalogue import MEASURES
from evaluator.measures.means import Scores
from evaluator.running import scoring
from evaluator.running.dataset import Track
from evaluator.running.estimates import InvalidOutputError
from evaluator.runs.records import Plan, SetupResult, TrackResult

REASON_CHARACTERS = 2000


def of_outcome(plan: Plan, track: Track, outcome: Outcome) -> TrackResult:
    """The record of a track, without scores."""
    return TrackResult(
        name=track.name,
        status=outcome.status,
        reason=shown(outcome.reason),
        seconds=round(outcome.seconds, 3),
        limit_seconds=plan.limits.track_seconds(track.seconds),
        audio_seconds=track.seconds,
        peak_memory_bytes=outcome.peak_memory_bytes or None,
        economies=_economies(outcome.provenance),
        scores={},
    )


def of_set_up(plan: Plan, outcome: Outcome) -> SetupResult:
    """The record of importing and constructing the submission."""
    assert plan.submission is not None
    own = Path(plan.submission.path) / "my_submission" / "aicrowd_wrapper.py"
    return SetupResult(
        status=outcome.status,
        reason=shown(outcome.reason),
        seconds=round(outcome.seconds, 3),
        limit_seconds=plan.limits.setup_seconds,
        wrapper="submission" if own.exists() and plan.challenge in CHALLENGES else "evaluator",
    )


def scored(track: Track, result: TrackResult, estimates: Path, measures: Sequence[str]) -> TrackResult:
    """The record with those of `measures` that are quick, of `estimates`/{stem}.wav; or with what is wrong there."""
    names = [name for name in measures if name in scoring.ENERGY_METRICS]
    try:
        scores = scoring.score_track(track, estimates, names)
        _require_possible(scores)
    except InvalidOutputError as error:
        return replace(result, status="invalid_output", reason=str(error))
    return replace(result, scores=scores)


def shown(reason: str | None) -> str | None:
    """A reason, which may be a submission's own words, as one line."""
    return None if reason is None else printable.plain(reason, REASON_CHARACTERS)


def _economies(provenance: Mapping[str, Any] | None) -> tuple[Any, ...]:
    """What the submission says that it left out, if it says so in a list."""
    found = (provenance or {}).get("economies")
    return tuple(printable.tree(found)) if isinstance(found, list | tuple) else ()


def _require_possible(scores: Mapping[str, Scores]) -> None:
    """InvalidOutputError for samples so far from full scale that no reader of results takes their scores."""
    for measure, found in scores.items():
        for stem, value in found.items():
            if not MEASURES[measure].can_be(value):
                raise InvalidOutputError(f"{stem}: samples far beyond full scale ({measure} {value:.0f} dB)")
