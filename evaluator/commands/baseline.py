"""`python -m evaluator baseline`."""

import os
import re
import sysconfig
from argparse import Namespace
from pathlib import Path

from evaluator import text_table
from evaluator.commands import Subparsers, converters
from evaluator.locations import IS_INSTALLED, REPOSITORY, command, data_folder
from evaluator.measures.means import MEAN
from evaluator.runs import baseline, leaderboard, results, run_scores
from evaluator.runs.documents import ResultError
from evaluator.runs.leaderboard import Store
from evaluator.runs.results import Result

KITS_OWN = REPOSITORY / "evaluator" / "baselines"  # the demo's
EARLIER = data_folder() / "baselines"  # where an installed kit once kept them
SUFFIX = ".baseline.json"
NAME_BYTES = 150  # of a file's name, which may have 255 with its ending and while it is written


def add_parser(subparsers: Subparsers) -> None:
    """Add the command and its subcommands."""
    parser = subparsers.add_parser("baseline")
    actions = parser.add_subparsers(required=True, metavar="ACTION")
    save = actions.add_parser(
        "save",
        help="make a baseline of a run",
        description=f"Make a baseline of a run; check later runs with `{command('eval --check FILE')}`.",
    )
    save.add_argument(
        "wanted", metavar="RUN", help="beginning of its id, its folder or result file, or latest"
    )
    save.add_argument(
        "file",
        nargs="?",
        type=Path,
        metavar="FILE",
        help=f"default: DATA-NAME{SUFFIX}, beside the data, or where that is not to be written, in this folder",
    )
    converters.add_withdrawn(save)
    save.set_defaults(run=_save)
    show = actions.add_parser("show", help="print a baseline")
    show.add_argument(
        "file",
        nargs="?",
        type=Path,
        metavar="FILE",
        help="default: list those in this folder and the demo's",
    )
    show.set_defaults(run=_show)


def _save(given: Namespace) -> int:
    entry = leaderboard.locate(given.wanted, Store(), given.withdrawn)
    item = baseline.to_json(entry.result, entry.id)
    file = given.file or default_file(entry.result, Path.cwd())
    if _is_installed(file):
        raise ResultError(
            f"{file}: lies in an installed package, where the next update would remove it; name another"
        )
    new = run_scores.of_result(entry.result, "the new one")
    if file.exists():
        old = run_scores.of_result(baseline.read(file), "the old one")
        if old.data_hash == new.data_hash:
            print(f"{file} is replaced. The new one compared with the old one:")
            print(baseline.describe(baseline.check(old, new)))
        else:
            print(f"{file} is replaced; the old one was made on other data.")
    try:
        results.write(file, item)
    except OSError as error:
        raise ResultError(f"{file}: cannot be written ({error.strerror}); name another file") from None
    withdrawn = "" if entry.withdrawal is None else f", which was {entry.withdrawal.words}"
    print(f"{file}: baseline of run {entry.short_id}, {entry.result.name}, {entry.result.status}{withdrawn}")
    return 0


def default_file(result: Result, here: Path) -> Path:
    """Beside the run's data, unless that is the kit's own, gone, or cannot be written; else in `here`."""
    data = Path(result.plan.data.path)
    words = re.sub(r"[^\w.+-]+", "-", f"{data.name}-{result.name}").strip("-.")
    words = words.encode()[:NAME_BYTES].decode(errors="ignore")
    beside = data.parent
    is_users = data.is_dir() and not beside.resolve().is_relative_to(REPOSITORY) and not _is_installed(beside)
    return (beside if is_users and os.access(beside, os.W_OK) else here) / f"{words}{SUFFIX}"


def _is_installed(path: Path) -> bool:
    """Whether it lies in a package that pip, or the like, has put there."""
    folders = [Path(sysconfig.get_path(name)) for name in ("purelib", "platlib")]
    folders += [REPOSITORY] if IS_INSTALLED else []
    return any(path.resolve().is_relative_to(folder.resolve()) for folder in folders)


def _show(given: Namespace) -> int:
    if given.file is not None:
        print(baseline.show(baseline.read(given.file)))
        return 0
    files = [
        *sorted(Path.cwd().glob(f"*{SUFFIX}")),
        *sorted(EARLIER.glob("*.json")),
        *sorted(KITS_OWN.glob("*.json")),
    ]
    for file in files:
        result = baseline.read(file)
        score, data = result.score(), result.plan.data
        mean = "no score" if score is None else f"{text_table.db(score[MEAN])} dB"
        tracks = text_table.count(data.number, "track")
        print(f"{file}: {result.name}, {result.plan.challenge}, {tracks} of {data.path}, {mean}")
    if not files:
        print(f"no baseline here yet; `{command('baseline save RUN')}` makes one")
    return 0
