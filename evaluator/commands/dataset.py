"""`python -m evaluator dataset synth|cinematic`."""

import sys
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Never

from tqdm import tqdm

from evaluator import printable, text_table
from evaluator.challenge import CINEMATIC, Challenge, StemSet, of_stems
from evaluator.commands import Subparsers, converters
from evaluator.datasets import builder, library
from evaluator.datasets.builder import Recipe
from evaluator.datasets.library import Library
from evaluator.datasets.tracks import LOUDNESS, Plan
from evaluator.locations import command
from evaluator.reporting.progress import BAR
from evaluator.running import dataset
from evaluator.running.dataset import DataError
from sdx.engines.options import add_engine, given_engine
from sdx.engines.showing import Bar

STEMS_OF_INSTRUMENTALS = ("bass", "drums", "other")


def add_parser(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "dataset",
        description="Build a data set from your own recordings. A stopped build continues where it was.",
    )
    kinds = parser.add_subparsers(required=True, metavar="KIND")
    synth = kinds.add_parser(
        "synth",
        help="random vocals over random instrumentals, as Synth MVSep",
        description="Mix a random vocal-only recording with a random instrumental-only one. Recordings are files, "
        "or, for instrumentals, folders with bass, drums and other; without such folders the result has two stems, "
        "vocals and instrumental.",
    )
    synth.add_argument("--vocals", type=Path, required=True, metavar="DIR", help="vocal-only recordings")
    synth.add_argument(
        "--instrumentals", type=Path, required=True, metavar="DIR", help="instrumental-only recordings"
    )
    _add_plan(synth, tracks=100)
    synth.set_defaults(run=_synth)
    cinematic = kinds.add_parser(
        "cinematic",
        help="dialogue, effects and music to Divide and Remaster's loudness rules",
        description="Place clips with silences between them, at −17 (dialogue), −21 (effects) and −24 LUFS "
        "(music), each ± 2 per track and ± 1 per clip; the mixture at −27 ± 2 LUFS, its peak at −0.5 dBFS at most.",
    )
    for stem in LOUDNESS:
        cinematic.add_argument(
            f"--{stem}", type=Path, required=True, metavar="DIR", help=f"{stem} recordings"
        )
    _add_plan(cinematic, tracks=20)
    cinematic.set_defaults(run=_cinematic)


def _add_plan(parser: ArgumentParser, tracks: int) -> None:
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where the tracks go")
    parser.add_argument(
        "--tracks", type=converters.count, default=tracks, metavar="N", help=f"default: {tracks}"
    )
    parser.add_argument(
        "--seconds", type=converters.positive, default=60.0, metavar="S", help="of each track (default: 60)"
    )
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="a different seed gives a different set (default: 0)"
    )
    parser.add_argument("--flac", action="store_true", help="write .flac instead of .wav")
    add_engine(parser, "make the tracks, one each at a time")


def _plan(given: Namespace) -> Plan:
    return Plan(given.out, given.tracks, given.seconds, given.seed, ".flac" if given.flac else ".wav")


def _library(root: Path, stem: str, parts: tuple[str, ...] = ()) -> Library:
    """The recordings below `root`; what is left out is printed."""
    print(f"reading {root}", file=sys.stderr)
    found = library.find(root, stem, parts)
    for reason in found.left_out:
        print(f"left out: {printable.lines(reason)}", file=sys.stderr)
    return found


def _synth(given: Namespace) -> int:
    vocals = _library(given.vocals, "vocals")
    instrumentals = _library(given.instrumentals, "instrumental", STEMS_OF_INSTRUMENTALS)
    plan = _plan(given)
    made = _build(given, builder.synth(vocals, instrumentals, plan))
    _report(plan, made, of_stems(["vocals", *instrumentals.items[0]]))
    return 0


def _cinematic(given: Namespace) -> int:
    sources = {stem: _library(getattr(given, stem), stem) for stem in LOUDNESS}
    plan = _plan(given)
    made = _build(given, builder.cinematic(sources, plan))
    _report(plan, made, CINEMATIC)
    return 0


def _build(given: Namespace, recipe: Recipe) -> int:
    """Make the tracks, here or by an engine's workers; returns how many are new. Raises DataError."""
    if (engine := given_engine(given)) is None:
        with _bar(recipe.plan) as bar:
            return builder.build(recipe, lambda name: _step(bar, name))
    left = builder.begin(recipe)
    with Bar("tracks", len(left)) as shown:
        builder.build_over(engine, recipe, left, shown)
    if shown.failures:
        raise DataError(list(shown.failures.values()))
    return len(left)


def _bar(plan: Plan) -> "tqdm[Never]":
    return tqdm(total=plan.tracks, file=sys.stderr, bar_format=BAR, desc="starting")


def _step(bar: "tqdm[Never]", name: str) -> None:
    bar.set_description_str(name, refresh=False)
    bar.update()


def _report(plan: Plan, made: int, stems: StemSet) -> None:
    """Say what is there now, which is loaded as run_eval.py does."""
    tracks = text_table.count(plan.tracks, "track")
    print(f"{plan.out}: {tracks} of {plan.seconds:g} s, {made} made now")
    dataset.load(plan.out, wanted=stems)
    how = stems.option if isinstance(stems, Challenge) else "--preset PRESET"
    print(f"evaluate with: {command('eval')} {how} --data {plan.out}")
    if not isinstance(stems, Challenge):
        print(f"where PRESET makes {stems.listed}, or some of them")
