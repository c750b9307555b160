"""TensorFlow checkpoints and pickled arrays: what is right is read to the bit, what is not is one sentence."""

import base64
import contextlib
import gzip
import io
import pickle
import random
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from my_submission.weights import UnsafeFile
from my_submission.weights.numpy_arrays import open_arrays
from my_submission.weights.tensorflow import open_tensorflow
from tests import tensorflow_checkpoint as written
from tests.tensorflow_checkpoint import archive, entry, index_and_data, number, part, table, varint

BY_TENSORFLOW = {
    "model.index": (
        "AAAGCAEaAggBABkPYmF0Y2hfbm9ybWFsaXphdGlvbi9nYW1tYQgBEgQSAggEKBA1BrzF1wALEWNvbnYyZC9iaWFzCAESBBICCAQg"
        "ECgQNZBhaagHBh1rZXJuZWwIARIQEgIIAhICCAMSAggBEgIIBCAgKGA1HzRVEwYJHl8xL2tlcm5lbAgBEhASAggBEgIIARICCAQS"
        "AggCIIABKCA1S98lagALDmdsb2JhbF9zdGVwCAkSACCgASgINYxcAywADBJzdGVwcy9kb3VibGUIAhIEEgIIAiCoASgQNdhlansG"
        "AxZpbnQIAxIIEgIIAhICCAEguAEoCDWrnHwZAAAAAAEAAAAA7pVplAAAAAABAAAAAMDyobAAAQN0AIQCAAAAAAEAAAAAa/7QhIkC"
        "CJYCDwAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAABX+4CLJHVH2w=="
    ),
    "model.data-00000-of-00001": (
        "AABAQAAAQEAAAEBAAABAQAAAgL8AAAA/AAAAQG8SgzoAAAAAAAAAPgAAgD4AAMA+AAAAPwAAID8AAEA/AABgPwAAgD8AAJA/AACg"
        "PwAAsD8AAMA/AADQPwAA4D8AAPA/AAAAQAAACEAAABBAAAAYQAAAIEAAAChAAAAwQAAAOEAAAIA+AACAPgAAgD4AAIA+AACAPgAA"
        "gD4AAIA+AACAPmDjFgAAAAAAAAAAAAAA+D8AAAAAAAAEwAcAAAD4////"
    ),
}
"""A checkpoint as TensorFlow 2.12.1 wrote it (tf.compat.v1.train.Saver), in base64."""
FILES = {name: base64.b64decode(text) for name, text in BY_TENSORFLOW.items()}
ARRAYS: dict[str, npt.NDArray[Any]] = {
    "batch_normalization/gamma": np.full(4, 3, np.float32),
    "conv2d/bias": np.array([-1, 0.5, 2, 1e-3], np.float32),
    "conv2d/kernel": np.arange(24, dtype=np.float32).reshape(2, 3, 1, 4) / 8,
    "conv2d_1/kernel": np.full((1, 1, 4, 2), 0.25, np.float32),
    "global_step": np.array(1_500_000, np.int64),
    "steps/double": np.array([1.5, -2.5]),
    "steps/int": np.array([[7], [-8]], np.int32),
}


def packed(folder: Path, files: dict[str, bytes]) -> Path:
    path = folder / "net.tar.gz"
    path.write_bytes(archive(files))
    return path


def refused(path: Path, complaint: str, opened: Callable[[Path], object] = open_tensorflow) -> None:
    with pytest.raises(UnsafeFile, match=complaint) as caught:
        opened(path)
    message = str(caught.value)
    assert str(path) in message
    assert message.isprintable()
    assert len(message) < 1_000


def assert_equal(found: dict[str, Tensor], expected: dict[str, npt.NDArray[Any]]) -> None:
    assert sorted(found) == sorted(expected)
    for name, value in expected.items():
        assert found[name].numpy().dtype == value.dtype
        np.testing.assert_array_equal(found[name].numpy(), value)


def test_what_tensorflow_wrote_is_read_to_the_bit(tmp_path: Path) -> None:
    assert_equal(open_tensorflow(packed(tmp_path, FILES)), ARRAYS)


@pytest.mark.parametrize("shards", [1, 3])
def test_what_the_tests_write_is_read_in_the_same_way(tmp_path: Path, shards: int) -> None:
    assert_equal(open_tensorflow(packed(tmp_path, index_and_data(ARRAYS, shards))), ARRAYS)


def test_an_index_of_several_blocks_and_folders_in_the_archive(tmp_path: Path) -> None:
    files = index_and_data(ARRAYS)
    rows, offset = [(b"", number(1, 1))], 0
    for name in sorted(ARRAYS):
        rows.append((name.encode(), entry(ARRAYS[name], offset)))
        offset += ARRAYS[name].nbytes
    files["model.index"] = table(rows, in_blocks_of=2)
    assert_equal(
        open_tensorflow(packed(tmp_path, {f"./2stems/{name}": content for name, content in files.items()})),
        ARRAYS,
    )


def test_wherever_a_file_is_cut_it_is_one_sentence(tmp_path: Path) -> None:
    whole, path = archive(FILES), tmp_path / "net.tar.gz"
    for length in [0, 1, 10, 100, len(whole) // 2, len(whole) - 9, len(whole) - 1]:
        path.write_bytes(whole[:length])
        refused(path, "is cut short")
    path.write_bytes(whole + b"more")
    refused(path, "more behind what gzip packed")
    path.write_bytes(b"<!doctype html>")
    refused(path, "gzip cannot unpack it")
    for name, content in FILES.items():
        for length in range(0, len(content), 7):
            refused(packed(tmp_path, {**FILES, name: content[:length]}), "is damaged")


@pytest.mark.thorough
def test_whatever_byte_of_an_index_is_wrong_it_is_one_sentence_or_other_numbers(tmp_path: Path) -> None:
    chance = random.Random(0)
    index = FILES["model.index"]
    for place in range(len(index)):
        changed = index[:place] + bytes([chance.randrange(256)]) + index[place + 1 :]
        with contextlib.suppress(UnsafeFile):
            open_tensorflow(packed(tmp_path, {**FILES, "model.index": changed}))


ONE = np.zeros(4, np.float32)
HEADER = (b"", number(1, 1))


@pytest.mark.parametrize(
    ("index", "complaint"),
    [
        (table([HEADER, (b"a", entry(ONE, 0))], kind=1), r"compressed \(kind 1\), expected as it is"),
        (table([(b"a", entry(ONE, 0))]), "no header"),
        (table([(b"", number(1, 1) + number(2, 1)), (b"a", entry(ONE, 0))]), "big-endian"),
        (table([(b"", number(1, 17)), (b"a", entry(ONE, 0))]), "names 17 data files, expected 1 to 16"),
        (table([(b"", number(1, 2)), (b"a", entry(ONE, 0))]), r"has no 'model\.data-00000-of-00002'"),
        (table([HEADER, (b"a", entry(ONE, 4))]), "tensor 'a' is cut short, or lies outside"),
        (table([HEADER, (b"a", entry(ONE, 0, shard=1))]), "data file 1 of 1"),
        (table([HEADER, (b"a", entry(ONE, 0)), (b"b", entry(ONE, 0))]), "state 32 bytes, but it has 16"),
        (table([HEADER, (b"a", entry(ONE, 0)), (b"a", entry(ONE, 0))]), "'a' is there twice"),
        (table([HEADER, (b"a", number(1, 7) + number(5, 16))]), "whole numbers or floats, found the kind 7"),
        (
            table([HEADER, (b"a", number(1, 1) + part(2, part(2, number(1, 5))) + number(5, 16))]),
            "shape .* does not take its 16 bytes",
        ),
        (
            table([HEADER, (b"a", number(1, 1) + part(2, part(2, number(1, 2**62)) * 9) + number(5, 16))]),
            "does not take its 16 bytes",
        ),
        (table([HEADER, (b"a", varint(1 << 3 | 2) + varint(2**40))]), "an entry of its index is cut short"),
        (table([HEADER, (b"a", part(1, b""))]), "field 1 of an entry of its index is no number"),
        (table([HEADER, (b"a", number(1, 1) + number(2, 5))]), "field 2 of an entry of its index is a number"),
        (table([HEADER, (b"a", bytes([3]))]), "unknown kind 3"),
        (table([HEADER, (b"a" * 1_001, entry(ONE, 0))]), "name in its index is too long"),
        (table([HEADER, (b"a", b"\xff" * 11)]), "more than 64 bits"),
        (random.Random(0).randbytes(1 << 21) + FILES["model.index"], r"index has 2,\d+,\d+ bytes, expected at"),
    ],
)  # fmt: skip
def test_what_is_wrong_in_an_index_is_named(tmp_path: Path, index: bytes, complaint: str) -> None:
    refused(packed(tmp_path, {"model.index": index, "model.data-00000-of-00001": ONE.tobytes()}), complaint)


def test_what_is_wrong_in_an_archive_is_named(tmp_path: Path) -> None:
    path = tmp_path / "net.tar.gz"
    path.write_bytes(gzip.compress(bytes(4 << 20)))
    refused(path, r"unpacks to more than 1,048,576 bytes")
    path.write_bytes(gzip.compress(b"no tar" * 200))
    refused(path, "tar cannot read it")
    refused(packed(tmp_path, {"a.txt": b"x"}), r"expected one file that ends in \.index, found 0")
    refused(packed(tmp_path, {**FILES, "b.index": b""}), "found 2")
    refused(packed(tmp_path, {**FILES, "x/model.index": b""}), r"two entries have the name 'model\.index'")
    refused(packed(tmp_path, {f"{n}": b"" for n in range(65)}), "at most 64 entries")
    links = io.BytesIO()
    with tarfile.open(fileobj=links, mode="w:gz") as tar:
        link = tarfile.TarInfo("model.index")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    path.write_bytes(links.getvalue())
    refused(path, "found 0")


def test_values_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    """Like those of any file: by what a network is built of them."""
    state = open_tensorflow(packed(tmp_path, index_and_data({"a": np.array([np.nan], np.float32)})))
    assert state["a"].isnan().all()


# --- pickled arrays ---------------------------------------------------------------------------------


def test_pickled_arrays_become_tensors(tmp_path: Path) -> None:
    path = tmp_path / "net.ckpt"
    arrays = {name: value for name, value in ARRAYS.items() if value.ndim}
    torch.save(arrays, path)
    assert_equal(open_arrays(path), arrays)


def saved(path: Path, pickled: bytes) -> Path:
    """An archive as torch.save writes it, with this pickle."""
    with zipfile.ZipFile(path, "w") as zipped:
        zipped.writestr("net/data.pkl", pickled)
        zipped.writestr("net/version", "3\n")
    return path


class _Calls:
    def __reduce__(self) -> Any:
        return print, ("run",)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ([ONE], "expected named arrays, found list"),
        ({"a": 3}, "'a': expected an array of numpy, found something else"),
        ({"a": torch.ones(3)}, "refused"),
        ({"a": np.array(["text"])}, "found values of the kind"),
        ({"a": np.array([ONE, None], dtype=object)}, "refused"),
        ({"a": ONE.astype(">f4")}, "found values of the kind '>' 'f4'"),
        ({"a": np.asfortranarray(np.ones((2, 3), np.float32))}, "found an array of another kind"),
        ({"a": np.zeros(0, np.float32)}, "other things than dense tensors"),
        ({3: ONE}, "expected tensors with names"),
        ({"a": _Calls()}, "asks for code to be run"),
    ],
)
def test_what_else_a_pickle_may_hold_is_refused(
    tmp_path: Path, content: object, complaint: str, capsys: pytest.CaptureFixture[str]
) -> None:
    refused(saved(tmp_path / "net.ckpt", pickle.dumps(content, protocol=2)), complaint, open_arrays)
    assert capsys.readouterr().out == ""


def test_arrays_that_state_more_than_they_have_are_refused(tmp_path: Path) -> None:
    pickled = pickle.dumps({"a": ONE}, protocol=2)
    assert pickled.count(b"K\x04") == 1  # its one axis
    for axis in (b"K\xff", b"J\xff\xff\xff\x7f", b"J\xff\xff\xff\xff", b"\x88", b"N"):
        path = saved(tmp_path / "net.ckpt", pickled.replace(b"K\x04", axis))
        refused(path, "refused: it is not a checkpoint", open_arrays)


def test_values_that_are_used_again_are_refused(tmp_path: Path) -> None:
    """As text, of which each use would be as many bytes, and as an array of it."""
    text = "x" * 4_000
    path = saved(tmp_path / "net.ckpt", pickle.dumps([text, text], protocol=2))
    refused(path, "data.pkl uses values twice", open_arrays)
    array = np.zeros(10_000, np.float32)
    path = saved(tmp_path / "net.ckpt", pickle.dumps({"a": array, "b": array}, protocol=2))
    refused(path, "its arrays state 80,000 bytes, but it has", open_arrays)


def test_a_pickle_of_millions_of_operations_is_refused_before_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("my_submission.weights.archives.MOST_OPERATIONS", 1_000)
    monkeypatch.setattr("my_submission.weights.archives.LARGEST_PICKLE_BYTES", 1_000)
    path = tmp_path / "net.ckpt"
    torch.save({"a": np.zeros(1_000, np.float32)}, path)  # larger than a pickle of tensors may be
    assert open_arrays(path)["a"].shape == (1_000,)
    refused(
        saved(path, pickle.dumps([[] for _ in range(1_000)], 2)), "more than 1,000 operations", open_arrays
    )


def test_the_writer_of_these_tests_writes_numbers_of_many_groups() -> None:
    assert written.varint(300) == b"\xac\x02"
