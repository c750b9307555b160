"""Everything that can be wrong with weights; each message says what, where, and what to do."""

import pickle


class WeightsError(RuntimeError):
    """Base of all errors of this package."""


class ManifestError(WeightsError):
    """A manifest file is malformed: names file, key, found and allowed."""


class MissingWeights(WeightsError):  # noqa: N818, the name says it
    """One or more checkpoints are not on this machine."""


class WrongContent(WeightsError):  # noqa: N818, the name says it
    """A file's size or hash is not what was expected."""


class UnsafeFile(WeightsError):  # noqa: N818, the name says it
    """A file holds, or asks for, something other than the weights of a known architecture."""


class DownloadError(WeightsError):
    """No origin of a checkpoint could be fetched; says which were tried and why each failed."""


class NoConnection(DownloadError):  # noqa: N818, the name says it
    """Not even a connection was possible, which would be the same for another file from there."""


class LicenceNotAccepted(WeightsError):  # noqa: N818, the name says it
    """Files are only fetched once their terms are accepted, and nobody has; nothing was fetched."""


def first_sentence(error: BaseException) -> str:
    """The reason, without torch's screenful of advice (on how to switch the protection off)."""
    inner = error.__context__
    text = " ".join(str(inner if isinstance(inner, pickle.UnpicklingError) else error).split())
    return printable(text.split(" Please use", 1)[0][:300]) or type(error).__name__


def printable(text: str) -> str:
    """Text that a file brought, without what a terminal would obey."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)
