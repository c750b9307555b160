"""What a dry run's result means for a submission."""

import pytest

from evaluator.isolation.sandbox import Isolation, Limits, Status
from evaluator.runs.records import DataInfo, Identity, Plan, TrackResult
from evaluator.runs.results import Result
from evaluator.submitting.dry_run import SONG_SECONDS, verdict

pytestmark = pytest.mark.quick

AUDIO_SECONDS = 20.0


def result(seconds: float, status: Status = "ok", device: str = "cuda:0", network_off: bool = True) -> Result:
    """An evaluation of one track of 20 s."""
    isolation = Isolation("process", network_off, True, True, True, "cgroup v2", None, 4096)
    return Result(
        plan=Plan(
            challenge="music",
            submission=Identity("/x", None, None, "", None),
            data=DataInfo("/data", 1, ""),
            limits=Limits(cpus=None),
            metrics=("sdr",),
            runner="process",
        ),
        start="",
        duration_seconds=seconds,
        setup=None,
        provenance={"device": device},
        isolation=isolation,
        machine={},
        versions={},
        tracks=(
            TrackResult(
                name="demo",
                status=status,
                reason="its reason",
                seconds=seconds,
                limit_seconds=1.57 * AUDIO_SECONDS,
                audio_seconds=AUDIO_SECONDS,
                peak_memory_bytes=None,
                economies=(),
                scores={},
            ),
        ),
    )


def test_the_time_of_a_song_is_in_proportion() -> None:
    check = verdict(result(seconds=5.0), wants_gpu=True, logs="")
    assert check.state == "ok"
    assert f"would take {5.0 * SONG_SECONDS / AUDIO_SECONDS:.0f} of 377 s" in check.found


@pytest.mark.parametrize(
    ("device", "wants_gpu", "state"),
    [("cpu", True, "warning"), ("cpu", False, "failed"), ("cuda:0", True, "failed")],
)
def test_too_slow_counts_unless_their_machine_is_stronger(device: str, wants_gpu: bool, state: str) -> None:
    for made in (result(31.6, device=device), result(32.0, status="timeout", device=device)):
        assert verdict(made, wants_gpu, "").state == state


def test_a_failure_shows_what_the_submission_said() -> None:
    check = verdict(result(1.0, status="crashed"), wants_gpu=False, logs="one\ntwo\nthree\nfour\n")
    assert check.state == "failed"
    assert "crashed: its reason [two | three | four]" in check.found


def test_with_the_network_on_nothing_is_proven() -> None:
    assert verdict(result(1.0, network_off=False), wants_gpu=False, logs="").state == "warning"
