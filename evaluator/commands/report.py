"""`python -m evaluator report`."""

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path

from tqdm import tqdm

from evaluator import printable
from evaluator.commands import Subparsers, converters
from evaluator.locations import command
from evaluator.reporting import report
from evaluator.reporting.progress import BAR
from evaluator.reporting.report import Sources
from evaluator.runs import baseline, leaderboard, run_folder, run_scores
from evaluator.runs.documents import ResultError
from evaluator.runs.leaderboard import Store
from evaluator.runs.run_folder import REPORT_PAGE


def add_parser(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "report",
        description="Write a run as one HTML page that opens from disk. Sound and pictures need the run's data and "
        f"its estimates, which `{command('eval')}` keeps with --out or --report.",
    )
    parser.add_argument(
        "wanted", metavar="RUN", help="beginning of its id, its folder or result file, or latest"
    )
    parser.add_argument("--baseline", type=Path, metavar="FILE", help="baseline, or result, to compare with")
    parser.add_argument(
        "--page", type=Path, metavar="FILE", help=f"default: {REPORT_PAGE} in the run's folder"
    )
    add_audio(parser)
    parser.add_argument(
        "--no-audio", action="store_const", const="none", dest="audio", help="the same as --audio none"
    )
    converters.add_withdrawn(parser)
    parser.set_defaults(run=_report)


def _report(given: Namespace) -> int:
    store = Store()
    entry = leaderboard.locate(given.wanted, store, given.withdrawn)
    before = None
    if given.baseline is not None:
        old, _ = leaderboard.read_baseline(given.baseline, store, given.withdrawn)
        before = run_scores.of_result(old, printable.plain(str(given.baseline)))
    page = given.page or Path(entry.folder or ".") / REPORT_PAGE
    sources = report.gather(entry, before, baseline.DEFAULT_TOLERANCE_DB)
    write(page, sources, given.audio)
    print(page)
    return 0


def add_audio(parser: ArgumentParser) -> None:
    """Add the option for how much sound a page has."""
    parser.add_argument(
        "--audio",
        choices=report.AUDIO,
        help="what can be heard on the page: whole tracks; excerpts, which are the worst and the median 10 seconds of"
        " each stem; or nothing (default: all of a small run, excerpts of a large one)",
    )


def write(page: Path, sources: Sources, audio: str | None = None) -> None:
    """Write the page; say on standard error how large it will be, how far it is, how large it is, what it lacks.

    ResultError where it cannot be written.
    """
    audio = audio or report.audio_that_fits(sources)
    total = len(sources.entry.result.tracks)
    if (about := report.forecast_bytes(sources, audio)) > report.INLINE_BYTES:
        others = ", ".join(
            f"--audio {other}: about {_size(report.forecast_bytes(sources, other))}"
            for other in report.AUDIO
            if other != audio
        )
        print(f"The page with --audio {audio} will be about {_size(about)} ({others})", file=sys.stderr)
    with tqdm(total=total, file=sys.stderr, bar_format=BAR, desc="writing the page", delay=1) as bar:
        try:
            report.write(page, sources, audio, bar.update)
        except OSError as error:
            raise ResultError(f"{error.filename or page}: cannot be written ({error.strerror})") from None
    folder = run_folder.audio_of(page)
    if folder.is_dir():
        beside = sum(file.stat().st_size for file in folder.iterdir())
        print(
            f"{page} is {_size(page.stat().st_size)}; its sound and pictures, {_size(beside)}, are in {folder.name}/"
            " beside it, and go with it where you move it",
            file=sys.stderr,
        )
    if sources.missing is not None:
        print(f"{page} is without sound and pictures: {sources.missing}", file=sys.stderr)


def _size(size_bytes: float) -> str:
    return f"{size_bytes / 1e9:.1f} GB" if size_bytes >= 1e9 else f"{size_bytes / 1e6:.1f} MB"
