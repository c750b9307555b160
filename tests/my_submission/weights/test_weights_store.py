"""Finding checkpoints and comparing them with what is known of them."""

import hashlib
import json
import logging
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from my_submission.schema import Record
from my_submission.weights import (
    Checkpoint,
    MissingWeights,
    WeightsError,
    WrongContent,
    find,
    require,
    store,
    verify,
)
from my_submission.weights.checkpoints import Copy, Origin
from my_submission.weights.manifest import HOME_VARIABLE, _at_home
from my_submission.weights.required import download_allowed
from my_submission.weights.store import RECORD_FILE, TAIL_BYTES, is_vouched, record_sha256
from tests.thinned import one_in

CONTENTS = b"weights of some network"
SHA256 = hashlib.sha256(CONTENTS).hexdigest()


@pytest.fixture
def row(tmp_path: Path) -> Checkpoint:
    """A checkpoint `net` whose file is here; its copy net.safetensors on the hub has no known hash."""
    folder = tmp_path / "manifest-folder"
    folder.mkdir()
    (folder / "net.th").write_bytes(CONTENTS)
    own = Copy("net.th", len(CONTENTS), SHA256)
    return Checkpoint(
        name="net",
        architecture="htdemucs",
        sources=("vocals",),
        parameters=Record(),
        file=own.file,
        bytes=own.bytes,
        about_bytes=own.bytes,
        sha256=own.sha256,
        origins=(Origin("owner/name", "net.safetensors", "main", Copy("net.safetensors", None, None)),),
        licence=None,
        manifest=folder / "manifest.yaml",
        path=None,
    )


def unpublished(row: Checkpoint, sha256: str | None = None) -> Checkpoint:
    return replace(row, bytes=None, sha256=sha256)


def tail_md5_of(contents: bytes) -> str:
    return hashlib.md5(contents[-TAIL_BYTES:]).hexdigest()


@pytest.mark.parametrize(
    "size",
    [0, 1, *one_in(4, [TAIL_BYTES + 1, TAIL_BYTES - 1, TAIL_BYTES, TAIL_BYTES + (9 << 20)])],
)
def test_tail_md5_is_of_the_end_of_a_file(row: Checkpoint, size: int) -> None:
    path = row.folder / "net.th"
    contents = bytes(1000) + bytes(range(256)) * (size // 256 + 1)
    contents = contents[:size]
    path.write_bytes(contents)
    assert verify(replace(unpublished(row), tail_md5=tail_md5_of(contents)), path).against == "tail_md5"
    with pytest.raises(
        WrongContent, match=r"net: .*net\.th: the md5 of its last [\d,]+ bytes is .*, expected 0+$"
    ):
        verify(replace(unpublished(row), tail_md5="0" * 32), path)


def test_tail_md5_stands_beside_a_sha256(row: Checkpoint) -> None:
    path = row.folder / "net.th"
    right, wrong = tail_md5_of(CONTENTS), "0" * 32
    for sha256, against in ((None, "tail_md5"), (SHA256[:8], "prefix"), (SHA256, "sha256")):
        assert verify(replace(unpublished(row, sha256), tail_md5=right), path).against == against
        with pytest.raises(WrongContent, match="md5"):
            verify(replace(unpublished(row, sha256), tail_md5=wrong), path)
    with pytest.raises(WrongContent, match="sha256"):
        verify(replace(unpublished(row, "0" * 8), tail_md5=right), path)


def test_tail_md5_vouches_for_nothing(row: Checkpoint) -> None:
    """A file can be made to have it; so it is tried in a process of its own, and its sha256 is recorded."""
    path = row.folder / "net.th"
    row = replace(unpublished(row), tail_md5=tail_md5_of(CONTENTS))
    assert not is_vouched(row, path)
    record_sha256(row, row.copies()["net.th"], SHA256)
    assert verify(row, path).against == "recorded"
    path.write_bytes(b"other" + CONTENTS)
    with pytest.raises(WrongContent, match="md5"):
        verify(row, path)


def test_weights_dir_comes_before_the_manifests_folder(row: Checkpoint, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    assert find(row, mine) == row.folder / "net.th"
    (mine / "net.safetensors").write_bytes(CONTENTS)
    assert find(row, mine) == mine / "net.safetensors"
    (mine / "net.th").write_bytes(CONTENTS)
    assert find(row, mine) == mine / "net.th"


def test_a_missing_checkpoint_says_where_was_looked(row: Checkpoint, tmp_path: Path) -> None:
    (row.folder / "net.th").unlink()
    with pytest.raises(
        MissingWeights, match=rf"net: no net\.th or net\.safetensors in {tmp_path}, {row.folder}"
    ):
        find(row, tmp_path)


def test_a_weights_dir_that_is_no_folder_is_an_error(row: Checkpoint) -> None:
    with pytest.raises(WeightsError, match=r"weights_dir: .*none is not a folder"):
        find(row, Path("none"))


def test_a_row_with_a_path_is_there_or_nowhere(row: Checkpoint, tmp_path: Path) -> None:
    elsewhere = replace(row, path=tmp_path / "elsewhere.th", file="elsewhere.th")
    with pytest.raises(MissingWeights, match=r"elsewhere\.th"):
        find(elsewhere)
    (tmp_path / "elsewhere.th").write_bytes(CONTENTS)
    assert find(elsewhere) == tmp_path / "elsewhere.th"


def test_right_contents_are_verified_and_hashing_is_reported(row: Checkpoint) -> None:
    hashed: list[int] = []
    verification = verify(row, row.folder / "net.th", hashed.append)
    assert (verification.sha256, verification.against) == (SHA256, "sha256")
    assert sum(hashed) == len(CONTENTS)


def test_a_cut_file_is_named_with_both_sizes(row: Checkpoint) -> None:
    path = row.folder / "net.th"
    path.write_bytes(CONTENTS[:5])
    with pytest.raises(
        WrongContent, match=rf"{path} has 5 bytes, expected 23 \(cut short\?\) by .*manifest\.yaml"
    ):
        verify(row, path)


def test_a_pointer_of_git_lfs_says_what_to_do(row: Checkpoint) -> None:
    pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{SHA256}\nsize 23\n"
    (row.folder / "net.th").write_text(pointer)
    with pytest.raises(WrongContent, match="is a git-lfs pointer, not the file itself: run git lfs pull"):
        verify(row, row.folder / "net.th")


def test_other_contents_of_the_same_size_are_named_with_both_hashes(row: Checkpoint) -> None:
    path = row.folder / "net.th"
    path.write_bytes(CONTENTS[::-1])
    other = hashlib.sha256(CONTENTS[::-1]).hexdigest()
    with pytest.raises(WrongContent, match=rf"{path}: the sha256 is {other}, expected {SHA256}"):
        verify(row, path)


def test_where_only_the_beginning_of_the_hash_is_known_that_is_compared(row: Checkpoint) -> None:
    path = row.folder / "net.th"
    assert verify(unpublished(row, SHA256[:8]), path).against == "prefix"
    with pytest.raises(WrongContent, match="expected begins with 00000000"):
        verify(unpublished(row, "0" * 8), path)


def test_an_unpublished_hash_must_stay_as_recorded(row: Checkpoint) -> None:
    path, row = row.folder / "net.th", unpublished(row)
    assert verify(row, path).against == "nothing"
    record_sha256(row, Copy("net.th", None, None), SHA256)
    assert verify(row, path).against == "recorded"
    path.write_bytes(CONTENTS + b"!")
    with pytest.raises(WrongContent, match=rf"but {SHA256} was recorded .*{RECORD_FILE}"):
        verify(row, path)
    with pytest.raises(WrongContent, match=f"net/net.th is recorded with {SHA256}, found"):
        record_sha256(row, Copy("net.th", None, None), "0" * 64)
    assert json.loads((row.folder / RECORD_FILE).read_text()) == {"net/net.th": SHA256}


def test_a_published_hash_is_not_recorded(row: Checkpoint) -> None:
    record_sha256(row, Copy("net.th", None, SHA256), SHA256)
    assert not (row.folder / RECORD_FILE).exists()


@pytest.mark.parametrize("contents", ["", "[]", '{"a": 1}'])
def test_a_damaged_record_is_an_error(row: Checkpoint, contents: str) -> None:
    (row.folder / RECORD_FILE).write_text(contents)
    with pytest.raises(WeightsError, match=rf"{RECORD_FILE}: .*restore or delete it"):
        verify(unpublished(row), row.folder / "net.th")


def test_require_lists_all_that_is_missing_and_the_command(row: Checkpoint) -> None:
    (row.folder / "net.th").unlink()
    large = replace(row, name="large", file="large.onnx", about_bytes=66_759_214)
    unsized = replace(row, name="unsized", file="unsized.th", about_bytes=None)
    with pytest.raises(MissingWeights) as caught:
        require([row, large, unsized], preset="mdx-c", download=False)
    assert str(caught.value).splitlines() == [
        "preset mdx-c: 3 weights files are missing:",
        "  net.th            0.0 MB  (net)",
        "  large.onnx       66.8 MB  (large)",
        "  unsized.th  unknown size  (unsized)",
        "fetch with: python -m my_submission weights fetch mdx-c",
    ]
    with pytest.raises(MissingWeights, match=r"weights fetch net large$"):
        require([row, large], download=False)


def test_a_file_outside_of_the_submission_is_asked_for_by_its_folder(
    row: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = "my models"
    elsewhere = replace(row, path=tmp_path / folder / "mine.th", file="mine.th", origins=())
    with pytest.raises(MissingWeights) as caught:
        require([elsewhere], download=False)
    assert str(caught.value).endswith("from (no origins): put your own there")
    assert "fetch with" not in str(caught.value)
    monkeypatch.setenv("AICROWD_DATASET_DIR", str(tmp_path))
    with pytest.raises(MissingWeights) as caught:
        require([elsewhere], download=False)
    assert str(elsewhere.path) in str(caught.value)
    assert str(caught.value).endswith(f"evaluate with: --readable {shlex.quote(str(tmp_path / folder))}")
    assert "put your own" not in str(caught.value)


def test_a_file_that_nobody_serves_is_asked_for_by_its_place(row: Checkpoint) -> None:
    mine = replace(row, name="mine", file="mine.th", origins=())
    there = replace(row, name="there", file="there.th")
    with pytest.raises(MissingWeights) as caught:
        require([mine, there], preset="both", download=False)
    title, own, served, fetch, put = str(caught.value).splitlines()
    assert title == "preset both: 2 weights files are missing:"
    assert own.split()[0] == str(row.folder / "mine.th")
    assert served.split()[0] == "there.th"
    assert fetch == "fetch with: python -m my_submission weights fetch both"
    assert put == "nothing is known to fetch mine from (no origins): put your own there"


def test_the_home_of_a_path_is_the_users_whatever_home_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/temporary")
    assert _at_home("~/models/mine.th") == Path("/temporary/models/mine.th")
    monkeypatch.setenv(HOME_VARIABLE, "/home/me")
    assert _at_home("~/models/mine.th") == Path("/home/me/models/mine.th")
    assert _at_home("/models/mine.th") == Path("/models/mine.th")


def test_require_verifies_unless_told_otherwise(row: Checkpoint) -> None:
    path = row.folder / "net.th"
    assert require([row], download=False) == {"net": path}
    path.write_bytes(b"something else")
    with pytest.raises(WrongContent):
        require([row], download=False)
    assert path.exists(), "construction refuses a wrong file, it does not move it"
    assert require([row], download=False, verify=False) == {"net": path}


def test_require_says_when_a_file_cannot_be_verified(
    row: Checkpoint, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        require([unpublished(row)], download=False)
    assert "no hash" in caplog.text
    assert "used unverified" in caplog.text


@pytest.mark.parametrize(
    ("environment", "allowed"),
    [
        ({}, False),
        ({"SDX_DOWNLOAD": "0"}, False),
        ({"SDX_DOWNLOAD": "1"}, True),
        ({"SDX_DOWNLOAD": "1", "AICROWD_DATASET_DIR": "/data"}, False),
    ],
)
def test_the_environment_allows_downloads_but_never_at_the_organisers(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], allowed: bool
) -> None:
    for name in ("SDX_DOWNLOAD", "AICROWD_DATASET_DIR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert download_allowed() is allowed


def test_another_value_of_the_variable_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDX_DOWNLOAD", "yes")
    with pytest.raises(WeightsError, match=r"SDX_DOWNLOAD: found 'yes', allowed: 1"):
        download_allowed()


def test_a_file_that_cannot_be_read_stays_and_is_named(
    row: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may be right: the disk failed, or another user's."""

    def refused(path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(store, "open_regular", refused)
    with pytest.raises(WeightsError, match=r"^net: .*net\.th cannot be read: Permission denied$") as caught:
        verify(row, row.folder / "net.th")
    assert not isinstance(caught.value, WrongContent)
