"""`python -m evaluator paper`."""

from argparse import ArgumentTypeError, Namespace
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from evaluator import printable, tables, text_table
from evaluator.commands import Subparsers, converters
from evaluator.measures.catalogue import MEASURES
from evaluator.measures.means import MEAN
from evaluator.reporting import figures, paper_tables, report, track_details
from evaluator.runs import groups, leaderboard, run_scores
from evaluator.runs.documents import ResultError
from evaluator.runs.entries import Entry
from evaluator.runs.groups import Groups
from evaluator.runs.leaderboard import Store

NUMBERS, SHOWN = (".csv", ".parquet"), (".md", ".tex")
KINDS = {suffix.removeprefix("."): suffix for suffix in (*NUMBERS, *SHOWN, *figures.SUFFIXES)}

OverTime = dict[str, dict[str, dict[str, list[float | None]]]]
"""{track: {run: {stem: SDR in dB within each second}}}"""


def add_parser(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "paper",
        description="Write tables and figures of runs on the same data: every track; means with 95 % intervals; "
        "groups of tracks; and where runs have one name, such as those with other seeds, their spread.",
        epilog="A table as CSV and Parquet is unrounded. Parquet and figures need the extra papers.",
    )
    parser.add_argument(
        "runs", nargs="*", metavar="RUN", help="beginning of its id, its folder or result file, latest"
    )
    parser.add_argument(
        "--tag", action="append", default=[], metavar="TEXT", help="all runs with this tag, too"
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="the folder for tables and figures"
    )
    parser.add_argument(
        "--groups",
        type=Path,
        metavar="FILE",
        help="CSV with a column track and others to group by, as genre, source, year (default: groups.csv in the"
        " data)",
    )
    parser.add_argument(
        "--metric",
        type=converters.metric,
        default="sdr",
        metavar="NAME",
        help=f"what is printed and drawn: {', '.join(converters.METRICS)} (default: sdr)",
    )
    parser.add_argument(
        "--over-time",
        metavar="GLOB",
        help="draw SDR over time of the tracks whose name matches, where the runs kept their estimates",
    )
    parser.add_argument(
        "--formats",
        type=_formats,
        default=tuple(KINDS.values()),
        metavar="LIST",
        help=f"of {','.join(KINDS)} (default: all)",
    )
    converters.add_withdrawn(parser)
    parser.set_defaults(run=_run)


def _formats(text: str) -> tuple[str, ...]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in KINDS]
    if unknown or not names:
        raise ArgumentTypeError(f"found {text!r}, expected some of {','.join(KINDS)}")
    return tuple(KINDS[name] for name in dict.fromkeys(names))


def _run(given: Namespace) -> int:
    entries = _entries(given)
    kinds: Sequence[str] = given.formats
    pictures = [kind for kind in kinds if kind in figures.SUFFIXES]
    if pictures:
        figures.require_matplotlib()
    if ".parquet" in kinds:
        tables.require_pyarrow()
    found = _groups(given, entries)
    exports = paper_tables.all_of(entries, found, given.metric)
    over_time = {} if given.over_time is None else _sdr_over_time(given.over_time, entries)
    folder: Path = given.out
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for export in exports:
            for kind in kinds:
                if kind not in pictures:
                    table = export.numbers if kind in NUMBERS else export.shown
                    tables.write(table, folder / f"{export.name}{kind}")
        drawn = [name for kind in pictures for name in _draw(given.metric, entries, over_time, folder, kind)]
    except OSError as error:
        raise ResultError(f"{error.filename or folder}: cannot be written ({error.strerror})") from None
    print(text_table.ruled(next(export for export in exports if export.name == "runs").shown.text()))
    print(
        f"{MEASURES[given.metric].name} in {MEASURES[given.metric].words}; in brackets the 95 % interval over tracks."
    )
    for names, of_kind in (
        ([export.name for export in exports], [kind for kind in kinds if kind not in pictures]),
        (list(dict.fromkeys(drawn)), pictures),
    ):
        if names and of_kind:
            print(f"{folder}: {', '.join(names)} as {', '.join(kind.removeprefix('.') for kind in of_kind)}")
    return 0


def _entries(given: Namespace) -> list[Entry]:
    """The runs that were named or tagged; ResultError unless they are on the same data and have the measure."""
    store = Store()
    found = [leaderboard.locate(wanted, store, given.withdrawn) for wanted in given.runs]
    if given.tag:
        found += [entry for entry in store.entries() if set(given.tag) <= set(entry.result.label.tags)]
    entries = list({entry.id: entry for entry in found}.values())
    if not entries:
        what = f"no run has the tag {', '.join(given.tag)}" if given.tag else "no run is named"
        raise ResultError(f"{printable.plain(what)}; name runs, or another tag; `leaderboard` lists both")
    first = run_scores.of_result(entries[0].result, _label(entries[0]))
    for entry in entries:
        run_scores.require_same_data(first, run_scores.of_result(entry.result, _label(entry)))
        if given.metric not in entry.result.plan.metrics:
            raise ResultError(
                f"{_label(entry)} has no {given.metric}, only {', '.join(entry.result.plan.metrics)}; evaluate it"
                f" with --metrics {MEASURES[given.metric].option}"
            )
    return entries


def _label(entry: Entry) -> str:
    return f"run {entry.short_id} ({entry.result.name})"


def _groups(given: Namespace, entries: Sequence[Entry]) -> Groups:
    """Those of the file that is named, else those of the data; what is said of no track is told."""
    data = Path(entries[0].result.plan.data.path)
    file = given.groups or data / groups.FILE
    found = groups.of_data(data) if given.groups is None else groups.read(file)
    names = list(dict.fromkeys(track.name for entry in entries for track in entry.result.tracks))
    groups.require_tracks(found, names, file)
    if found.columns and (unknown := found.unknown(names)):
        listed = printable.plain(", ".join(printable.listed(unknown, 5)))
        print(f"in no group, since {printable.plain(str(file))} does not name them: {listed}")
    return found


def _draw(metric: str, entries: Sequence[Entry], over_time: OverTime, folder: Path, kind: str) -> list[str]:
    """Draw what there is something for; the names of the figures."""
    measure = MEASURES[metric]
    runs = [_drawn(entry, label, metric) for entry, label in _labelled(entries)]
    names = []
    if any(run.scores[MEAN] for run in runs):
        figures.box(runs, measure, folder / f"box{kind}")
        figures.strip(runs, measure, folder / f"strip{kind}")
        names += ["box", "strip"]
    if any(run.rtf is not None and run.mean is not None for run in runs):
        figures.speed(runs, measure, folder / f"speed{kind}")
        names.append("speed")
    for track, lines in over_time.items():
        name = f"over-time-{track.replace('/', '__')}"
        figures.over_time(track, lines, folder / f"{name}{kind}")
        names.append(name)
    return names


def _labelled(entries: Sequence[Entry]) -> list[tuple[Entry, str]]:
    """The runs, and what each is called in a figure, where there is little room."""
    names = [printable.plain(label, figures.LABEL_CHARACTERS) for label in paper_tables.labels(entries)]
    return list(zip(entries, names, strict=True))


def _drawn(entry: Entry, label: str, measure: str) -> figures.Named:
    result = entry.result
    return figures.Named(
        label,
        {column: run_scores.values(result, column, measure) for column in (MEAN, *result.stems)},
        result.rtf,
        result.totals(measure)[MEAN] if result.status == "ok" else None,
        run_scores.interval(result, MEAN, measure),
    )


def _sdr_over_time(pattern: str, entries: Sequence[Entry]) -> OverTime:
    """Of each track that matches; ResultError where no run has kept its estimates."""
    lines: OverTime = {}
    missing = []
    for entry, label in _labelled(entries):
        sources = report.gather(entry, None, 0.0)
        missing += [f"{_label(entry)}: {sources.missing}"] if sources.missing else []
        for track in sources.tracks or ():
            kept = Path(entry.folder or "") / "estimates" / track.folder
            if fnmatchcase(track.name, pattern) and kept.is_dir():
                lines.setdefault(track.name, {})[label] = track_details.sdr_over_time(track, kept)
    if not lines:
        why = missing[0] if missing else "no track has such a name"
        raise ResultError(f"--over-time {printable.plain(pattern)}: nothing to draw; {why}")
    return lines
