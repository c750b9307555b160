"""What `tune`, `ablate` and `table` have in common: tracks, how members are run, where estimates are kept."""

from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from pathlib import Path

from evaluator import text_table
from evaluator.challenge import of_stems
from evaluator.commands import converters
from evaluator.running import dataset
from evaluator.running.dataset import Dataset, OtherStemsError
from evaluator.tuning import estimator
from evaluator.tuning.estimator import Estimator, EstimatorError, PresetInfo

GIB = 1 << 30


def add(parser: ArgumentParser) -> None:
    """Add a preset and the common arguments."""
    parser.add_argument("preset", metavar="PRESET", help="name or YAML file")
    add_data(parser)


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


def add_tables(parser: ArgumentParser) -> None:
    """Add the files to which a table is written, too."""
    for name, words in (("markdown", "Markdown"), ("latex", "LaTeX"), ("csv", "CSV, unrounded")):
        parser.add_argument(f"--{name}", type=Path, metavar="FILE", help=f"write the table as {words}, too")


def write_tables(given: Namespace, table: Sequence[Sequence[str]], csv: str) -> None:
    """Write the files that were asked for."""
    for file, text in (
        (given.markdown, text_table.markdown(table)),
        (given.latex, text_table.latex(table)),
        (given.csv, csv),
    ):
        if file is not None:
            file.write_text(text, encoding="utf-8")


def make_estimator(given: Namespace) -> Estimator:
    """The process that runs members, not started yet."""
    return Estimator(given.cache, given.cache_limit, given.device, given.precision)


def load_data(given: Namespace, info: PresetInfo) -> Dataset:
    """The tracks to work on, with the stems that the preset makes; EstimatorError where they have others."""
    wanted = of_stems(info.instruments)
    try:
        return dataset.load(given.data or dataset.demo_folder(wanted), given.only, wanted)
    except OtherStemsError as error:
        raise EstimatorError(f"preset {given.preset} is for {wanted.words}, but {error}") from None
