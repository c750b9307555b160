"""`python -m evaluator compare`."""

from argparse import Namespace
from dataclasses import asdict
from pathlib import Path
from typing import Any

from evaluator import printable
from evaluator.commands import Subparsers, converters
from evaluator.reporting import leaderboard_view
from evaluator.runs import compare, leaderboard, run_scores
from evaluator.runs.compare import Comparison
from evaluator.runs.leaderboard import Store
from evaluator.runs.run_scores import RunScores


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
    parser.add_argument("--json", action="store_true", help="print JSON")
    converters.add_withdrawn(parser)
    parser.set_defaults(run=_compare)


def _compare(given: Namespace) -> int:
    store = Store()
    a, b = (_scores(wanted, store, given.withdrawn) for wanted in (given.a, given.b))
    found = compare.compare(a, b, measure=given.metric)
    print(printable.json_text(_to_json(found)) if given.json else compare.describe(found))
    return 0


def _scores(wanted: str, store: Store, withdrawn: bool) -> RunScores:
    """The scores of a run, or of a baseline file, labelled with what it is."""
    path = Path(wanted)
    if path.exists() and not path.is_dir():
        result = leaderboard.read_baseline(path, store, withdrawn)
        which = printable.plain(path.name)
    else:
        entry = leaderboard.locate(wanted, store, withdrawn)
        result, which = entry.result, entry.short_id
        which += "" if entry.withdrawal is None else f", {entry.withdrawal.words}"
    rtf = "" if result.rtf is None else f", RTF {result.rtf:.2f}"
    commit = leaderboard_view.commit(result)
    return run_scores.of_result(result, f"{result.name}, {which} of {result.start}, commit {commit}{rtf}")


def _to_json(found: Comparison) -> dict[str, Any]:
    return {
        "a": found.a.label,
        "b": found.b.label,
        "data": {"name": found.a.data_name, "hash": found.a.data_hash},
        "measure": {
            "name": found.measure.name,
            "unit": found.measure.unit,
            "better": found.measure.better,
        },
        "tracks": list(found.tracks),
        "left_out": list(found.left_out),
        "stems": [asdict(paired) for paired in found.stems],
        "moved": [asdict(moved) for moved in found.moved],
        "verdict": found.verdict,
        "sentence": found.sentence,
    }
