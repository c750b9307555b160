"""The page that `separate --page` writes, and `--open` opens."""

import sys
import webbrowser
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from my_submission.files.options import SeparatedFile
from my_submission.files.page import write_page
from sdx.terminal import one_line


@dataclass(frozen=True)
class PageWanted:
    """Whether to write the page, and whether to open it."""

    is_wanted: bool = False
    opens: bool = False


def show_page(output_dir: Path, results: Sequence[SeparatedFile], wanted: PageWanted) -> None:
    """Write the page, say where it is, and open it if that is wanted. Raises FileSeparationError."""
    if sys.stderr.isatty():
        print("writing the page …", file=sys.stderr)
    page = write_page(output_dir, results)
    print(one_line(f"page: {page}"))
    if wanted.opens:
        open_in_browser(page.absolute().as_uri())


def open_in_browser(address: str) -> None:
    """Open an address in the user's browser, or say that there is none."""
    try:
        is_open = webbrowser.open(address)
    except webbrowser.Error:
        is_open = False
    if not is_open:
        print(one_line(f"no browser can be started here; open {address} yourself"), file=sys.stderr)
