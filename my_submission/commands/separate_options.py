"""The options of `separate`: without torch, so that `--help` comes at once."""

import argparse
import contextlib
import math
from collections.abc import Iterator
from pathlib import Path

from my_submission.files.asked import Asked
from my_submission.files.children import one_ahead
from my_submission.files.formats import FORMATS
from my_submission.files.inputs import TEMPLATE
from my_submission.files.times import PREVIEW_SECONDS, parse_time
from my_submission.runtime import precisions
from sdx.engines.options import add_engine


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Make `parser` that of `separate`."""
    parser.add_argument(
        "inputs",
        nargs="*",
        metavar="INPUT",
        help="files, folders (for all audio and video in them) and patterns",
    )
    parser.set_defaults(more_inputs=[])
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("stems"),
        metavar="DIR",
        help="where stems go (default: stems)",
    )

    model = parser.add_argument_group("what separates")
    model.add_argument(
        "--list",
        action="store_true",
        help="list the presets, what they are good for, and whether their files are here",
    )
    model.add_argument(
        "--preset",
        metavar="NAME",
        help="a preset or its YAML file (default: the configured one, or `start` where that is the demo's and"
        " `weights fetch start` has been run)",
    )
    model.add_argument("--device", default="auto", help="auto (the default), cpu, cuda or cuda:N")
    model.add_argument(
        "--precision",
        default="auto",
        choices=["auto", *precisions.NAMES],
        help="what networks compute in (default: auto, whichever is quicker here)",
    )
    model.add_argument(
        "--fast", action="store_true", help="take all the preset's economies: faster, and slightly worse"
    )
    model.add_argument("--weights-dir", type=Path, metavar="DIR", help="a folder to search for weights first")

    output = parser.add_argument_group("what is written")
    which = output.add_mutually_exclusive_group()
    which.add_argument(
        "--stems",
        type=lambda text: tuple(text.split(",")),
        default=(),
        metavar="A,B,…",
        help="the preset's stems, 'instrumental' or 'karaoke' (the mixture without the voice), 'no_drums' and the "
        "like, or sums such as drums+bass or backing=mixture-vocals (default: the preset's stems)",
    )
    which.add_argument(
        "--two-stems",
        metavar="STEM",
        help="that stem and the rest: vocals and instrumental, drums and no_drums, …",
    )
    output.add_argument("--format", choices=list(FORMATS), default="wav", help="default: wav")
    output.add_argument(
        "--bits",
        choices=["16", "24", "32f"],
        help="32f holds the exact estimates (default: 32f for wav, 24 for flac)",
    )
    output.add_argument(
        "--bitrate",
        type=positive,
        metavar="KBPS",
        help="of a lossy format, in kbit/s for all channels together: constant for mp3, an average for the others"
        f" (default: {_default_bitrates()})",
    )
    output.add_argument(
        "--template",
        default=TEMPLATE,
        help=f"the path of each file (default: {TEMPLATE}); {{name}}, with the extension, can be used, too",
    )
    part = parser.add_argument_group("which part", "seconds, m:ss or h:mm:ss; without these, all of it")
    part.add_argument("--start", type=_time, metavar="TIME", help="from there on")
    part.add_argument("--duration", type=_time, metavar="TIME", help="so much, or what there is of it")
    part.add_argument(
        "--preview",
        action=_Preview,
        nargs="?",
        metavar="SECONDS",
        help=f"the loudest stretch, of {PREVIEW_SECONDS:g} seconds if no number follows",
    )
    levels = output.add_mutually_exclusive_group()
    levels.add_argument(
        "--clip", action="store_true", help="clip samples beyond full scale, rather than stop"
    )
    levels.add_argument(
        "--scale",
        action="store_true",
        help="scale all stems of a recording by one gain, so that none is clipped",
    )
    many = output.add_mutually_exclusive_group()
    many.add_argument(
        "--pairs",
        dest="many_channels",
        action="store_const",
        const="pairs",
        default="error",
        help="if there are more than two channels, separate left and right in pairs, and the rest as mono",
    )
    many.add_argument(
        "--downmix",
        dest="many_channels",
        action="store_const",
        const="downmix",
        help="fold more than two channels down to two",
    )
    output.add_argument(
        "--stream",
        metavar="N",
        help="of a file with several streams of sound, separate this one, by number (from 1) or language (default: "
        "the one that the file flags as default, else the one with the most channels)",
    )
    output.add_argument(
        "--page",
        action="store_true",
        help="write stems.html, too: a page where the stems can be heard in sync, soloed and muted",
    )
    output.add_argument("--open", action="store_true", help="write that page, and open it in the browser")
    output.add_argument("--overwrite", action="store_true", help="replace existing files")

    run = parser.add_argument_group("how it runs")
    run.add_argument("--resume", action="store_true", help="skip recordings that are done and unchanged")
    run.add_argument(
        "--dry-run",
        action="store_true",
        help="write nothing; print what would be done and, after a trial, how long it would take on this machine",
    )
    run.add_argument(
        "--jobs",
        type=positive,
        default=1,
        metavar="N",
        help="how many recordings to separate at once (default: 1)",
    )
    add_engine(run, "separate, a recording each at a time")
    run.add_argument(
        "--memory-budget",
        type=_gibibytes,
        metavar="GIB",
        help="memory on the device for all jobs together; less memory takes more time (default: most of what is "
        "free, on a GPU at most 8)",
    )


@contextlib.contextmanager
def ahead(options: argparse.Namespace) -> Iterator[None]:
    """For what will separate on this machine, a child process begins to import PyTorch while this one does.

    A single one also opens the model meanwhile; several will have to share what there is.
    """
    if options.list or options.dry_run or options.engine is not None:
        yield
        return
    with one_ahead(asked(options) if options.jobs == 1 else None):
        yield


def asked(options: argparse.Namespace) -> Asked:
    """What the options say of the model."""
    budget = options.memory_budget
    return Asked(
        options.preset,
        options.device,
        options.precision,
        options.weights_dir,
        options.fast,
        None if budget is None else budget // options.jobs,
        options.stems,
        options.two_stems,
    )


def _default_bitrates() -> str:
    lossy = {name: form for name, form in FORMATS.items() if form.kbps}
    return "; ".join(
        f"{name}: {form.quality or f'{2 * form.by_channel} for stereo'}"  # type: ignore[operator]  # one of them is there
        for name, form in lossy.items()
    )


class _Preview(argparse.Action):
    """`--preview`, `--preview 20`; what follows and is no time is an input, as in `--preview song.mp3`."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        namespace.preview = PREVIEW_SECONDS
        if isinstance(values, str):
            try:
                namespace.preview = parse_time(values)
            except ValueError:
                namespace.more_inputs = [*namespace.more_inputs, values]


def _time(text: str) -> float:
    try:
        return parse_time(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def positive(text: str) -> int:
    """A whole number, 1 or more, of a command line."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number, 1 or more, found {text!r}")
    return int(text)


def _gibibytes(text: str) -> int:
    """Bytes."""
    try:
        size = float(text)
    except ValueError:
        size = 0.0
    if not 0 < size < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number of GiB, for example 4, found {text!r}")
    return int(size * 2**30)
