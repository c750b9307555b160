"""`python -m evaluator upload`."""

import os
import sys
from argparse import Namespace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from evaluator import printable
from evaluator.commands import Subparsers
from evaluator.measures.means import MEAN
from evaluator.running.predictions import PredictionsError
from evaluator.service import client
from evaluator.service.client import Client, UploadError

TOKEN_VARIABLE = "SDX_SERVICE_TOKEN"
BAR = "{desc} |{bar}| {percentage:3.0f}% [{elapsed}, left {remaining}, {rate_fmt}]"


def add_parser(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "upload",
        description="Send a folder of estimates to a quality checker, file by file, and have it be scored. What does "
        "not fit the benchmark is listed before anything is sent. An upload that was interrupted goes on with the "
        "same command.",
        epilog=f"The token, which your page of the service makes, is read from {TOKEN_VARIABLE} or --token-file.",
    )
    parser.add_argument(
        "folder",
        type=Path,
        metavar="DIR",
        help="TRACK_STEM.wav or TRACK/STEM.wav, or .flac, as --predictions of an evaluation takes them",
    )
    parser.add_argument("--server", required=True, metavar="URL", help="address of the service")
    parser.add_argument("--benchmark", required=True, metavar="NAME", help="which of its benchmarks")
    parser.add_argument("--token-file", type=Path, metavar="FILE", help=f"instead of {TOKEN_VARIABLE}")
    parser.add_argument("--name", metavar="TEXT", help="of the entry (default: the folder's)")
    for name, text in (
        ("method", "such as the architecture"),
        ("training-data", "all of it"),
        ("link", "https://…"),
        ("description", "plain text"),
        ("checkpoints", "their SHA-256, or a preset of this kit"),
    ):
        parser.add_argument(f"--{name}", default="", metavar="TEXT", help=text)
    parser.add_argument(
        "--derive-instrumental",
        action="store_true",
        help="where DIR has none, have it be the mixture minus the vocals, or else the sum of all other stems",
    )
    parser.add_argument("--ensemble", action="store_true", help="it is an ensemble of several models")
    parser.add_argument(
        "--visibility",
        choices=("private", "anonymous", "public"),
        default="private",
        help="who sees it: you, everybody without your name, everybody (default: %(default)s)",
    )
    parser.add_argument("--no-wait", action="store_true", help="end once it is in the queue")
    parser.set_defaults(run=_run)


def connect(server: str, token_file: Path | None = None) -> Client:
    """A client of a service with the token that the environment or a file has; UploadError without one."""
    return Client(server, _token(token_file))


def _run(given: Namespace) -> int:
    sender = connect(given.server, given.token_file)
    try:
        return _send(sender, given)
    finally:
        sender.close()


def _token(file: Path | None) -> str:
    token = os.environ.get(TOKEN_VARIABLE, "")
    if file is not None:
        try:
            token = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UploadError(f"--token-file {file}: cannot be read ({error})") from None
    token = token.strip()
    if not token or not token.isascii() or not token.isprintable():
        raise UploadError(
            f"no token; make one on your page of the service, and put it into {TOKEN_VARIABLE} or --token-file"
        )
    return token


def send(sender: Client, folder: Path, benchmark: str, said: dict[str, Any]) -> int:
    """Send a folder of estimates, and have it be scored; the entry's number. UploadError if it cannot be."""
    try:
        files = client.fitting_files(folder, sender.benchmark(benchmark))
    except PredictionsError as error:
        raise UploadError(
            "\n  ".join(["the estimates do not fit, and nothing was sent:", *error.problems])
        ) from None
    entry = sender.begin(benchmark, said)
    print(f"entry {entry}: {sender.server}/entries/{entry}", flush=True)
    sending = sender.declare(entry, files)
    total = sum(file.length for file in sending)
    done = sum(file.offset for file in sending)
    with tqdm(total=total, initial=done, unit="B", unit_scale=True, file=sys.stderr, bar_format=BAR) as bar:
        for file in sending:
            start = bar.n - file.offset
            sender.send(file, lambda offset, start=start: _move(bar, start + offset))  # type: ignore[misc]
    sender.submit(entry)
    return entry


def _send(sender: Client, given: Namespace) -> int:
    said = {
        "name": given.name or given.folder.resolve().name,
        "method": given.method,
        "training_data": given.training_data,
        "link": given.link,
        "description": given.description,
        "checkpoints": given.checkpoints,
        "is_ensemble": given.ensemble,
        "derives_instrumental": given.derive_instrumental,
        "visibility": given.visibility,
    }
    entry = send(sender, given.folder, given.benchmark, said)
    if given.no_wait:
        return 0
    return _report(sender.wait(entry, _tell))


def _move(bar: "tqdm[Any]", position: int) -> None:
    bar.n = position
    bar.refresh()


def _tell(entry: dict[str, Any]) -> None:
    tqdm.write(printable.plain(str(entry["words"])), file=sys.stderr)


def _report(entry: dict[str, Any]) -> int:
    """Print what came of it; the exit code is 1 if it has no scores."""
    print(printable.plain(str(entry["words"])))
    for problem in entry["problems"]:
        print(f"  {printable.plain(str(problem))}")
    for part, measures in (entry["means"] or {}).items():
        for measure, scores in measures.items():
            columns = [name for name in (MEAN, *entry["stems"]) if name in scores]
            values = ", ".join(f"{name} {_digits(scores[name])}" for name in columns)
            print(printable.plain(f"  {measure} ({part} tracks): {values}"))
    return 0 if entry["state"] == "done" else 1


def _digits(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
