"""`python -m evaluator ablate`."""

from argparse import Namespace
from fnmatch import fnmatch

from evaluator import printable, text_table
from evaluator.commands import Subparsers, estimator_options
from evaluator.running.dataset import Track
from evaluator.tuning import ablate, estimator
from evaluator.tuning.estimator import EstimatorError
from evaluator.tuning.variants import FULL, Variant, variants


def add_parser(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "ablate",
        description="Score a preset, the preset without each of its members, augmentations and steps, and each "
        "member alone. In mdx-c, 'without the step vocals' is the paper's comparison with and without the separate "
        "vocal removal. What variants share is computed once.",
        epilog="RTF: seconds that the models took per second of audio when their estimates were computed.",
    )
    estimator_options.add(parser)
    parser.add_argument(
        "--variants", metavar="GLOB", help="only those whose name matches, beside the whole preset"
    )
    parser.add_argument("--list", action="store_true", help="list the variants, run nothing")
    estimator_options.add_tables(parser)
    parser.set_defaults(run=_run)


def _run(given: Namespace) -> int:
    with estimator_options.make_estimator(given) as runner:
        file = estimator.preset_file(given.preset)
        info = runner.describe(file)
        chosen = _choose(variants(ablate.read_document(file), info), given.variants)
        if given.list:
            print("\n".join(printable.plain(variant.name) for variant in chosen))
            return 0
        runner.require(file)
        data, _ = estimator_options.load_data(given, info)
        total = len(chosen) * len(data.tracks)
        with estimator_options.progress_bar(runner, total, data.tracks[0].name) as bar:

            def progress(track: Track, variant: Variant) -> None:
                bar.set_description_str(f"{track.name}, {variant.name}", refresh=False)
                bar.update()

            rows = ablate.ablate(runner, chosen, data, progress)
    stems = data.challenge.stems
    table = ablate.as_table(rows, stems)
    estimator_options.write_tables(given, table, ablate.unrounded(rows, stems))
    print(text_table.ruled(table))
    print(
        f"SDR in dB over {estimator_options.tracks_of(data)} of {data.path}; models on {runner.where(info)}."
    )
    return 0


def _choose(found: list[Variant], pattern: str | None) -> list[Variant]:
    if pattern is None:
        return found
    chosen = [variant for variant in found if variant.name == FULL or fnmatch(variant.name, pattern)]
    if len(chosen) == 1:
        raise EstimatorError(f"--variants {pattern!r}: no variant matches; --list shows them all")
    return chosen
