"""`python -m training fit|validate|export`: parses, calls, prints."""

import argparse
import logging
import math
import sys
import textwrap
from pathlib import Path

from sdx.described import describe
from sdx.missing import explained
from sdx.terminal import interruptible, prepare

RUNS_FOLDER = Path("training/runs")
CONFIGS = Path(__file__).with_name("configs")


@interruptible
def main(words: list[str] | None = None, prog: str = "python -m training") -> int:
    """Run one command, by default from the process's own arguments; return its exit status."""
    given = prepare(words)
    with explained():
        from my_submission.weights import WeightsError
        from training.config import ConfigError
    parser = argparse.ArgumentParser(prog=prog, description="Train, validate and export networks.")
    add_arguments(parser)
    describe(parser)
    arguments = parser.parse_args(given)
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S", level=logging.INFO)
    logging.getLogger("torch").setLevel(logging.WARNING)  # which says at the end how it did without a cache
    try:
        arguments.run(arguments)
    except (ConfigError, WeightsError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except OSError as error:  # a folder or file that cannot be written
        print(f"error: {error.filename or 'the disk'}: {error.strerror or error}", file=sys.stderr)
        return 2
    return 0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Make `parser` that of training, with its commands."""
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    fit = commands.add_parser("fit", help="train a configuration, or continue its run")
    fit.add_argument(
        "config",
        type=_config_file,
        metavar="CONFIG",
        help=f"a YAML file, or one of training/configs/: {', '.join(config_names())}",
    )
    fit.add_argument(
        "--folder", type=Path, metavar="DIR", help="the run's folder (default: training/runs/NAME)"
    )
    fit.add_argument(
        "--minutes",
        type=_minutes,
        default=math.inf,
        metavar="N",
        help="stop after this time; run it again to continue",
    )
    fit.set_defaults(run=_fit)

    check = commands.add_parser("validate", help="score a run's averaged weights, next to trivial baselines")
    check.add_argument("folder", type=Path, metavar="DIR", help="the run's folder")
    check.set_defaults(run=_validate)

    export = commands.add_parser("export", help="write a run's averaged weights as a checkpoint for presets")
    export.add_argument("folder", type=Path, metavar="DIR", help="the run's folder")
    export.add_argument(
        "--to",
        type=Path,
        default=Path("weights"),
        metavar="DIR",
        help="the folder to write to (default: weights/)",
    )
    export.set_defaults(run=_export)


def config_names() -> list[str]:
    """The configurations that come with the kit."""
    return sorted(path.stem for path in CONFIGS.glob("*.yaml"))


def _config_file(text: str) -> Path:
    """A file, or the bundled configuration of this name."""
    return CONFIGS / f"{text}.yaml" if text in config_names() else Path(text)


def _minutes(text: str) -> float:
    """A number above 0."""
    try:
        minutes = float(text)
    except ValueError:
        minutes = math.nan
    if not minutes > 0:
        raise argparse.ArgumentTypeError(f"{text}: expected a number above 0")
    return minutes


def _fit(arguments: argparse.Namespace) -> None:
    from training.config import load_config
    from training.fit import fit

    config = load_config(arguments.config)
    fit(config, arguments.folder or RUNS_FOLDER / config.name, arguments.minutes)


def _validate(arguments: argparse.Namespace) -> None:
    import torch

    from training.export import load_run
    from training.validation import load_held_out, trivial_scores, validate

    config, network, step = load_run(arguments.folder)
    tracks = load_held_out(config)
    model = config.model.chunk_model(network, torch.device("cpu"))
    table = trivial_scores(tracks, config.model.sources)
    table[f"step {step}"] = validate(model, tracks, config.validation)
    for name, scores in table.items():
        print(f"{name:12}", *(f"{stem} {score:6.2f}" for stem, score in scores.items()))


def _export(arguments: argparse.Namespace) -> None:
    from my_submission.weights.manifest import WEIGHTS_FOLDER
    from training.export import export_run

    row = export_run(arguments.folder, arguments.to)
    folder = arguments.to.resolve()
    where = "a manifest anywhere" if folder == WEIGHTS_FOLDER else f"a manifest in {folder}"
    print(f"# For {where}, such as {folder / 'my-manifest.yaml'}; a preset names it as `manifest:`.")
    print("checkpoints:")
    print(textwrap.indent(row, "  "), end="")


if __name__ == "__main__":
    sys.exit(main())
