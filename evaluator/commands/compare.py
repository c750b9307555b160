"""`python -m evaluator compare`."""

from argparse import Namespace
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from evaluator import printable
from evaluator.commands import Subparsers, converters
from evaluator.measures import bootstrap
from evaluator.reporting import run_words
from evaluator.runs import compare, leaderboard, likeness, run_scores
from evaluator.runs.compare import Comparison
from evaluator.runs.leaderboard import Store
from evaluator.runs.results import Result
from evaluator.runs.run_scores import RunScores


@dataclass(frozen=True)
class Named:
    """A run, or a baseline, as the user named it. run: its id, or None where a baseline's file does not say."""

    result: Result
    run: str | None
    scores: RunScores


def add_parser(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "compare",
        description="Compare two runs on the same data, track by track. Name each by the beginning of its id, "
        "its folder, its result file, a baseline file, or latest.",
    )
    parser.add_argument("a", metavar="RUN_A", help="the run before")
    parser.add_argument("b", metavar="RUN_B", help="the run after")
    parser.add_argument(
        "--metric",
        type=converters.metric,
        default="sdr",
        metavar="NAME",
        help=f"compare by this measure: {', '.join(converters.METRICS)} (default: sdr)",
    )
    parser.add_argument(
        "--json", action="store_true", help="print JSON: ids, and numbers for every stem and track"
    )
    converters.add_withdrawn(parser)
    parser.set_defaults(run=_compare)


def _compare(given: Namespace) -> int:
    store = Store()
    a, b = (_named(wanted, store, given.withdrawn) for wanted in (given.a, given.b))
    found = compare.compare(a.scores, b.scores, measure=given.metric)
    if given.json:
        print(printable.json_text(_to_json(found, a, b)))
        return 0
    text = compare.describe(found)
    if likeness.same_submission(a.result, b.result):
        same = likeness.words(a.result)
        text += f"\nA and B are {same}: what differs comes of chance, limits or the machine."
    print(text)
    return 0


def _named(wanted: str, store: Store, withdrawn: bool) -> Named:
    """A run, or a baseline file, with its scores, which are labelled with what it is."""
    path = Path(wanted)
    if path.exists() and not path.is_dir():
        result, run = leaderboard.read_baseline(path, store, withdrawn)
        which = printable.plain(path.name)
    else:
        entry = leaderboard.locate(wanted, store, withdrawn)
        result, run, which = entry.result, entry.id, entry.short_id
        which += "" if entry.withdrawal is None else f", {entry.withdrawal.words}"
    rtf = "" if result.rtf is None else f", RTF {result.rtf:.2f}"
    made = f"{result.name}, {which} of {result.start}, commit {run_words.commit(result)}{rtf}"
    label = f"{made} ({result.label.words})" if result.label.words else made
    return Named(result, run, run_scores.of_result(result, label))


def _to_json(found: Comparison, a: Named, b: Named) -> dict[str, Any]:
    return {
        "a": _run_to_json(a),
        "b": _run_to_json(b),
        "same_submission": likeness.same_submission(a.result, b.result),
        "data": {"name": found.a.data_name, "hash": found.a.data_hash, "tracks": found.a.data_number},
        "measure": {
            "name": found.measure.name,
            "unit": found.measure.unit,
            "better": found.measure.better,
        },
        "confidence": bootstrap.CONFIDENCE,
        "tracks": list(found.tracks),
        "left_out": [asdict(one) for one in found.left_out],
        "stems": [asdict(paired) for paired in found.stems],
        "differences": found.differences,
        "verdict": found.verdict,
    }


def _run_to_json(named: Named) -> dict[str, Any]:
    result = named.result
    submission = result.plan.submission
    return {
        "run": named.run,
        "name": result.name,
        "note": result.label.note,
        "tags": list(result.label.tags),
        "preset": result.preset,
        "commit": None if submission is None else submission.commit,
        "dirty": None if submission is None else submission.dirty,
        "files_sha256": None if submission is None else submission.files_sha256,
        "start": result.start,
        "rtf": result.rtf,
    }
