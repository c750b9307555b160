"""Archives as Spleeter publishes its networks, written without TensorFlow: an index, a data file, gzip.

write_archive(folder / "2stems.tar.gz", {"conv2d/kernel": array, …})
"""

import gzip
import io
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

MAGIC = bytes.fromhex("57fb808b247547db")
KINDS = {"float32": 1, "float64": 2, "int32": 3, "int64": 9, "float16": 19}

Arrays = Mapping[str, npt.NDArray[Any]]


def varint(value: int) -> bytes:
    """Seven bits a byte, the lowest first."""
    groups = [value & 0x7F]
    while value := value >> 7:
        groups.append(value & 0x7F)
    return bytes([*(group | 0x80 for group in groups[:-1]), groups[-1]])


def number(field: int, value: int) -> bytes:
    """A field of a message; zero is left out."""
    return varint(field << 3) + varint(value) if value else b""


def part(field: int, content: bytes) -> bytes:
    """A field of a message that is a message."""
    return varint(field << 3 | 2) + varint(len(content)) + content


def entry(array: npt.NDArray[Any], offset: int, shard: int = 0) -> bytes:
    """What an index says of a tensor."""
    shape = b"".join(part(2, number(1, axis)) for axis in array.shape)
    where = number(3, shard) + number(4, offset) + number(5, array.nbytes)
    return number(1, KINDS[array.dtype.name]) + part(2, shape) + where + varint(6 << 3 | 5) + b"\0\0\0\0"


def block(rows: list[tuple[bytes, bytes]]) -> bytes:
    """Rows whose keys continue the one before, all after one that is whole, and a trailer."""
    content, before = b"", b""
    for key, value in rows:
        shared = next((i for i, pair in enumerate(zip(before, key, strict=False)) if len(set(pair)) > 1), -1)
        shared = min(len(before), len(key)) if shared < 0 else shared
        content += varint(shared) + varint(len(key) - shared) + varint(len(value)) + key[shared:] + value
        before = key
    return content + (0).to_bytes(4, "little") + (1).to_bytes(4, "little")


def table(rows: list[tuple[bytes, bytes]], in_blocks_of: int = 100, kind: int = 0) -> bytes:
    """A leveldb table. kind: what each block says of its compression; 0 is none."""
    content, handles = b"", []
    groups = [rows[first : first + in_blocks_of] for first in range(0, len(rows), in_blocks_of)]
    for group in groups:
        made = block(group)
        handles.append((group[-1][0], varint(len(content)) + varint(len(made))))
        content += made + bytes([kind]) + b"\0\0\0\0"
    empty, last = block([]), block(handles)
    places = varint(len(content)) + varint(len(empty))
    content += empty + bytes(5)
    places += varint(len(content)) + varint(len(last))
    return content + last + bytes([kind]) + b"\0\0\0\0" + places.ljust(40, b"\0") + MAGIC


def index_and_data(arrays: Arrays, shards: int = 1) -> dict[str, bytes]:
    """The files of a checkpoint called `model`, its tensors dealt out to the shards in turn."""
    data = [b""] * shards
    rows = [(b"", number(1, shards) + part(3, number(1, 1)))]
    for place, name in enumerate(sorted(arrays)):
        shard = place % shards
        rows.append((name.encode(), entry(arrays[name], len(data[shard]), shard)))
        data[shard] += arrays[name].tobytes()
    files = {f"model.data-{i:05d}-of-{shards:05d}": content for i, content in enumerate(data)}
    return {"checkpoint": b'model_checkpoint_path: "model"\n', "model.index": table(rows), **files}


def archive(files: Mapping[str, bytes]) -> bytes:
    """A `.tar.gz` archive."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return gzip.compress(packed.getvalue(), compresslevel=1, mtime=0)


def write_archive(path: Path, arrays: Arrays) -> Path:
    """The archive of a checkpoint with these tensors."""
    path.write_bytes(archive(index_and_data({name: np.asarray(value) for name, value in arrays.items()})))
    return path
