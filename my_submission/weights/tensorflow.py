"""Reads TensorFlow checkpoints, without TensorFlow, from the `.tar.gz` archives that they are published in.

A checkpoint is an index and data shards. The index is a table of leveldb's, whose values are messages that say where
in which shard a tensor's bytes lie. Everything in it may be wrong or hostile, so every place is held to the bytes
that are there. gzip has a checksum of all that it unpacks, which the decompressor compares; those of single blocks
and tensors would say the same again.

Source: leveldb's doc/table_format.md; tensorflow/core/protobuf/tensor_bundle.proto. TensorFlow writes the index
without compression, so compressed blocks are refused.
"""

from __future__ import annotations

import io
import math
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..plain_files import open_regular
from ..schema import brief
from .errors import UnsafeFile, first_sentence
from .limits import MOST_TENSORS, file_bytes
from .tensors import check_state

MOST_EXPANSION, LEAST_UNPACKED_BYTES = 16, 1 << 20
"""An archive may unpack to so many times its bytes, and to so many bytes in any case."""
LARGEST_INDEX_BYTES = 2 << 20
MOST_ENTRIES, MOST_SHARDS, MOST_AXES, LONGEST_NAME = 64, 16, 8, 1_000

_BLOCK_BYTES = 1 << 20
_FOOTER_BYTES = 48
_MAGIC = bytes.fromhex("57fb808b247547db")
_RAW = 0
_DTYPES = {1: "<f4", 2: "<f8", 3: "<i4", 9: "<i8", 19: "<f2"}
"""TensorFlow's numbers for kinds of values, of which networks are made, in numpy's terms."""
_Message = Mapping[int, list[int | bytes]]
"""Of protocol buffers: what each field was given, in order."""


class _Damaged(ValueError):  # noqa: N818, the name says it
    """What is wrong with a file, in words."""


def open_tensorflow(path: Path) -> dict[str, Tensor]:
    """The named tensors of a `.tar.gz` archive with one TensorFlow checkpoint, in its own kinds of values.

    Raises UnsafeFile, FileNotFoundError.
    """
    try:
        state = _state(_entries(_unpacked(path)))
    except _Damaged as error:
        raise UnsafeFile(
            f"{path}: refused: it is damaged, or no .tar.gz archive of a TensorFlow checkpoint: {error}"
        ) from error
    return check_state(path, state)


def _unpacked(path: Path) -> bytes:
    """What gzip packed, up to the limit."""
    most = max(MOST_EXPANSION * file_bytes(path), LEAST_UNPACKED_BYTES)
    unpacked, gzip = bytearray(), zlib.decompressobj(wbits=31)
    with open_regular(path) as file:
        while block := file.read(_BLOCK_BYTES):
            if gzip.eof:
                raise _Damaged("there is more behind what gzip packed")
            try:
                unpacked += gzip.decompress(block, most + 1 - len(unpacked))
            except zlib.error as error:
                raise _Damaged(f"gzip cannot unpack it ({error})") from error
            if len(unpacked) > most:
                raise _Damaged(f"it unpacks to more than {most:,} bytes, the most for its size")
    if not gzip.eof or gzip.unused_data:
        raise _Damaged("it is cut short" if not gzip.eof else "there is more behind what gzip packed")
    return bytes(unpacked)


def _entries(archive: bytes) -> dict[str, memoryview]:
    """The files in an archive, by their names without folders."""
    found: dict[str, memoryview] = {}
    content = memoryview(archive)
    try:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as tar:
            for count, member in enumerate(tar, 1):
                if count > MOST_ENTRIES:
                    raise _Damaged(f"expected at most {MOST_ENTRIES} entries")
                if member.isreg() and not member.issparse():
                    name = member.name.rsplit("/", 1)[-1]
                    if name in found:
                        raise _Damaged(f"two entries have the name {brief(name)}")
                    found[name] = _cut(content, member.offset_data, member.size, f"the entry {brief(name)}")
    except (tarfile.TarError, ValueError, OSError, ArithmeticError, LookupError) as error:
        if isinstance(error, _Damaged):
            raise
        raise _Damaged(f"tar cannot read it ({first_sentence(error)})") from error
    return found


def _state(files: Mapping[str, memoryview]) -> dict[str, Tensor]:
    indices = [name for name in files if name.endswith(".index")]
    if len(indices) != 1:
        raise _Damaged(f"expected one file that ends in .index, found {len(indices)}")
    index = files[indices[0]]
    if len(index) > LARGEST_INDEX_BYTES:
        raise _Damaged(f"its index has {len(index):,} bytes, expected at most {LARGEST_INDEX_BYTES:,}")
    table = _table(index)
    if "" not in table:
        raise _Damaged("its index has no header")
    shards = _shards(indices[0].removesuffix(".index"), _message(table.pop("")), files)
    state: dict[str, Tensor] = {}
    held, stated = sum(len(shard) for shard in shards), 0
    for name, value in table.items():
        state[name], size = _tensor(name, _message(value), shards)
        stated += size
    if stated > held:
        raise _Damaged(f"its tensors state {stated:,} bytes, but it has {held:,}")
    return state


def _shards(stem: str, header: _Message, files: Mapping[str, memoryview]) -> list[memoryview]:
    count = _number(header, 1, default=1)
    if not 1 <= count <= MOST_SHARDS:
        raise _Damaged(f"its index names {count:,} data files, expected 1 to {MOST_SHARDS}")
    if _number(header, 2) != 0:
        raise _Damaged("its numbers are big-endian, expected little-endian")
    names = [f"{stem}.data-{shard:05d}-of-{count:05d}" for shard in range(count)]
    if missing := [name for name in names if name not in files]:
        raise _Damaged(f"it has no {brief(missing[0])}")
    return [files[name] for name in names]


def _tensor(name: str, entry: _Message, shards: list[memoryview]) -> tuple[Tensor, int]:
    """A tensor, copied, and how many bytes it states."""
    what = f"tensor {brief(name)}"
    kind, shard = _number(entry, 1), _number(entry, 3)
    offset, size = _number(entry, 4), _number(entry, 5)
    if kind not in _DTYPES or 7 in entry:
        raise _Damaged(f"{what}: expected whole numbers or floats, found the kind {kind}")
    shape = [_number(_message(axis), 1) for axis in _parts(_message(_part(entry, 2)), 2)]
    dtype = np.dtype(_DTYPES[kind])
    if len(shape) > MOST_AXES or size != math.prod(shape) * dtype.itemsize:
        raise _Damaged(f"{what}: its shape {brief(tuple(shape))} does not take its {size:,} bytes")
    if shard >= len(shards):
        raise _Damaged(f"{what}: it is in data file {shard:,} of {len(shards)}")
    content = _cut(shards[shard], offset, size, what)
    values = np.frombuffer(content, dtype).reshape(shape).astype(dtype.newbyteorder("="))
    return torch.from_numpy(values), size


def _table(index: memoryview) -> dict[str, bytes]:
    """Keys and values of a leveldb table."""
    footer = _cut(index, len(index) - _FOOTER_BYTES, _FOOTER_BYTES, "its index")
    if bytes(footer[-len(_MAGIC) :]) != _MAGIC:
        raise _Damaged("its index does not end as TensorFlow's do")
    at = 0
    for _ in range(2):  # where the index of other things begins and how long it is, of which there are none
        _, at = _varint(footer, at)
    blocks = _block(index, *_handle(footer, at))
    table: dict[str, bytes] = {}
    for _, handle in _rows(blocks):
        for key, value in _rows(_block(index, *_handle(memoryview(handle), 0))):
            if key in table:
                raise _Damaged(f"tensor {brief(key)} is there twice")
            if len(table) > MOST_TENSORS:
                raise _Damaged(f"its index has more than {MOST_TENSORS:,} tensors")
            table[key] = value
    return table


def _handle(content: memoryview, at: int) -> tuple[int, int]:
    """Where a block begins, and how many bytes it has."""
    offset, at = _varint(content, at)
    size, _ = _varint(content, at)
    return offset, size


def _block(index: memoryview, offset: int, size: int) -> memoryview:
    """The rows of a block: without its list of places where keys are whole, and that list's length."""
    block = _cut(index, offset, size, "a block of its index")
    kind = _cut(index, offset + size, 1, "a block of its index")[0]
    if kind != _RAW:
        raise _Damaged(f"a block of its index is compressed (kind {kind}), expected as it is")
    places = int.from_bytes(_cut(block, size - 4, 4, "a block of its index"), "little")
    return _cut(block, 0, size - 4 - 4 * places, "a block of its index")


def _rows(block: memoryview) -> Iterator[tuple[str, bytes]]:
    """Each key says how much of it is the beginning of the one before."""
    at, key = 0, b""
    while at < len(block):
        shared, at = _varint(block, at)
        new, at = _varint(block, at)
        size, at = _varint(block, at)
        if shared > len(key) or shared + new > LONGEST_NAME:
            raise _Damaged("a name in its index is too long, or begins as none before it")
        key = key[:shared] + _cut(block, at, new, "a block of its index").tobytes()
        value = _cut(block, at + new, size, "a block of its index").tobytes()
        at += new + size
        yield key.decode("latin-1"), value


def _message(content: bytes) -> _Message:
    """A message of protocol buffers, field by field."""
    found: dict[int, list[int | bytes]] = {}
    view, at = memoryview(content), 0
    while at < len(view):
        tag, at = _varint(view, at)
        number, wire = tag >> 3, tag & 7
        value: int | bytes
        if wire == 0:
            value, at = _varint(view, at)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
            value = int.from_bytes(_cut(view, at, size, "an entry of its index"), "little")
            at += size
        elif wire == 2:
            size, at = _varint(view, at)
            value = _cut(view, at, size, "an entry of its index").tobytes()
            at += size
        else:
            raise _Damaged(f"an entry of its index has a field of the unknown kind {wire}")
        found.setdefault(number, []).append(value)
    return found


def _number(message: _Message, field: int, default: int = 0) -> int:
    value = message.get(field, [default])[-1]
    if not isinstance(value, int):
        raise _Damaged(f"field {field} of an entry of its index is no number")
    return value


def _parts(message: _Message, field: int) -> list[bytes]:
    values = message.get(field, [])
    if not all(isinstance(value, bytes) for value in values):
        raise _Damaged(f"field {field} of an entry of its index is a number")
    return [value for value in values if isinstance(value, bytes)]


def _part(message: _Message, field: int) -> bytes:
    return next(reversed(_parts(message, field)), b"")


def _varint(content: memoryview, at: int) -> tuple[int, int]:
    """A whole number in groups of seven bits, the lowest first, and the place behind it."""
    value = 0
    for shift in range(0, 64, 7):
        byte = _cut(content, at, 1, "its index")[0]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise _Damaged("its index has a number of more than 64 bits")


def _cut(content: memoryview, start: int, size: int, what: str) -> memoryview:
    """That many bytes from there, if they are all there."""
    if start < 0 or size < 0 or start + size > len(content):
        raise _Damaged(f"{what} is cut short, or lies outside the file")
    return content[start : start + size]
