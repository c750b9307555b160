"""`python -m evaluator leaderboard`."""

import sys
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from evaluator import printable, text_table
from evaluator.challenge import CHALLENGES
from evaluator.commands import Subparsers, converters
from evaluator.measures.means import MEAN
from evaluator.reporting import leaderboard_view, run_words, site
from evaluator.reporting.leaderboard_view import Board
from evaluator.runs import entries as recorded_runs
from evaluator.runs import leaderboard, published, results
from evaluator.runs.entries import SHORT, Entry
from evaluator.runs.leaderboard import LeaderboardError, Store
from evaluator.runs.published import PublishedSet


def add_parser(subparsers: Subparsers) -> None:
    """Add the command and its subcommands."""
    parser = subparsers.add_parser(
        "leaderboard",
        description="Rank the runs of this working copy, those on the same data together.",
        epilog="See also `leaderboard show RUN`, `leaderboard publish DIR`, `leaderboard withdraw RUN`, "
        "`leaderboard export [FILE]`, `leaderboard import FILE…`. Options of the list go before the action: "
        "`leaderboard --data NAME publish DIR`.",
    )
    converters.add_challenge_or_stems(parser, default="all")
    parser.add_argument(
        "--data",
        metavar="HASH|NAME",
        help="only runs on this data (beginning of its hash, or folder name), or a published set",
    )
    parser.add_argument(
        "--sort",
        default=MEAN,
        metavar="STEM",
        help=f"{MEAN} or a stem (default: mean)",
    )
    parser.add_argument(
        "--tag", action="append", default=[], metavar="TEXT", help="only runs with this tag; may be repeated"
    )
    parser.add_argument(
        "--published",
        action="store_true",
        help="list what others published, too, each set on data of its own",
    )
    parser.add_argument("--all", action="store_true", help="list interrupted runs, too")
    parser.add_argument("--withdrawn", action="store_true", help="list withdrawn runs, too, without a rank")
    form = parser.add_mutually_exclusive_group()
    for name, what in (("csv", "comma-separated values"), ("json", "JSON"), ("html", "an HTML page")):
        form.add_argument(f"--{name}", action="store_const", const=name, dest="form", help=f"print {what}")
    parser.set_defaults(run=_list, form="text")

    actions = parser.add_subparsers(metavar="ACTION")
    show = actions.add_parser("show", help="print everything about one run, and how to repeat it")
    show.add_argument("wanted", metavar="RUN", help="beginning of its id, its folder, or latest")
    show.set_defaults(run=_show)
    publish = actions.add_parser(
        "publish",
        help="write the board as a site",
        description="Write the board as a static site: one page, and the reports of its runs that exist, which opens "
        "from disk and from any web server. A site that was written so before is renewed.",
    )
    publish.add_argument("folder", type=Path, metavar="DIR", help="where the site goes")
    publish.add_argument("--no-reports", action="store_true", help="only the board")
    publish.set_defaults(run=_publish)
    withdraw = actions.add_parser(
        "withdraw",
        help="take a run back",
        description="Take a run back: it is not deleted, but is neither listed nor exported, and compared only with "
        "--withdrawn; importing it again does not bring it back. There is no way back but a new run.",
    )
    withdraw.add_argument(
        "wanted",
        metavar="RUN",
        help="beginning of its id, latest, or the name of a row that cannot be read, as row-3",
    )
    withdraw.add_argument("--reason", metavar="TEXT", help="kept, and shown wherever the run is asked for")
    withdraw.set_defaults(run=_withdraw)
    export = actions.add_parser("export", help="write the runs as JSON, for another machine")
    export.add_argument("file", nargs="?", type=Path, metavar="FILE", help="default: standard output")
    export.set_defaults(run=_export)
    read = actions.add_parser(
        "import",
        help="append runs of exported files, result files or run folders",
        description="Append runs of exported files, result files or run folders, whoever made them. All are checked "
        "first; if anything in any of them is wrong, nothing is appended. Of what lies outside the folder of the "
        "leaderboard only the result is taken: no report, no estimates.",
    )
    read.add_argument("files", nargs="+", type=Path, metavar="FILE", help="or a run's folder")
    read.set_defaults(run=_import)


def _list(given: Namespace) -> int:
    board = _board(given)
    if given.form == "html":
        shown = [entry for group in board.groups for entry in (*group.ranked, *group.unranked)]
        board = replace(board, reports=site.links_here(shown))
    print(leaderboard_view.FORMS[given.form](board))
    return 0


def _board(given: Namespace) -> Board:
    """What was asked for: the runs, and only where they are, the scores that others published on other data."""
    every = Store().entries(given.withdrawn)
    entries = [
        entry
        for entry in recorded_runs.on_data(every, given.data)
        if given.challenge in (None, entry.result.plan.challenge)
        and (given.all or entry.result.status != "incomplete")
        and set(given.tag) <= set(entry.result.label.tags)
    ]
    sets = published.of_challenge(given.challenge)
    named = [found for found in sets if found.name == given.data]
    sets = named or (sets if given.published else [])
    _check_sort(given.sort, entries, sets)
    if given.data is not None and not entries and not sets:
        known = {entry.data_name for entry in every} | {found.name for found in published.load()}
        raise LeaderboardError(
            f"--data {given.data}: no run on such data; expected one of {', '.join(sorted(known))}"
        )
    return Board(
        tuple(recorded_runs.rank(entries, given.sort)),
        tuple(sets),
        given.sort,
        left_out=len(every) - len(entries),
    )


def _publish(given: Namespace) -> int:
    done = site.publish(_board(given), given.folder, not given.no_reports)
    reports = text_table.count(done.reports, "report")
    print(f"{done.index}: {text_table.count(done.runs, 'run')}, {reports}")
    if done.reports:
        print(
            "Reports hold sound, logs and paths of this machine; --no-reports leaves them out.",
            file=sys.stderr,
        )
    return 0


def _check_sort(stem: str, entries: Sequence[Entry], sets: Sequence[PublishedSet]) -> None:
    shown = [challenge.stems for challenge in CHALLENGES.values()]
    shown += [found.stems for found in sets] + [entry.result.stems for entry in entries]
    known = {MEAN, *(stem for stems in shown for stem in stems)}
    if stem not in known:
        raise LeaderboardError(
            f"--sort {stem}: no run here has that stem; expected one of {', '.join(sorted(known))}"
        )


def _show(given: Namespace) -> int:
    print(run_words.detail(leaderboard.locate(given.wanted, Store(), withdrawn=True)))
    return 0


def _withdraw(given: Namespace) -> int:
    store = Store()
    run = store.find("latest").id if given.wanted == "latest" else given.wanted
    done = store.withdraw(run, given.reason)
    print(f"{done.what}: {'' if done.is_new else 'already '}{done.withdrawal.words}")
    return 0


def _export(given: Namespace) -> int:
    entries = Store().entries()
    item = recorded_runs.to_export(entries)
    if given.file is None:
        print(printable.json_text(item))
        return 0
    results.write(given.file, item)
    print(f"{given.file}: {text_table.count(len(entries), 'run')}")
    return 0


def _without_a_strangers_folder(entry: Entry, own: Path) -> Entry:
    """What is imported from elsewhere is the result alone: the page beside it may be anybody's, and run anything."""
    is_own = entry.folder is not None and Path(entry.folder).resolve().is_relative_to(own)
    return entry if is_own else replace(entry, folder=None)


def _import(given: Namespace) -> int:
    entries = [entry for file in given.files for entry in recorded_runs.read_runs(file)]
    store = Store()
    own = store.path.parent.resolve()
    added = store.add([_without_a_strangers_folder(entry, own) for entry in entries])
    print(f"{store.path}: {text_table.count(added.appended, 'run')} appended, {added.known} there already")
    for run, withdrawal in added.withdrawn.items():
        print(f"run {run[:SHORT]} was {withdrawal.words}, and stays so")
    return 0
