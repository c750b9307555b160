"""`python -m evaluator compare`."""

import json
from argparse import Namespace
from dataclasses import asdict
from typing import Any

from evaluator.commands import Subparsers
from evaluator.runs import compare, leaderboard, leaderboard_view, run_scores
from evaluator.runs.compare import Comparison
from evaluator.runs.leaderboard import Entry, Store


def add_parser(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "compare",
        description="Compare two runs on the same data, track by track. Each is named by the beginning of its "
        "id, its folder, its result file, a baseline, or latest.",
    )
    parser.add_argument("a", metavar="RUN_A", help="the run before")
    parser.add_argument("b", metavar="RUN_B", help="the run after")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run=_compare)


def _compare(given: Namespace) -> int:
    store = Store()
    a, b = (leaderboard.locate(wanted, store) for wanted in (given.a, given.b))
    found = compare.compare(
        run_scores.from_json(a.result, _label(a)), run_scores.from_json(b.result, _label(b))
    )
    print(json.dumps(_to_json(found), indent=2) if given.json else compare.describe(found))
    return 0


def _label(entry: Entry) -> str:
    commit = leaderboard_view.commit(entry)
    rtf = "" if entry.rtf is None else f", RTF {entry.rtf:.2f}"
    return (
        f"{entry.name}, {leaderboard_view.short_id(entry)} of {entry.result['start']}, commit {commit}{rtf}"
    )


def _to_json(found: Comparison) -> dict[str, Any]:
    return {
        "a": found.a.label,
        "b": found.b.label,
        "data": {"name": found.a.data_name, "hash": found.a.data_hash},
        "tracks": list(found.tracks),
        "left_out": list(found.left_out),
        "stems": [asdict(paired) for paired in found.stems],
        "moved": [asdict(moved) for moved in found.moved],
        "verdict": found.verdict,
        "sentence": found.sentence,
    }
