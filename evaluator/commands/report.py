"""`python -m evaluator report`."""

import sys
from argparse import Namespace
from pathlib import Path

from tqdm import tqdm

from evaluator import printable
from evaluator.commands import Subparsers, converters
from evaluator.reporting import report
from evaluator.reporting.display import BAR
from evaluator.reporting.report import Sources
from evaluator.runs import baseline, leaderboard, run_scores
from evaluator.runs.leaderboard import Store
from evaluator.runs.run_folder import REPORT_PAGE


def add_parser(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "report",
        description="Write a run as one HTML page that opens from disk. Sound and pictures need the run's data and "
        "its estimates, which run_eval.py keeps with --out or --report.",
    )
    parser.add_argument(
        "wanted", metavar="RUN", help="beginning of its id, its folder or result file, or latest"
    )
    parser.add_argument("--baseline", type=Path, metavar="FILE", help="baseline, or result, to compare with")
    parser.add_argument(
        "--page", type=Path, metavar="FILE", help=f"default: {REPORT_PAGE} in the run's folder"
    )
    parser.add_argument(
        "--no-audio", action="store_true", help="leave out the sound, which is most of the page"
    )
    converters.add_withdrawn(parser)
    parser.set_defaults(run=_report)


def _report(given: Namespace) -> int:
    store = Store()
    entry = leaderboard.locate(given.wanted, store, given.withdrawn)
    before = None
    if given.baseline is not None:
        old = leaderboard.read_baseline(given.baseline, store, given.withdrawn)
        before = run_scores.of_result(old, printable.plain(str(given.baseline)))
    page = given.page or Path(entry.folder or ".") / REPORT_PAGE
    sources = report.gather(entry, before, baseline.DEFAULT_TOLERANCE_DB)
    write(page, sources, not given.no_audio)
    print(page)
    return 0


def write(page: Path, sources: Sources, audio: bool = True) -> None:
    """Write the page, and show on standard error how far it is and what it lacks."""
    total = len(sources.entry.result.tracks)
    with tqdm(total=total, file=sys.stderr, bar_format=BAR, desc="writing the page", delay=1) as bar:
        report.write(page, sources, audio, bar.update)
    if sources.missing is not None:
        print(f"{page} is without sound and pictures: {sources.missing}", file=sys.stderr)
