"""Results of runs that never took place."""

from collections.abc import Mapping

from evaluator.challenge import MUSIC
from evaluator.isolation.sandbox import Limits
from evaluator.runs.records import DataInfo, GivenEstimates, Identity, Plan, TrackResult
from evaluator.runs.results import Result

Given = Mapping[str, float] | float | str  # a track's SDR by stem, the same for every stem, or its status
COMMIT = "0123456789abcdef0123456789abcdef01234567"


def result(
    tracks: Mapping[str, Given],
    data_hash: str = "d" * 64,
    preset: str = "mdx-demo",
    number: int | None = None,
    limits: Limits | None = None,
    start: str = "2024-01-02T03:04:05+00:00",
    only: str | None = None,
    jobs: int = 1,
    measured: Mapping[str, Mapping[str, Mapping[str, float | None]]] | None = None,
    given: bool = False,
) -> Result:
    """A run on the music challenge; `number` is how many tracks there are, those not run included.

    measured: {measure: {track: {stem: value}}} of other measures. given: of estimates, without a submission.
    """
    plan = Plan(
        challenge="music",
        submission=None if given else Identity("/somewhere/submission", COMMIT, False, "f" * 64, preset),
        data=DataInfo("/somewhere/data/music", number or len(tracks), data_hash, only),
        limits=limits or Limits(),
        metrics=("sdr", *(measured or {})),
        runner="none" if given else "process",
        jobs=jobs,
        predictions=GivenEstimates("/somewhere/estimates", "e" * 64) if given else None,
    )
    return Result(
        plan=plan,
        start=start,
        duration_seconds=12.5,
        setup=None,
        provenance=None
        if given
        else {
            "preset": preset,
            "weights": [{"name": "vocals", "file": "vocals.onnx", "sha256": "a" * 64}],
            "device": "cpu",
        },
        isolation=None,
        machine={"system": "Linux", "architecture": "x86_64", "processor": "a processor", "cores": 4},
        versions={"python": "3.11.2"},
        tracks=tuple(
            _track(name, came, {measure: found[name] for measure, found in (measured or {}).items()})
            for name, came in tracks.items()
        ),
    )


def _track(name: str, given: Given, others: Mapping[str, Mapping[str, float | None]]) -> TrackResult:
    ok = not isinstance(given, str)
    sdr = given if isinstance(given, Mapping) else dict.fromkeys(MUSIC.stems, given)
    return TrackResult(
        name=name,
        status="ok" if ok else given,  # type: ignore[arg-type]
        reason=None if ok else "for a test",
        seconds=5.0,
        limit_seconds=15.7,
        audio_seconds=10.0,
        peak_memory_bytes=1 << 30,
        economies=(),
        scores={"sdr": sdr, **others} if ok else {},  # type: ignore[dict-item]
    )
