"""One demo track through the commit that would be submitted, under the limits, and what that says of a song."""

import glob
import shutil
from dataclasses import dataclass
from pathlib import Path

from evaluator.isolation.sandbox import Limits, SandboxError
from evaluator.locations import DEMO, command
from evaluator.running import dataset, evaluation
from evaluator.running.dataset import DataError
from evaluator.running.job import Observer
from evaluator.running.options import Options, UsageError
from evaluator.running.preparation import prepare
from evaluator.running.submission import SubmissionError
from evaluator.runs.documents import ResultError
from evaluator.runs.results import Result
from evaluator.submitting.checklist import Laid
from evaluator.submitting.configured import as_on_a_server
from evaluator.submitting.preflight import Check, State

SONG_SECONDS = 240.0
NAME = "dry run"


@dataclass(frozen=True)
class DryRun:
    """How to try: which runner, and whose tracks; the demo data of the challenge by default."""

    runner: str
    data: Path | None = None

    def __call__(self, laid: Laid) -> Check:
        """Evaluate the longest demo track with the commit laid out in `laid.folder`."""
        challenge = laid.configured.challenge
        data = self.data or DEMO / challenge
        out = laid.folder.with_name("dry-run")
        try:
            longest = max(dataset.load(data).tracks, key=lambda item: item.frames)
            options = Options(
                submission=laid.folder,
                data=data,
                challenge=challenge,
                only=glob.escape(longest.name),
                runner=self.runner,
                out=out,
            )
            with as_on_a_server(laid.empty_cache):
                result = evaluation.evaluate(prepare(options), Observer(), resume=False)
            logs = "\n".join(path.read_text() for path in sorted((out / "logs").glob("*.log")))
        except DataError as error:
            return Check(NAME, "failed", "; ".join(error.problems), "give tracks with --data")
        except (UsageError, SubmissionError, ResultError, SandboxError) as error:
            return Check(NAME, "failed", str(error), "correct this, or skip it with --no-dry-run")
        finally:
            shutil.rmtree(out, ignore_errors=True)
        return verdict(result, laid.wants_gpu, logs)


def skipped(laid: Laid) -> Check:
    """Instead of a dry run that the user does not want."""
    return Check(NAME, "warning", "left out as asked", "without it, nobody knows whether the submission runs")


def verdict(result: Result, wants_gpu: bool, logs: str) -> Check:
    """What the evaluation of one track means for the submission; `logs` is what the submission printed."""
    (track,) = result.tracks
    described = f"{track.name} ({track.audio_seconds:.0f} s, {result.plan.runner} runner)"
    weaker = missing_strength(result, wants_gpu)
    if track.status == "timeout" and track.seconds is not None and weaker:
        found = f"{described}: not done within {track.limit_seconds:.1f} s here; {weaker}"
        return Check(
            NAME, "warning", found, "check the time on a machine like theirs, or choose a faster preset"
        )
    if track.status != "ok" or track.seconds is None:
        lines = " | ".join(logs.strip().splitlines()[-3:])
        found = f"{described}: {track.status}: {track.reason}" + (f" [{lines}]" if lines else "")
        return Check(NAME, "failed", found, f"see it in full: {command('eval')} --only {track.name}")
    predicted = SONG_SECONDS * track.seconds / track.audio_seconds
    allowed = (Limits().time_factor or 0.0) * SONG_SECONDS
    network = result.isolation is not None and result.isolation.network_off
    found = (
        f"{described}: ok in {track.seconds:.1f} s, network {'off' if network else 'on'}; a song of 4 minutes"
        f" would take {predicted:.0f} of {allowed:.0f} s on this machine"
    )
    if not network:
        return Check(NAME, "warning", found, "this system cannot cut off the network; try --runner docker")
    if predicted > allowed:
        state: State = "warning" if weaker else "failed"
        return Check(NAME, state, f"{found}{f'; {weaker}' if weaker else ''}", "choose a faster preset")
    return Check(NAME, "ok", found)


def missing_strength(result: Result, wants_gpu: bool) -> str:
    """What the organisers' machine has and this one lacks, in words; empty if nothing is known to differ."""
    lacks = []
    device = str((result.provenance or {}).get("device", "cuda"))
    if wants_gpu and not device.startswith("cuda"):
        lacks.append("this machine has no GPU and theirs has")
    if result.isolation is not None:
        lacks += [gap for gap in result.isolation.not_in_force if "cores" in gap]
    return ", ".join(lacks)
