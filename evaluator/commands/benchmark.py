"""`python -m evaluator benchmark add|list|close|reference|rescore|invite|reset`."""

import time
from argparse import ArgumentTypeError, Namespace
from pathlib import Path

from evaluator import printable, text_table
from evaluator.commands import Subparsers, converters, service_options
from evaluator.reporting.progress import CheckBar
from evaluator.service.errors import SetupError

SETS = "names of sets in weights/published_scores.yaml, such as multisong-mvsep"


def add_parser(subparsers: Subparsers) -> None:
    """Add the command and its subcommands."""
    parser = subparsers.add_parser(
        "benchmark",
        description="What an organiser does at the machine of the quality checker, whether it runs or not.",
    )
    kinds = parser.add_subparsers(required=True, metavar="ACTION")
    _add_add(kinds)
    listing = kinds.add_parser("list", help="list the benchmarks")
    service_options.add_place(listing)
    listing.set_defaults(run=_list)
    close = kinds.add_parser("close", help="close a benchmark now, or at another date than it had")
    close.add_argument("name", metavar="NAME", help="of the benchmark")
    close.add_argument("--at", metavar="DATE", help="such as 2026-12-31, in UTC (default: now)")
    service_options.add_place(close)
    close.set_defaults(run=_close)
    reference = kinds.add_parser(
        "reference",
        help="show published scores below a board",
        description="Show these sets of published scores below a benchmark's board, and no others. They are named "
        "with their data and their measure, and are never ranked.",
    )
    reference.add_argument("name", metavar="NAME", help="of the benchmark")
    reference.add_argument("sets", nargs="*", metavar="SET", help=f"{SETS}; none for no set")
    service_options.add_place(reference)
    reference.set_defaults(run=_reference)
    rescore = kinds.add_parser(
        "rescore",
        help="score all entries again, by other measures",
        description="Score all entries of a benchmark again, by these measures. Until then they keep what they have; "
        "it costs nobody a score.",
    )
    rescore.add_argument("name", metavar="NAME", help="of the benchmark")
    rescore.add_argument(
        "--metrics",
        type=converters.metrics,
        required=True,
        metavar="LIST",
        help=f"one or several of {', '.join(converters.METRICS)}, separated by commas; sdr is always among them",
    )
    service_options.add_place(rescore)
    rescore.set_defaults(run=_rescore)
    invite = kinds.add_parser("invite", help="print a link with which one person makes an account")
    invite.add_argument(
        "--role",
        choices=("submitter", "reader", "organiser"),
        default="submitter",
        help="default: %(default)s",
    )
    reset = kinds.add_parser(
        "reset", help="print a link with which somebody who has lost their password chooses another"
    )
    reset.add_argument("account", metavar="ACCOUNT", help="their name")
    for parser, run in ((invite, _invite), (reset, _reset)):
        parser.add_argument(
            "--url",
            type=service_options.address,
            required=True,
            metavar="URL",
            help="where people reach the service, such as https://checker.example.org",
        )
        service_options.add_place(parser)
        parser.set_defaults(run=run)


def _add_add(kinds: Subparsers) -> None:
    add = kinds.add_parser(
        "add",
        help="offer a data set",
        description="Offer a data set with references as a benchmark. The folder stays where it is; the mixtures are "
        "copied into a zip for download. Half of the tracks is private: its scores are shown when the benchmark has "
        "closed.",
    )
    option = add.add_argument
    option("name", metavar="NAME", help="lower-case letters, digits and hyphens")
    option("--data", type=Path, required=True, metavar="DIR", help="tracks with references")
    option("--title", default="", metavar="TEXT", help="default: the name")
    option(
        "--stems",
        type=_stems,
        metavar="LIST",
        help="stems to score, separated by commas (default: those of the challenge that it is laid out for)",
    )
    option(
        "--metrics",
        type=converters.metrics,
        default=("sdr",),
        metavar="LIST",
        help=f"one or several of {', '.join(converters.METRICS)}, separated by commas (default: sdr)",
    )
    option(
        "--open",
        action="store_true",
        help="everybody may have the references: scores of single tracks are shown, and no track is private",
    )
    option("--private", type=_share, metavar="SHARE", help="of the tracks (default: 0.5, with --open 0)")
    option("--seed", type=int, default=0, metavar="N", help="which tracks are private (default: %(default)s)")
    option("--opens", metavar="DATE", help="such as 2026-10-01 or 2026-10-01T12:00, in UTC")
    option("--closes", metavar="DATE", help="the same; from then on everything is shown, and nothing taken")
    option(
        "--per-day",
        type=converters.count,
        default=5,
        metavar="N",
        help="scores of an account a day (default: 5)",
    )
    option("--in-all", type=converters.count, default=100, metavar="N", help="and in all (default: 100)")
    option(
        "--dataset-type",
        type=converters.whole_from(0),
        metavar="N",
        help="number by which clients of MVSep's quality checker name it (Synth is 0, Multisong 1)",
    )
    option(
        "--reference",
        action="append",
        default=[],
        metavar="SET",
        help=f"show published scores below the board, unranked: {SETS}; may be repeated",
    )
    service_options.add_place(add)
    add.set_defaults(run=_add)


def _stems(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(","))


def _share(text: str) -> float:
    share = converters.not_negative(text)
    if share >= 1:
        raise ArgumentTypeError(f"{text}: expected a number from 0, and less than 1")
    return share


def _add(given: Namespace) -> int:
    settings = service_options.settings_of(given)
    from evaluator.service import benchmarks, database, organising, serving

    opens, closes = (
        None if text is None else organising.moment_of(text) for text in (given.opens, given.closes)
    )
    private = given.private if given.private is not None else (0.0 if given.open else 0.5)
    serving.make_root(settings.root)
    with CheckBar() as checked:
        rules = benchmarks.Rules(
            given.name, given.data, given.title, given.stems, given.metrics, given.open, private, given.seed,
            opens, closes, given.per_day, given.in_all, given.dataset_type, tuple(given.reference), checked,
        )  # fmt: skip
        made = benchmarks.add_beside_others(settings, database.connect(settings), rules, time.time())
    tracks = text_table.count(len(made.tracks), "track")
    kept = sum(track["part"] == "private" for track in made.tracks)
    print(
        f"{made.name}: {tracks}, {kept} of them private; {', '.join(made.stems)}; {', '.join(made.measures)}"
    )
    return 0


def _list(given: Namespace) -> int:
    settings = service_options.settings_of(given)
    from evaluator.service import benchmarks, database, rendering

    if settings.database is None and not settings.root.is_dir():
        raise SetupError(f"--root {settings.root}: there is no service; `serve` or `benchmark add` makes one")
    rows = [["name", "tracks", "stems", "measures", "references", "closes", "data"]]
    with database.connect(settings).reading() as session:
        for each in benchmarks.every(session):
            rows.append(
                [
                    each.name,
                    str(len(each.tracks)),
                    ",".join(each.stems),
                    ",".join(each.measures),
                    "open" if each.is_open else "hidden",
                    rendering.moment(each.closes),
                    printable.plain(each.folder),
                ]
            )
    print("\n".join(text_table.align(rows, left=(0, 2, 3, 4, 5, 6))))
    return 0


def _close(given: Namespace) -> int:
    settings = service_options.settings_of(given)
    from evaluator.service import benchmarks, database, organising, rendering

    with database.connect(settings).writing() as session:
        found = benchmarks.named(session, given.name)
        found.closes = time.time() if given.at is None else organising.moment_of(given.at)
        print(f"{found.name} closes {rendering.moment(found.closes)}")
    return 0


def _reference(given: Namespace) -> int:
    settings = service_options.settings_of(given)
    from evaluator.service import benchmarks, database

    with database.connect(settings).writing() as session:
        found = benchmarks.named(session, given.name)
        benchmarks.refer(found, given.sets)
    print(f"{given.name}: {', '.join(given.sets) or 'no published scores'} below its board")
    return 0


def _rescore(given: Namespace) -> int:
    settings = service_options.settings_of(given)
    from evaluator.service import benchmarks, database, organising

    with database.connect(settings).writing() as session:
        found = benchmarks.named(session, given.name)
        number = organising.rescore(session, found, given.metrics, time.time())
    entries = "1 entry" if number == 1 else f"{number} entries"
    print(f"{given.name}: {entries} will be scored by {', '.join(given.metrics)}, while the service runs")
    return 0


def _invite(given: Namespace) -> int:
    settings = service_options.settings_of(given)
    from evaluator.service import accounts, database, serving

    serving.make_root(settings.root)
    with database.connect(settings).writing() as session:
        print(f"{given.url}/invitation/{accounts.invite(session, given.role, time.time())}")
    return 0


def _reset(given: Namespace) -> int:
    settings = service_options.settings_of(given)
    from evaluator.service import accounts, database

    with database.connect(settings).writing() as session:
        print(f"{given.url}/reset/{accounts.issue_reset(session, given.account, time.time())}")
    return 0
