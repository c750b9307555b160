"""Odd files: whatever is in a pickle, an archive or a header, opening it is one sentence, and runs none of it."""

import gzip
import io
import json
import os
import pickle
import struct
import zipfile
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from my_submission.weights import archives
from my_submission.weights import load as load_module
from my_submission.weights.load import open_pickle, open_safetensors, open_tensors
from tests.my_submission.weights.odd import ARGUMENTS, NETWORK, refused
from tests.random_checkpoints import demucs_package

PROTOCOL = b"\x80\x02"


def archive(
    path: Path, pickled: bytes, compression: int = zipfile.ZIP_STORED, entries: Mapping[str, bytes] = {}
) -> Path:
    """A file as torch.save writes it, with that pickle and those entries of its folder `data`."""
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr("archive/data.pkl", pickled)
        file.writestr("archive/byteorder", "little")
        file.writestr("archive/version", "3\n")
        for name, content in entries.items():
            file.writestr(f"archive/data/{name}", content)
    return path


def call(name: str, *arguments: Any) -> bytes:
    """A pickle that calls something on an argument."""
    module, _, function = name.rpartition(".")
    given = pickle.dumps(arguments, protocol=2)[2:-1]
    return PROTOCOL + f"c{module}\n{function}\n".encode() + given + b"R."


@pytest.mark.parametrize(
    ("name", "argument"),
    [
        ("builtins.bytearray", 10**10), ("__builtin__.bytearray", 10**10), ("torch.FloatTensor", 10**6),
        ("torch.Tensor", 10**6), ("torch.storage.UntypedStorage", 10**12), ("torch._utils._rebuild_qtensor", 1),
        ("torch._tensor._rebuild_from_type_v2", 1), ("os.system", "true"), ("builtins.eval", "1"),
        ("numpy.zeros", 10**12), ("collections.deque", 1), ("torch.load", "x"), ("torch.ones", 10**12),
        ("torch.serialization.load", "x"),
    ],
)  # fmt: skip
def test_what_a_pickle_may_call_is_a_short_list(tmp_path: Path, name: str, argument: Any) -> None:
    """Not even all that torch allows: some of it makes arrays of any stated size."""
    refused(archive(tmp_path / "odd.pt", call(name, argument)), f"No code of it was run.*{name}", open_pickle)


@pytest.mark.parametrize("text", ["1e999999999", "9" * 5_000, "1/0", "nan"])
def test_fractions_are_short(tmp_path: Path, text: str) -> None:
    path = archive(tmp_path / "odd.pt", call("fractions.Fraction", text))
    refused(path, "torch says: ", open_pickle)


def test_fractions_as_python_writes_them(tmp_path: Path) -> None:
    for made in (Fraction(39, 5), Fraction(-7)):
        torch.save(made, tmp_path / "x.pt")
        assert open_pickle(tmp_path / "x.pt") == made
        path = archive(tmp_path / "old.pt", call("fractions.Fraction", str(made)))
        assert open_pickle(path) == made


def shared_tuples(count: int) -> bytes:
    """Pairs of pairs of pairs …, which are small in memory and endless when written out."""
    steps = b"".join(b"h" + bytes([i]) + b"h" + bytes([i]) + b"\x86q" + bytes([i + 1]) for i in range(count))
    return PROTOCOL + b")q\x00" + steps + b"."


@pytest.mark.parametrize(
    ("pickled", "complaint"),
    [
        (shared_tuples(60), "expected a dict with klass, args, kwargs, state, found tuple"),
        (PROTOCOL + b"]" * 1000 + b"a" * 999 + b".", "expected a dict .* found list"),
        (PROTOCOL + b"}.", r"expected a dict .* found \[\]"),
        (PROTOCOL + b"(" * 1000 + b".", "refused"),
        (PROTOCOL + b"\x8a\xff" + b"\x7f" * 255 + b".", "expected a dict"),
        (PROTOCOL + b"X\xff\xff\xff\xffabc.", "refused"),
        (b"", "refused"),
        (b"\x80\x05\x95" + b"\xff" * 8 + b".", "refused"),
        (b"I" + b"9" * 5_000 + b"\n.", "refused"),
        (b"P1\n.", "refused"),
        (b"\x80\x02\x82\x01.", "refused"),
    ],
)
def test_odd_pickles(tmp_path: Path, pickled: bytes, complaint: str) -> None:
    refused(archive(tmp_path / "odd.th", pickled), complaint)


def test_odd_values_in_a_package_are_quoted_in_part(tmp_path: Path) -> None:
    nested: Any = ()
    for _ in range(60):
        nested = (nested, nested)
    for changes in (
        {"klass": nested},
        {"args": nested},
        {"kwargs": nested},
        {"kwargs": {**ARGUMENTS, "depth": nested}},
    ):
        path = archive(tmp_path / "odd.th", pickle_of({**demucs_package(NETWORK, ARGUMENTS, {}), **changes}))
        refused(path, "refused|found the class|expected|do not fit")


def pickle_of(package: dict[str, Any]) -> bytes:
    """As Python itself writes it; the class by its name."""
    package = {key: value for key, value in package.items() if key not in ("metrics", "training_args")}
    return pickle.dumps(package, protocol=2)


@pytest.mark.thorough
def test_zip_bombs(tmp_path: Path) -> None:
    bomb = archive(tmp_path / "bomb.pt", PROTOCOL + b"}.", zipfile.ZIP_DEFLATED, {"a": bytes(50_000_000)})
    assert bomb.stat().st_size < 100_000
    refused(bomb, "the entry 'archive/data.pkl' is compressed or encrypted", open_pickle)

    with zipfile.ZipFile(tmp_path / "overlap.pt", "w") as file:
        file.writestr("archive/data.pkl", PROTOCOL + b"}.")
        file.writestr("archive/data/0", bytes(1 << 20))
        first = file.infolist()[1]
        for number in range(1, 100):  # many names of the same bytes
            again = zipfile.ZipInfo(f"archive/data/{number}")
            for field in ("header_offset", "file_size", "compress_size", "CRC"):
                setattr(again, field, getattr(first, field))
            file.filelist.append(again)
    refused(tmp_path / "overlap.pt", r"its entries state 104,857,6\d\d bytes, but it has", open_pickle)


def test_archives_that_are_not_as_torch_writes_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "two.pt", "w") as file:
        for folder in "ab":
            file.writestr(f"{folder}/data.pkl", PROTOCOL + b"}.")
    refused(tmp_path / "two.pt", "expected one data.pkl, found 2", open_pickle)
    with zipfile.ZipFile(tmp_path / "none.pt", "w") as file:
        file.writestr("a/b", b"")
    refused(tmp_path / "none.pt", "expected one data.pkl, found 0", open_pickle)
    with zipfile.ZipFile(tmp_path / "same.pt", "w") as file:
        for name in ("a/data.pkl", "a/data.pk2"):
            file.writestr(name, PROTOCOL + b"}.")
        file.infolist()[1].filename = "a/data.pkl"
    refused(tmp_path / "same.pt", "two entries have one name", open_pickle)
    monkeypatch.setattr(archives, "MOST_TENSORS", 10)
    many = archive(tmp_path / "many.pt", PROTOCOL + b"}.", entries={f"e{i}": b"" for i in range(30)})
    refused(many, "it has 33 entries, expected at most 20", open_pickle)


def test_a_large_pickle(tmp_path: Path) -> None:
    path = archive(tmp_path / "odd.pt", PROTOCOL + b"]" * 5_000_000 + b".")
    refused(path, r"data\.pkl has 5,000,003 bytes, expected at most 4,194,304", open_pickle)


def old_file(path: Path, content: object) -> Path:
    """As torch.save wrote it before PyTorch 1.6."""
    torch.save(content, path, _use_new_zipfile_serialization=False)
    return path


def test_files_from_before_zip_archives_hold_the_same(tmp_path: Path) -> None:
    content: dict[str, Any] = {
        "a": torch.randn(3, 4),
        "b": [1, "x", torch.arange(5)],
        "c": torch.zeros(2, dtype=torch.float16),
    }
    content["view"] = content["a"][1:]
    loaded = open_pickle(old_file(tmp_path / "old.pt", content))
    assert torch.equal(loaded["a"], content["a"])
    assert torch.equal(loaded["view"], content["view"])
    assert loaded["b"][:2] == [1, "x"]
    assert loaded["c"].dtype == torch.float16
    compressed = tmp_path / "old.pt.gz"
    compressed.write_bytes(gzip.compress((tmp_path / "old.pt").read_bytes()))
    assert torch.equal(open_pickle(compressed)["a"], content["a"])


def old_pickles(*pickles: bytes, tensors: bytes = b"") -> bytes:
    """The magic number, the version and these pickles."""
    return b"".join((pickle.dumps(0x1950A86A20F9469CFC6C, 2), pickle.dumps(1001, 2), *pickles, tensors))


def stated(values: int, times: int = 1) -> bytes:
    """A pickle of so many storages, each of which states so many values."""
    names = [f"X\x01\x00\x00\x00{chr(97 + place)}".encode() for place in range(times)]
    number = pickle.dumps(values, 2)[2:-1]
    one = b"(X\x07\x00\x00\x00storagectorch\nFloatStorage\n%bX\x03\x00\x00\x00cpu%bNtQ"
    return PROTOCOL + b"]" + b"(" + b"".join(one % (name, number) for name in names) + b"e."


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (
            old_pickles(pickle.dumps({}, 2), stated(10**12)),
            "its pickle states 1,000,000,000,000 values, but it has",
        ),
        (old_pickles(pickle.dumps({}, 2), stated(2**70)), r"its pickle states [\d,]+ values"),
        (old_pickles(pickle.dumps({}, 2), stated(200, 26)), r"its pickle states 5,200 values, but it has"),
        (
            old_pickles(pickle.dumps({}, 2), PROTOCOL + b"K\x05q\x00h\x00\x86."),
            "it uses a number more than once",
        ),
        (old_pickles(pickle.dumps({}, 2), PROTOCOL + b"K\x052\x86."), "it uses a number more than once"),
        (old_pickles(pickle.dumps({}, 2), call("os.system", "true")), r"It names os\.system"),
        (old_pickles(call("os.system", "true"), pickle.dumps({}, 2)), r"It names os\.system"),
        (
            old_pickles(pickle.dumps({}, 2), pickle.dumps({}, 2), call("os.system", "x")),
            r"It names os\.system",
        ),
        (old_pickles(pickle.dumps({}, 2), PROTOCOL + b"]" * 5_000_000 + b"."), "refused"),
        (old_pickles(), "refused"),
    ],
)
def test_odd_files_from_before_zip_archives(content: bytes, complaint: str, tmp_path: Path) -> None:
    """Their reader makes room for what their numbers state before it has read anything: so these are added up."""
    # A list of storages' names follows, where one is missing.
    (tmp_path / "old.pt").write_bytes(content + pickle.dumps([], 2) + pickle.dumps([], 2))
    refused(tmp_path / "old.pt", complaint, open_pickle)


def test_a_marked_class_is_not_imported_and_must_be_allowed(tmp_path: Path) -> None:
    path = old_file(tmp_path / "old.pt", (NETWORK, {"a": 1}))
    refused(path, r"It names demucs\.htdemucs\.HTDemucs", open_pickle)
    ((marked,), rest) = open_pickle(path, {"demucs.htdemucs.HTDemucs": Fraction})
    assert marked[:2] == ("module", Fraction)
    assert rest == {"a": 1}


def test_odd_compressed_files(tmp_path: Path) -> None:
    path = tmp_path / "x.pt.gz"
    for content, complaint in (
        (b"", "refused"),
        (b"no gzip", "it cannot be decompressed"),
        (gzip.compress(b"x" * 1_000)[:-9], "it cannot be decompressed"),
        (gzip.compress(bytes(10_000_000)), r"decompressed, it is more than [\d,]+ bytes"),
        (gzip.compress(b"no archive"), "no archive as torch.save writes it"),
    ):
        path.write_bytes(content)
        refused(path, complaint, open_pickle)
    assert not [*tmp_path.glob("x.pt")]


def test_a_sparse_file_of_a_terabyte(tmp_path: Path) -> None:
    for name in ("odd.th", "odd.safetensors"):
        with (tmp_path / name).open("wb") as file:
            file.truncate(1 << 40)
        refused(tmp_path / name, "refused|not a safetensors file")


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    whole = io.BytesIO()
    torch.save({"a": torch.arange(50.0)}, whole)
    save_file({"a": torch.arange(50.0)}, tmp_path / "x.safetensors")
    old = old_file(tmp_path / "old.pt", {"a": torch.arange(50.0)}).read_bytes()
    contents = {
        "x.pt": whole.getvalue(),
        "x.safetensors": (tmp_path / "x.safetensors").read_bytes(),
        "old.pt": old,
        "old.pt.gz": gzip.compress(old),
    }
    for name, content in contents.items():
        for length in range(0, len(content) - 1, 37):
            (tmp_path / name).write_bytes(content[:length])
            opened = open_pickle if name.startswith("old") else open_tensors
            refused(tmp_path / name, "refused|not a safetensors file", opened)


@pytest.mark.parametrize("name", ["x.th", "x.safetensors", "x.pt"])
@pytest.mark.parametrize("kind", ["pipe", "folder", "device"])
def test_what_is_no_file_is_not_opened(tmp_path: Path, name: str, kind: str) -> None:
    path = tmp_path / name
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero")
    refused(path, f"{name} is a .*, expected a file", open_tensors)


def header(path: Path, tensors: dict[str, Any], data: bytes = b"", stated: int | None = None) -> Path:
    """A safetensors file with that header."""
    text = json.dumps(tensors).encode()
    path.write_bytes(struct.pack("<Q", len(text) if stated is None else stated) + text + data)
    return path


def tensor(dtype: str, shape: list[int], begin: int, end: int) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


@pytest.mark.parametrize(
    ("tensors", "data", "complaint"),
    [
        ({"a": tensor("F32", [10**12], 0, 4)}, 4, "invalid shape, data type, or offset"),
        ({"a": tensor("F32", [2**62, 2**62], 0, 4)}, 4, "not a safetensors file, or damaged"),
        ({"a": tensor("F32", [-1], 0, 4)}, 4, "not a safetensors file, or damaged"),
        ({"a": tensor("F32", [0, 10**18], 0, 0)}, 0, "found no values"),
        ({"a": tensor("F32", [1], 0, 4), "b": tensor("F32", [1], 0, 4)}, 4, "not a safetensors file, or damaged"),
        ({"a": tensor("F32", [1], 0, 4)}, 400, "not a safetensors file, or damaged"),
        ({"a": tensor("F8_E4M3", [4], 0, 4)}, 4, "found values of the kind torch.float8"),
        ({"a": tensor("C64", [1], 0, 8)}, 8, "found values of the kind torch.complex64"),
        ({"a": {}}, 0, "not a safetensors file, or damaged"),
    ],
)  # fmt: skip
def test_odd_safetensors(tmp_path: Path, tensors: dict[str, Any], data: int, complaint: str) -> None:
    path = header(tmp_path / "odd.safetensors", tensors, bytes(data))
    refused(path, complaint, open_tensors)


def test_odd_headers_of_safetensors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for stated in (2**60, 2**64 - 1, 3 << 20):
        path = header(tmp_path / "odd.safetensors", {}, bytes(4 << 20), stated)
        refused(path, rf"a header of {stated:,} bytes, expected at most 2,097,152", open_safetensors)
    monkeypatch.setattr(load_module, "MOST_TENSORS", 10)
    many = {f"a{i}": tensor("F32", [0], 0, 0) for i in range(11)}
    refused(
        header(tmp_path / "odd.safetensors", many), "has 11 tensors, expected at most 10", open_safetensors
    )
