"""Everything that can be wrong with a recording or its output; each message says what, where, and what to do."""


class FileSeparationError(RuntimeError):
    """Base of all errors of this package, except wrong options, which are ValueErrors."""


class UnreadableAudio(FileSeparationError):  # noqa: N818, the name says it
    """A file has no audio that can be decoded and separated."""


class OutputExists(FileSeparationError):  # noqa: N818, the name says it
    """A file that would be written already exists."""


class WouldClip(FileSeparationError):  # noqa: N818, the name says it
    """A stem goes beyond ±1, which the output format cannot hold."""


class OutputFailed(FileSeparationError):  # noqa: N818, the name says it
    """A file could not be written: no space, no permission, or a rate that the format does not support."""
