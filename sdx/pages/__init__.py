"""Style and scripts that pages of all packages share: colours, a player of signals in sync, a mixer of stems.

A page that opens from disk has them inside (`read`); a server hands out the files.
"""

from pathlib import Path

FOLDER = Path(__file__).parent


def read(name: str) -> str:
    """A style sheet or script of this folder."""
    return (FOLDER / name).read_text(encoding="utf-8")
