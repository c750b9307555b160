"""Archives as torch.save writes them, looked at before anything of them is unpickled.

A checkpoint's archive holds its tensors' bytes as they are, and one pickle of containers, numbers and text that names
what its values are made by. Anything else is refused by what it says of itself, in milliseconds.
"""

from __future__ import annotations

import pickletools
import re
import struct
import zipfile
from collections.abc import Collection
from pathlib import Path

from ..plain_files import open_regular
from ..schema import brief
from .errors import UnsafeFile, first_sentence
from .tensors import MOST_TENSORS, file_bytes

LARGEST_PICKLE_BYTES = 2 << 20
"""Of what a pickle says besides its tensors; networks of 500 tensors have 60 kB."""

# Of what torch allows on its own, what dense tensors and plain containers need. The rest makes arrays of any stated
# size (bytearray, torch.Tensor), or tensors that no network here takes (sparse, quantised, nested, without data).
_TORCH_GLOBALS = re.compile(
    r"collections\.(OrderedDict|Counter)|(builtins|__builtin__)\.(set|complex)|_codecs\.encode"
    r"|torch\._utils\._rebuild_(tensor|tensor_v2|parameter|parameter_with_state)"
    r"|torch\.nn\.parameter\.Parameter|torch\.(Size|device)|torch\.serialization\._get_layout"
    r"|torch\.(\w+Storage|b?float\w*|u?int\w*|bool|complex\w*)"
)
_ZIP_ERRORS = (zipfile.BadZipFile, ValueError, LookupError, EOFError, RuntimeError, struct.error, OSError)


def check_archive(path: Path, allowed: Collection[str]) -> None:
    """Refuse an archive that is not as torch.save writes it, or a pickle that names what is not allowed.

    allowed: dotted names besides those of tensors. Raises UnsafeFile, FileNotFoundError.
    """
    size = file_bytes(path)
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            entries = archive.infolist()
            complaint = _complaint(entries, size)
            pickled = b"" if complaint else archive.read(_pickles(entries)[0])
        named = set() if complaint else _named(pickled)
    except _ZIP_ERRORS as error:
        complaint = (
            f"it is no archive as torch.save has written it since PyTorch 1.6 ({first_sentence(error)})"
        )
    if complaint:
        raise UnsafeFile(f"{path}: refused: it is damaged, or no checkpoint: {complaint}")
    odd = sorted(name for name in named if name not in allowed and not _TORCH_GLOBALS.fullmatch(name))
    if odd:
        raise UnsafeFile(
            f"{path}: refused: it asks for code to be run, or for other things than dense tensors, numbers and text."
            f" No code of it was run. It names {', '.join(odd[:3])[:200]}"
        )


def _complaint(entries: list[zipfile.ZipInfo], size: int) -> str:
    """What is wrong with an archive's entries; nothing if they are as torch.save writes them: stored as they are."""
    if len(entries) > 2 * MOST_TENSORS:
        return f"it has {len(entries):,} entries, expected at most {2 * MOST_TENSORS:,}"
    if len({entry.filename for entry in entries}) < len(entries):
        return "two entries have one name"
    for entry in entries:
        if entry.compress_type != zipfile.ZIP_STORED or entry.flag_bits & 1:
            return f"the entry {brief(entry.filename)} is compressed or encrypted"
    held = sum(entry.file_size for entry in entries)
    if held > size:
        return f"its entries state {held:,} bytes, but it has {size:,}"
    pickles = _pickles(entries)
    if len(pickles) != 1:
        return f"expected one data.pkl, found {len(pickles)}"
    if pickles[0].file_size > LARGEST_PICKLE_BYTES:
        return f"data.pkl has {pickles[0].file_size:,} bytes, expected at most {LARGEST_PICKLE_BYTES:,}"
    return ""


def _pickles(entries: list[zipfile.ZipInfo]) -> list[zipfile.ZipInfo]:
    return [entry for entry in entries if entry.filename.rsplit("/", 1)[-1] == "data.pkl"]


def _named(pickled: bytes) -> set[str]:
    """The dotted names of all that a pickle would import; it is read and not run."""
    found = set()
    for operation, argument, _ in pickletools.genops(pickled):
        if operation.name == "GLOBAL":
            found.add(str(argument).replace(" ", ".", 1))
        elif operation.name in ("STACK_GLOBAL", "INST", "EXT1", "EXT2", "EXT4"):
            found.add(f"something by the operation {operation.name}")
    return found
