"""What the report page says first: whether the submission would have passed, and why not."""

from dataclasses import replace
from typing import Any

import pytest

from evaluator.isolation.sandbox import Limits
from evaluator.reporting import report
from tests.evaluator import made_results


@pytest.mark.parametrize(
    ("tracks", "options", "kind", "headline"),
    [
        ({"a": 1.0}, {}, "good", "would have passed"),
        ({"a": 1.0, "b": "timeout"}, {}, "bad", "would not have passed: 1 of 2 tracks failed"),
        ({"a": 1.0}, {"limits": Limits(time_factor=None)}, "unsure", "it may not pass there"),
        ({"a": "timeout"}, {"limits": Limits(time_factor=0.1)}, "unsure", "stricter limits"),
        ({"a": "timeout"}, {"jobs": 2}, "unsure", "2 at a time shared the machine"),
        ({"a": 1.0}, {"number": 3}, "unsure", "Not finished: 1 of 3 tracks"),
    ],
)
def test_the_verdict(
    tracks: dict[str, made_results.Given], options: dict[str, Any], kind: str, headline: str
) -> None:
    verdict = report.verdict(made_results.result(tracks, **options))
    assert verdict.kind == kind
    assert headline in verdict.headline


@pytest.mark.parametrize(
    ("tracks", "kind", "headline"),
    [
        ({"a": {"vocals": 1.0}}, "good", "All tracks were scored; these stems are no challenge's, so there"),
        ({"a": {"vocals": 1.0}, "b": "crashed"}, "bad", "1 of 2 tracks failed or were late"),
    ],
)
def test_stems_of_no_challenge_have_nothing_to_pass(
    tracks: dict[str, made_results.Given], kind: str, headline: str
) -> None:
    music = made_results.result(tracks)
    result = replace(music, plan=replace(music.plan, challenge="vocals only"))
    verdict = report.verdict(result)
    assert verdict.kind == kind
    assert verdict.headline.startswith(headline)


def test_the_verdict_counts_late_tracks() -> None:
    result = made_results.result({"a": 1.0, "b": 2.0})
    in_time, late = result.tracks
    verdict = report.verdict(replace(result, tracks=(in_time, replace(late, seconds=47.1))))
    assert verdict.headline == "This submission would not have passed: 1 of 2 tracks failed or were late"
    assert verdict.reasons == ("b: late, took 47.1 s of the 15.7 s allowed",)
