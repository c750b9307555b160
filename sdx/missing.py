"""What to do where a package is missing that a command of the kit needs: for people who start a checkout as it is."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from sdx import IS_INSTALLED, ROOT

OWN = ("my_submission", "evaluator", "training", "sdx", "tests")
ADVICE = (
    "Run `make eval` once: it makes .venv with all that is needed, and .venv/bin/python runs every command from then "
    f"on. Or install into this Python: {{python}} -m pip install -r {ROOT / 'requirements.txt'}"
)


@contextmanager
def explained() -> Iterator[None]:
    """Around imports: where a package is missing that is not ours, say so in two lines, and exit with 2.

    An installed kit brings what it needs; what is missing there is a fault, and is raised as it is.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if IS_INSTALLED or package in ("", *OWN):
            raise
        advice = ADVICE.format(python=sys.executable or "python")
        print(f"error: the package {package} is missing.\n{advice}", file=sys.stderr)
        raise SystemExit(2) from None
