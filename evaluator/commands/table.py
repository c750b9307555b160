"""`python -m evaluator table`."""

from argparse import Namespace

from evaluator import printable, text_table
from evaluator.challenge import of_stems
from evaluator.commands import Subparsers, estimator_options
from evaluator.running import dataset
from evaluator.running.dataset import Track
from evaluator.tuning import ablate, estimator, table
from evaluator.tuning.estimator import Estimator, EstimatorError
from evaluator.tuning.table import Named
from evaluator.tuning.variants import Variant


def add_parser(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "table",
        description="Score presets, and every model in them by itself, over a data set: one row per system, one "
        "column per stem, what others published beside. What systems share is computed once.",
        epilog="A system that makes only some of the stems has no mean. RTF: seconds that the models took per second "
        "of audio when their estimates were computed.",
    )
    parser.add_argument(
        "--presets", required=True, metavar="NAME,…", help="names or YAML files, separated by commas"
    )
    parser.add_argument("--list", action="store_true", help="list the systems and their stems, run nothing")
    estimator_options.add_data(parser)
    estimator_options.add_tables(parser)
    parser.set_defaults(run=_run)


def _run(given: Namespace) -> int:
    with estimator_options.make_estimator(given) as runner:
        presets = _read(runner, given.presets)
        path = given.data or dataset.demo_folder(of_stems(presets[0].info.instruments))
        stems = table.columns(presets, path)
        systems = table.systems(presets, stems)
        if given.list:
            for variant, made in systems:
                print(f"{variant.kind:7} {printable.plain(variant.name)}: {', '.join(made)}")
            return 0
        for preset in presets:
            runner.require(preset.file)
        groups = {made: len(table.load(path, given.only, made).tracks) for _, made in systems}
        total = sum(groups[made] for _, made in systems)
        with estimator_options.progress_bar(runner, total, "starting") as bar:

            def progress(track: Track, variant: Variant) -> None:
                bar.set_description_str(f"{track.name}, {variant.name}", refresh=False)
                bar.update()

            lines = table.run(runner, systems, path, given.only, progress)
    beside = table.published_of([line.name for line in lines])
    cells = table.as_table(lines, beside, stems)
    estimator_options.write_tables(given, cells, table.unrounded(lines, beside, stems))
    print(text_table.ruled(cells))
    info = presets[0].info
    print(f"SDR in dB over {_tracks(groups)} of {path}; models on {runner.where(info)}.")
    for note in table.notes(beside):
        print(note)
    return 0


def _read(runner: Estimator, names: str) -> list[Named]:
    """The presets, each checked."""
    found: dict[str, Named] = {}
    for name in filter(None, (name.strip() for name in names.split(","))):
        file = estimator.preset_file(name)
        if file.stem in found:
            raise EstimatorError(f"--presets: {file.stem} is named twice; give each system a name of its own")
        found[file.stem] = Named(file, ablate.read_document(file), runner.describe(file))
    if not found:
        raise EstimatorError(f"--presets: found {names!r}, expected names or YAML files, separated by commas")
    return list(found.values())


def _tracks(groups: dict[tuple[str, ...], int]) -> str:
    counts = sorted(set(groups.values()))
    if len(counts) == 1:
        return text_table.count(counts[0], "track")
    return f"{counts[0]} to {counts[-1]} tracks (those that have a row's stems)"
