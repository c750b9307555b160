"""`python -m evaluator baseline`."""

from argparse import Namespace
from pathlib import Path

from evaluator import text_table
from evaluator.commands import Subparsers, converters
from evaluator.locations import REPOSITORY, command, data_folder
from evaluator.measures.means import MEAN
from evaluator.runs import baseline, leaderboard, results, run_scores
from evaluator.runs.leaderboard import Store

FOLDER = REPOSITORY / "evaluator" / "baselines"
OWN_FOLDER = FOLDER if data_folder() == REPOSITORY else data_folder() / "baselines"


def add_parser(subparsers: Subparsers) -> None:
    """Add the command and its subcommands."""
    parser = subparsers.add_parser("baseline")
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    save = actions.add_parser(
        "save",
        help="make a baseline of a run",
        description="Make a baseline of a run; check later runs with `run_eval.py --check FILE`.",
    )
    save.add_argument(
        "wanted", metavar="RUN", help="beginning of its id, its folder or result file, or latest"
    )
    save.add_argument(
        "file",
        nargs="?",
        type=Path,
        help="default: PRESET.json among the baselines",
    )
    converters.add_withdrawn(save)
    save.set_defaults(run=_save)
    show = actions.add_parser("show", help="print a baseline")
    show.add_argument("file", nargs="?", type=Path, help="default: list all")
    show.set_defaults(run=_show)


def _save(given: Namespace) -> int:
    entry = leaderboard.locate(given.wanted, Store(), given.withdrawn)
    item = baseline.to_json(entry.result, entry.id)
    file = given.file or OWN_FOLDER / f"{entry.result.name}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    new = run_scores.of_result(entry.result, "the new one")
    if file.exists():
        old = run_scores.of_result(baseline.read(file), "the old one")
        if old.data_hash == new.data_hash:
            print(f"{file} is replaced. The new one compared with the old one:")
            print(baseline.describe(baseline.check(old, new)))
        else:
            print(f"{file} is replaced; the old one was made on other data.")
    results.write(file, item)
    withdrawn = "" if entry.withdrawal is None else f", which was {entry.withdrawal.words}"
    print(f"{file}: baseline of run {entry.short_id}, {entry.result.status}{withdrawn}")
    return 0


def _show(given: Namespace) -> int:
    if given.file is not None:
        print(baseline.show(baseline.read(given.file)))
        return 0
    files = sorted({*FOLDER.glob("*.json"), *OWN_FOLDER.glob("*.json")})
    for file in files:
        result = baseline.read(file)
        score, data = result.score(), result.plan.data
        mean = "no score" if score is None else f"{text_table.db(score[MEAN])} dB"
        tracks = text_table.count(data.number, "track")
        print(f"{file.name}: {result.plan.challenge}, {tracks} of {data.path}, {mean}")
    if not files:
        print(f"{OWN_FOLDER}: no baseline yet; `{command('baseline save RUN')}` makes one")
    return 0
