"""What of the tus protocol 1.0 stands in headers (https://tus.io/protocols/resumable-upload)."""

import base64
from email.utils import formatdate

from evaluator import printable
from evaluator.service.errors import Refused

TUS_VERSION = "1.0.0"
TUS = {"Tus-Resumable": TUS_VERSION, "Cache-Control": "no-store"}
MOST_PAIRS = 20


def expires(at: float) -> dict[str, str]:
    """When an upload to which nothing more comes is removed, in seconds since 1970."""
    return {"Upload-Expires": formatdate(at, usegmt=True)}


def metadata(header: str) -> dict[str, str]:
    """The pairs of Upload-Metadata: names, each with a value in base64. Refused if they are none."""
    pairs = [pair.split() for pair in header.split(",") if pair.strip()]
    if len(pairs) > MOST_PAIRS or any(len(pair) > 2 for pair in pairs):
        raise Refused("Upload-Metadata: expected pairs of a name and a value in base64, separated by commas")
    found = {}
    for name, *value in pairs:
        try:
            found[name] = base64.b64decode("".join(value), validate=True).decode()
        except ValueError:
            raise Refused(f"Upload-Metadata: {printable.plain(name, 40)} is no text in base64") from None
    return found


def whole(text: str | None, what: str) -> int:
    """A whole number of a header; Refused for anything else."""
    if text is None or not (text.isascii() and text.isdecimal() and len(text) < 16):
        raise Refused(f"{what}: found {printable.plain(text or 'nothing', 40)}, expected a whole number")
    return int(text)
