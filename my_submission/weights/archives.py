"""Archives as torch.save writes them, looked at before anything of them is unpickled.

A checkpoint's archive holds its tensors' bytes as they are, and one pickle of containers, numbers and text that names
what its values are made by. Anything else is refused by what it says of itself, in milliseconds.

Before PyTorch 1.6 an archive was no zip but five pickles in a row and the bytes of the tensors: a magic number, a
version, the machine, the content, the order of the bytes. Its reader makes room for what the content states before it
has read any bytes. So the numbers in the content may add up to no more than the file has bytes.
"""

from __future__ import annotations

import gzip
import io
import pickle
import pickletools
import re
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

from ..plain_files import open_regular
from ..schema import LONGEST_TEXT, brief
from .errors import UnsafeFile, first_sentence
from .limits import MOST_TENSORS, file_bytes

LARGEST_PICKLE_BYTES = 4 << 20
"""Of what a pickle says besides its tensors; networks of 500 tensors have 60 kB, mega-53 has 2.8 MB."""
MOST_OPERATIONS = 2 << 20
"""Of a pickle that holds its values, too, and so has any size."""
COMPRESSED = ".gz"
LARGEST_INFLATION = 16
"""How much larger than its file a compressed checkpoint may be. Released ones, of rounded numbers, are four times."""

_BLOCK_BYTES = 1 << 20
_BEFORE_ZIP = pickle.dumps(0x1950A86A20F9469CFC6C, 2) + pickle.dumps(1001, 2)
"""What archives begin with that are no zip: the magic number and the version."""

# Of what torch allows on its own, what dense tensors and plain containers need. The rest makes arrays of any stated
# size (bytearray, torch.Tensor), or tensors that no network here takes (sparse, quantised, nested, without data).
_TORCH_GLOBALS = re.compile(
    r"collections\.(OrderedDict|Counter)|(builtins|__builtin__)\.(set|complex)|_codecs\.encode"
    r"|torch\._utils\._rebuild_(tensor|tensor_v2|parameter|parameter_with_state)"
    r"|torch\.nn\.parameter\.Parameter|torch\.(Size|device)|torch\.serialization\._get_layout"
    r"|torch\.(\w+Storage|b?float\w*|u?int\w*|bool|complex\w*)"
)
_Operation: TypeAlias = "tuple[pickletools.OpcodeInfo, Any, int | None]"
ZIP_ERRORS = (zipfile.BadZipFile, ValueError, LookupError, EOFError, RuntimeError, struct.error, OSError)


@contextmanager
def readable(path: Path) -> Iterator[Path]:
    """The path of a checkpoint as torch's weights-only unpickler takes it: itself or, within this context, a copy.

    A `.gz` is decompressed. In an archive from before PyTorch 1.6 a network's class is marked as one, with its source
    code, which that unpickler does not take. What is marked, ("module", class, file, source), becomes the only item
    of a tuple instead.
    Raises UnsafeFile, FileNotFoundError.
    """
    size, marks = file_bytes(path), [] if path.suffix == COMPRESSED else _class_marks(path)
    if path.suffix != COMPRESSED and not marks:
        yield path
        return
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder, path.stem)
        try:
            with open_regular(path) as file, copy.open("wb") as target:
                source = gzip.GzipFile(fileobj=file) if path.suffix == COMPRESSED else file
                while block := source.read(_BLOCK_BYTES):
                    target.write(block)
                    if target.tell() > LARGEST_INFLATION * size:
                        raise UnsafeFile(
                            f"{path}: refused: decompressed, it is more than {LARGEST_INFLATION * size:,} bytes"
                        )
        except (OSError, EOFError, zlib.error) as error:  # no gzip, cut short, or no room for it
            raise UnsafeFile(
                f"{path}: refused: it cannot be decompressed: {first_sentence(error)}"
            ) from error
        marks = marks or _class_marks(copy)
        with copy.open("r+b") as target:
            for offset in marks:
                target.seek(offset)
                target.write(pickle.TUPLE1)
        yield copy


def check_archive(
    path: Path, allowed: Collection[str], called: Path | None = None, holds_values: bool = False
) -> None:
    """Refuse an archive that is not as torch.save writes it, or a pickle that names what is not allowed.

    allowed: dotted names besides those of tensors. called: the path in errors, by default itself.
    holds_values: whether the pickle may have any size, since it has the values in it.
    Raises UnsafeFile, FileNotFoundError.
    """
    size = file_bytes(path)
    called = called or path
    named: set[str] = set()
    try:
        with open_regular(path) as file:
            pickles = _pickles_before_zip(file)
            if pickles:
                named, complaint = _look_at(pickles, size)
            else:
                file.seek(0)
                with zipfile.ZipFile(file) as archive:
                    entries = archive.infolist()
                    complaint = _complaint(entries, size, holds_values)
                    if not complaint:
                        operations = pickletools.genops(_LongUnread(archive.read(_pickles(entries)[0])))
                        named = _named(_long_texts_once(operations) if holds_values else operations)
    except ZIP_ERRORS as error:
        complaint = f"it is no archive as torch.save writes it ({first_sentence(error)})"
    if complaint:
        raise UnsafeFile(f"{called}: refused: it is damaged, or no checkpoint: {complaint}")
    odd = sorted(name for name in named if name not in allowed and not _TORCH_GLOBALS.fullmatch(name))
    if odd:
        raise UnsafeFile(
            f"{called}: refused: it asks for code to be run, or for other things than dense tensors, numbers and"
            f" text. No code of it was run. It names {', '.join(odd[:3])[:200]}"
        )


def _complaint(entries: list[zipfile.ZipInfo], size: int, holds_values: bool) -> str:
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
    if pickles[0].file_size > LARGEST_PICKLE_BYTES and not holds_values:
        return f"data.pkl has {pickles[0].file_size:,} bytes, expected at most {LARGEST_PICKLE_BYTES:,}"
    return ""


def _pickles(entries: list[zipfile.ZipInfo]) -> list[zipfile.ZipInfo]:
    return [entry for entry in entries if entry.filename.rsplit("/", 1)[-1] == "data.pkl"]


def _named(operations: Iterable[_Operation]) -> set[str]:
    """The dotted names of all that a pickle would import; it is read and not run."""
    found: set[str] = set()
    for count, (operation, argument, _) in enumerate(operations):
        if count > MOST_OPERATIONS:
            raise ValueError(f"data.pkl has more than {MOST_OPERATIONS:,} operations")
        found.update(_names(operation.name, argument))
    return found


class _LongUnread(io.BytesIO):
    """A pickle in which zeros stand for a text of many bytes: to decode one takes as long as to load it."""

    def read(self, size: int | None = -1) -> bytes:
        if size is None or not LONGEST_TEXT < size <= self.getbuffer().nbytes - self.tell():
            return super().read(size)
        self.seek(size, io.SEEK_CUR)
        return bytes(size)


def _long_texts_once(operations: Iterable[_Operation]) -> Iterator[_Operation]:
    """The same; ValueError where a long text is used again, as values or else: each use may become as many bytes."""
    is_long, kept = False, set()
    for each in operations:
        operation, argument, _ = each
        if operation.name in ("BINPUT", "LONG_BINPUT") and is_long:
            kept.add(argument)
        elif operation.name in ("BINGET", "LONG_BINGET") and argument in kept:
            raise ValueError("data.pkl uses values twice")
        is_long = isinstance(argument, str | bytes) and len(argument) > LONGEST_TEXT
        yield each


def _names(operation: str, argument: object) -> list[str]:
    if operation == "GLOBAL":
        return [str(argument).replace(" ", ".", 1)]
    if operation in ("STACK_GLOBAL", "INST", "EXT1", "EXT2", "EXT4"):
        return [f"something by the operation {operation}"]
    return []


def _pickles_before_zip(file: BinaryIO) -> bytes:
    """What follows the version in an archive that is no zip, as far as pickles may reach; nothing of another file."""
    return file.read(LARGEST_PICKLE_BYTES) if file.read(len(_BEFORE_ZIP)) == _BEFORE_ZIP else b""


def _operations(pickles: bytes) -> Iterator[tuple[str, str, Any, int]]:
    """(which pickle, operation, argument, place) of the three pickles that follow the version."""
    source = io.BytesIO(pickles)
    for part in ("machine", "content", "order of the bytes"):
        for operation, argument, place in pickletools.genops(source):
            yield part, operation.name, argument, place or 0


def _look_at(pickles: bytes, size: int) -> tuple[set[str], str]:
    """What the pickles of an archive that is no zip name, and what is wrong with them. size: of the whole file.

    Numbers are counted where they stand, so none may be kept and used again.
    """
    named: set[str] = set()
    stated, before = 0, ""
    for part, operation, argument, _ in _operations(pickles):
        named.update(_names(operation, argument))
        if part == "content" and operation in _INTEGERS:
            stated += max(0, argument)
        elif before in _INTEGERS and operation in _KEEPING:
            return named, "it uses a number more than once"
        before = operation
    return named, f"its pickle states {stated:,} values, but it has {size:,} bytes" if stated > size else ""


def _class_marks(path: Path) -> list[int]:
    """Where the operations are that mark a class of a network, each the last of its tuple's."""
    with open_regular(path) as file:
        pickles = _pickles_before_zip(file)
    marks: list[int] = []
    first: Any = None
    before = ""
    try:
        for _, operation, argument, place in _operations(pickles):
            if before == "MARK":
                first = argument
            if operation == "BINPERSID" and first == "module":
                marks.append(len(_BEFORE_ZIP) + place)
            before = operation
    except ValueError:  # which whoever opens it says in words
        return []
    return marks


_INTEGERS = ("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4")
_KEEPING = ("DUP", "PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE")
