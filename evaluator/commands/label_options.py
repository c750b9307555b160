"""What a user calls a run: --name, --note, --tag."""

from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable

from evaluator.runs import labels
from evaluator.runs.labels import Label


def add(parser: ArgumentParser) -> None:
    """Add the options."""
    add = parser.add_argument
    add(
        "--name",
        type=_checked(lambda text: labels.checked(text, labels.NAME_CHARACTERS)),
        metavar="TEXT",
        help="what the run is called on the board, in reports and comparisons (default: the preset); runs of one name"
        " are repetitions, as with other seeds",
    )
    add(
        "--note",
        type=_checked(lambda text: labels.checked(text, labels.NOTE_CHARACTERS)),
        metavar="TEXT",
        help="a sentence that is kept and shown with it",
    )
    add(
        "--tag",
        type=_checked(labels.checked_tag),
        action="append",
        default=[],
        metavar="TEXT",
        help="a word to find it by; may be repeated",
    )


def label_of(parser: ArgumentParser, given: Namespace) -> Label:
    """What was given."""
    if given.name is not None and given.submissions is not None:
        parser.error("--name: with --submissions, each run is called as its folder; mark them all with --tag")
    if len(given.tag) > labels.MOST_TAGS:
        parser.error(f"--tag: found {len(given.tag)} tags, expected at most {labels.MOST_TAGS}")
    return Label(given.name, given.note, tuple(dict.fromkeys(given.tag)))


def _checked(check: Callable[[str], str]) -> Callable[[str], str]:
    def convert(text: str) -> str:
        try:
            return check(text)
        except ValueError as error:
            raise ArgumentTypeError(str(error)) from None

    return convert
