"""One run at a time in an output folder."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from my_submission.files.errors import OutputFailed
from sdx import sole

LOCK = ".separating.lock"


@contextlib.contextmanager
def sole_run(output_dir: Path) -> Iterator[None]:
    """A folder, which exists, that no other run of this block writes to.

    Raises OutputFailed at once if another run does, or if nothing can be written there.
    """
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(sole.held(output_dir / LOCK))
        except sole.Timeout as error:
            raise OutputFailed(
                f"{output_dir}: another run is writing to this folder; wait until it is done, or choose another"
                " --output"
            ) from error
        except OSError as error:
            raise OutputFailed(
                f"{output_dir}: cannot be written: {error.strerror or error}; choose another --output"
            ) from error
        yield
