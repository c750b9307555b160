"""What `tune`, `ablate` and `table` have in common: tracks, how members are run, where estimates are kept."""

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tqdm import tqdm

from evaluator import printable, tables, text_table
from evaluator.challenge import of_stems
from evaluator.commands import converters
from evaluator.reporting import display
from evaluator.reporting.progress import BAR, CheckBar, engine_words
from evaluator.running import dataset
from evaluator.running.dataset import BadTracksError, Dataset, OtherStemsError
from evaluator.running.track_results import REASON_CHARACTERS
from evaluator.tables import Table
from evaluator.tuning import estimator
from evaluator.tuning.estimator import Estimator, EstimatorError, PresetInfo
from evaluator.tuning.over_engine import EngineEstimator, Watcher
from sdx.engines.options import add_engine, given_engine

GIB = 1 << 30


def add(parser: ArgumentParser) -> None:
    """Add a preset and the common arguments."""
    parser.add_argument("preset", metavar="PRESET", help="name or YAML file")
    add_data(parser)
    converters.add_skip_bad(parser)


def add_data(parser: ArgumentParser) -> None:
    """Add the arguments about tracks and about how members are run."""
    parser.add_argument(
        "--data", type=Path, metavar="DIR", help="tracks with references (default: the demo tracks)"
    )
    parser.add_argument("--only", metavar="GLOB", help="use the tracks whose name matches")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N (default: auto)")
    parser.add_argument(
        "--precision", default="auto", help="auto, fp32, bf16 or fp16 (default: auto, as in a submission)"
    )
    parser.add_argument(
        "--cache",
        type=Path,
        metavar="DIR",
        default=estimator.CACHE,
        help="where estimates are kept (default: %(default)s)",
    )
    parser.add_argument(
        "--cache-limit",
        type=converters.gibibytes,
        metavar="GIB",
        default=estimator.CACHE_LIMIT_BYTES,
        help=f"what it may hold (default: {estimator.CACHE_LIMIT_BYTES // GIB}); the longest unused goes first",
    )
    add_engine(parser, "run the members, a track each, and keep the estimates where they are")


def add_tables(parser: ArgumentParser) -> None:
    """Add the files to which a table is written, too."""
    kinds = {
        "markdown": "Markdown",
        "latex": "LaTeX",
        "csv": "CSV, unrounded",
        "parquet": "Parquet, unrounded",
    }
    for name, words in kinds.items():
        parser.add_argument(f"--{name}", type=Path, metavar="FILE", help=f"write the table as {words}, too")


def write_tables(given: Namespace, table: Sequence[Sequence[str]], unrounded: Table) -> None:
    """Write the files that were asked for: `table` for people, the other for programs; TableError."""
    for file, text in (
        (given.markdown, text_table.markdown(table)),
        (given.latex, text_table.latex(table)),
        (given.csv, tables.as_csv(unrounded)),
    ):
        if file is not None:
            file.write_text(text, encoding="utf-8")
    if given.parquet is not None:
        tables.write_parquet(unrounded, given.parquet)


def make_estimator(given: Namespace) -> Estimator:
    """What runs members, here or on an engine, not started yet; AddressError."""
    options = (given.cache, given.cache_limit, given.device, given.precision)
    engine = given_engine(given)
    return Estimator(*options) if engine is None else EngineEstimator(engine, given.only, *options)


@contextmanager
def progress_bar(runner: Estimator, total: int, what: str) -> Iterator["tqdm[Any]"]:
    """A bar with the time left, which also says who is at work where that is an engine."""
    with tqdm(total=total, file=sys.stderr, bar_format=BAR, desc=what) as bar:
        if isinstance(runner, EngineEstimator):
            runner.watcher = _Shown(bar)
        yield bar


class _Shown(Watcher):
    """Shows an engine beside a bar."""

    def __init__(self, bar: "tqdm[Any]") -> None:
        self._bar = bar

    def notice(self, text: str) -> None:
        tqdm.write(printable.plain(text, REASON_CHARACTERS), file=sys.stderr)

    def checking(self, done: int, tracks: int) -> None:
        self._show(f"checking the data, {done} of {text_table.count(tracks, 'track')}")

    def working(self, workers: int, machines: int, done: int, tracks: int, pace: float) -> None:
        self._show(engine_words(workers, machines, done, tracks, pace))

    def _show(self, words: str) -> None:
        self._bar.set_postfix_str(words, refresh=sys.stderr.isatty())


def load_data(given: Namespace, info: PresetInfo) -> tuple[Dataset, str]:
    """The tracks to work on, with the stems that the preset makes, every file read; and their hash.

    What --skip-bad leaves out is said. Raises EstimatorError where the tracks have other stems, or some cannot be
    used; DataError where none can.
    """
    wanted = of_stems(info.instruments)
    try:
        found = dataset.load(
            given.data or dataset.demo_folder(wanted), given.only, wanted, skip_bad=given.skip_bad
        )
        with CheckBar() as checked:
            total = len(found.tracks)
            data, hashes = dataset.checked(found, lambda track: checked(track, total), given.skip_bad)
    except OtherStemsError as error:
        raise EstimatorError(f"preset {given.preset} is for {wanted.words}, but {error}") from None
    except BadTracksError as error:
        raise EstimatorError(f"{error}\n{display.mend_or_skip(error)}") from None
    for sentence in display.left_out(data.left_out, len(data.tracks)):
        print(printable.lines(sentence), file=sys.stderr)
    return data, hashes.total


def tracks_of(data: Dataset) -> str:
    """How many tracks there are, and how many of them are used where not all are."""
    every = text_table.count(len(data.tracks) + len(data.left_out), "track")
    return f"{len(data.tracks)} of {every}" if data.left_out else every
