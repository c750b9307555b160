"""Files that libraries write which do not say what the system refused them.

libsndfile has "System error" for a full disk, NumPy "100000 requested and 12784 written".
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import soundfile

MORE_BYTES = 1 << 16  # for which there is no room where there was none for samples


@contextmanager
def written(target: Path) -> Iterator[None]:
    """Around what writes a file of samples: OSError, with its number and the file, where the system refuses it.

    What the system says is found by writing a little more to that file, which is no good by then.
    """
    try:
        yield
    except (
        soundfile.LibsndfileError,
        AssertionError,
        OSError,
    ) as error:  # soundfile asserts that all was written
        refused = error if isinstance(error, OSError) and error.errno is not None else _refusal(target)
        if refused is None:
            raise
        raise OSError(refused.errno, refused.strerror, str(target)) from error


def _refusal(target: Path) -> OSError | None:
    """What the system says to a little more; None if it takes it."""
    try:
        with target.open("ab") as file:
            file.write(bytes(MORE_BYTES))
    except OSError as refused:
        return refused
    return None
