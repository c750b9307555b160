"""What `separate` prints of a run."""

import math
import sys
from collections.abc import Iterable

from tqdm import tqdm

from my_submission.files.bars import Bars, duration_text
from my_submission.files.channels import groups_text
from my_submission.files.options import SeparatedFile
from my_submission.files.workers import Event, Failed, Finished, Logged, Progressed, Started
from sdx.terminal import one_line


class Outcomes:
    """What has become of a run's recordings so far."""

    def __init__(self, failures: Iterable[tuple[str, str]]) -> None:
        self._failures = list(failures)
        self._separated = 0
        self._skipped = 0
        self.results: list[SeparatedFile] = []

    def take(self, event: Event, bars: Bars) -> None:
        """Show and count what a child tells."""
        match event:
            case Started(recording):
                bars.start(recording)
            case Progressed(recording, fraction):
                bars.advance(recording, fraction)
            case Finished(recording, result):
                bars.finish(recording, counts=not result.skipped)
                self._separated += not result.skipped
                self._skipped += result.skipped
                self.results.append(result)
                tqdm.write(one_line(done_text(result)))
            case Failed(recording, reason):
                bars.finish(recording, counts=False)
                self._failures.append((str(recording.source), reason))
                tqdm.write(one_line(f"{recording.source}: failed"))
            case Logged(message):
                tqdm.write(one_line(f"warning: {message}"), file=sys.stderr)

    def tell(self, text: str) -> None:
        """Print what happens with an engine."""
        tqdm.write(one_line(text), file=sys.stderr)

    def report(self, seconds: float) -> int:
        """Print the counts and every failure with its reason; return the exit code."""
        counts = [f"{self._separated} separated"]
        if self._skipped:
            counts.append(f"{self._skipped} already done")
        if self._failures:
            counts.append(f"{len(self._failures)} failed")
        print(f"{', '.join(counts)}, in {duration_text(seconds)}")
        for name, reason in self._failures:
            print(failure_text("failed", name, reason), file=sys.stderr)
        return 1 if self._failures else 0


def failure_text(what: str, name: str, reason: str) -> str:
    """One line on what failed; a reason that begins with the name does not get it twice."""
    return one_line(f"{what}: {reason}" if reason.startswith(name) else f"{what}: {name}: {reason}")


def done_text(result: SeparatedFile) -> str:
    """One line on a recording that was separated: its files, its part, its time, and what was done to levels."""
    folders = sorted({str(path.parent) for path in result.files.values()})
    names = ", ".join(path.name for path in result.files.values())
    text = f"{result.source} ({duration_text(result.seconds)}) -> {', '.join(folders)}: {names}"
    if result.start_samples:
        text += f"; from {duration_text(result.start_samples / result.sample_rate)} on"
    if result.skipped:
        return f"{text}; already done"
    if result.channels > 2:
        text += f"; channels {groups_text(result.groups)}"
    text += f"; took {duration_text(result.compute_seconds)}"
    if result.gain != 1:
        text += f"; all stems scaled by {result.gain:.4f} ({20 * math.log10(result.gain):.2f} dB)"
    if result.clipped:
        cut = ", ".join(f"{stem} {count}" for stem, count in result.clipped.items())
        text += f"; samples clipped at full scale: {cut}"
    return "; ".join([text, *result.notes])
