"""`python -m training.synthesis training|demo|sums`: render training audio or the demo tracks."""

import argparse
import logging
import sys
from pathlib import Path

from evaluator.commands.converters import count, positive, whole_from
from sdx.described import describe
from sdx.engines.address import Address, AddressError
from sdx.engines.engine import EngineError
from sdx.engines.options import add_engine, given_engine
from sdx.engines.showing import Bar
from sdx.terminal import interruptible

from .dataset import CINEMATIC, KINDS, MUSIC, Plan, audio_checksums, render_demo, render_over, render_training
from .tools import MissingToolError, require_tools

DEMO_SECONDS, DEMO_COUNT = 10.5, 6
SUMS = "SHA256SUMS"
ROOT_HELP = "the demo tracks (default: local_data/demo)"


def parser() -> argparse.ArgumentParser:
    """The command line."""
    top = argparse.ArgumentParser(prog="python -m training.synthesis", description=__doc__)
    commands = top.add_subparsers(dest="command", required=True)
    training = commands.add_parser(
        "training", help="render songs or scenes for training, into training/data/"
    )
    training.add_argument("kind", choices=sorted(KINDS), help="songs or scenes")
    training.add_argument(
        "--root", type=Path, default=None, metavar="DIR", help="default: training/data/KIND"
    )
    training.add_argument(
        "--first", type=whole_from(0), default=0, metavar="N", help="index of the first one (default: 0)"
    )
    training.add_argument("--count", type=count, default=300, metavar="N", help="how many (default: 300)")
    training.add_argument(
        "--step",
        type=count,
        default=1,
        metavar="N",
        help="step between indices: N processes share a set with --first i --step N",
    )
    training.add_argument(
        "--seconds", type=positive, default=30.0, metavar="S", help="length of each (default: 30)"
    )
    training.add_argument(
        "--valid-every",
        type=count,
        default=25,
        metavar="N",
        help="every N-th one is for validation (default: 25)",
    )
    add_engine(training, "render, a song or scene each at a time")
    demo = commands.add_parser("demo", help="render the demo tracks again")
    demo.add_argument("--root", type=Path, default=Path("local_data/demo"), metavar="DIR", help=ROOT_HELP)
    sums = commands.add_parser("sums", help="compare the demo tracks with their list of checksums")
    sums.add_argument("--root", type=Path, default=Path("local_data/demo"), metavar="DIR", help=ROOT_HELP)
    describe(top)
    return top


def write_sums(root: Path) -> None:
    """Write the list of checksums of the demo tracks' audio."""
    lines = [f"{digest}  {name}\n" for name, digest in audio_checksums(root).items()]
    (root / SUMS).write_text("".join(lines))


def differing_sums(root: Path) -> list[str]:
    """Names in the list of checksums or on disk whose audio is missing, new or different."""
    lines = (line.split("  ", 1) for line in (root / SUMS).read_text().splitlines())
    listed = {name: digest for digest, name in lines}
    found = audio_checksums(root)
    return sorted(name for name in listed.keys() | found.keys() if listed.get(name) != found.get(name))


def _render(plan: Plan, indices: range, engine: Address | None) -> int:
    """Render what is not there yet; the exit code."""
    if engine is None:
        render_training(plan, indices)
        return 0
    left = plan.left(indices)
    with Bar(plan.kind.name, len(left)) as bar:
        render_over(engine, plan, left, bar)
    for name, reason in bar.failures.items():
        print(f"{name}: {reason}", file=sys.stderr)
    return 1 if bar.failures else 0


@interruptible
def main(arguments: list[str] | None = None) -> int:
    """Render or compare, and return the exit code: 2 where a program or an engine is missing."""
    options = parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        if options.command == "training":
            require_tools(held_out=False)
            kind = KINDS[options.kind]
            root = options.root or Path("training/data") / kind.name
            indices = range(options.first, options.first + options.count * options.step, options.step)
            plan = Plan(kind, root, options.seconds, options.valid_every)
            return _render(plan, indices, given_engine(options))
        if options.command == "demo":
            require_tools(held_out=True)
            for kind in (MUSIC, CINEMATIC):
                render_demo(kind, options.root / kind.name, DEMO_COUNT, DEMO_SECONDS)
            write_sums(options.root)
        else:
            differing = differing_sums(options.root)
            print(
                "\n".join(f"{name}: not the audio listed in {SUMS}" for name in differing) or "all as listed"
            )
            return 1 if differing else 0
    except (MissingToolError, AddressError, EngineError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
