"""`python -m evaluator worker`."""

import shlex
import signal
import threading
from argparse import Namespace
from dataclasses import replace
from types import FrameType

from evaluator.commands import Subparsers, service_options
from evaluator.locations import command
from sdx.engines.address import parse
from sdx.engines.options import add_engine, given_engine

HERE = "local?workers=1"


def add_parser(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "worker",
        description="Score the entries in the quality checker's queue, beside `serve` or in its place (`serve "
        "--workers 0`), also those that `benchmark rescore` puts there. With an engine each of its workers takes an "
        "entry; they see the service's folder and the benchmarks' data at the same paths, and need no database. "
        "Ctrl-C ends it; what it had in hand goes to the next worker.",
    )
    service_options.add_place(parser)
    add_engine(parser, f"score, an entry each (default: {HERE})")
    parser.set_defaults(run=_run)


def _run(given: Namespace) -> int:
    settings = service_options.settings_of(given)
    address = given_engine(given) or parse(HERE)
    from evaluator.service import over_engine, serving  # only now is it known that its packages are there
    from evaluator.service.database import connect

    settings = replace(settings, root=settings.root.absolute())
    if not settings.root.exists():
        serve = command(f"serve --root {shlex.quote(str(settings.root))}")
        print(f"{settings.root}: a new folder; entries come into it once `{serve}` runs", flush=True)
    serving.make_root(settings.root)
    database = connect(settings)
    stopped = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        stopped.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    try:
        over_engine.run(settings, database, address, stopped)
    finally:
        database.close()
    return 0
