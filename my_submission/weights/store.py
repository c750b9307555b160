"""Finds checkpoints on this machine and verifies them. Nothing here touches the network."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock
from huggingface_hub import try_to_load_from_cache

from ..locations import ROOT, data_folder
from ..plain_files import NotAFile, check_regular, open_regular, read_regular, replace_file
from .checkpoints import Checkpoint, Copy
from .errors import MissingWeights, WeightsError, WrongContent
from .manifest import WEIGHTS_FOLDER

RECORD_FILE = "recorded_sha256.json"
LARGEST_UNKNOWN_BYTES = 4 << 30
"""How large a file may be whose row does not state its `bytes`, here and when it is downloaded: 4 GiB."""

TAIL_BYTES = 10_240_000
"""What a `tail_md5` is of: that many bytes at a file's end, or all of a smaller file. Ultimate Vocal Remover tells
its files apart by it (`get_model_hash`), and for many of them nobody published another hash."""

_LARGEST_RECORD_BYTES = 1 << 20
_BLOCK_BYTES = 1 << 22
_LFS_POINTER = b"version https://git-lfs.github.com/spec/v1\n"
_LFS_POINTER_BYTES = 1024  # a pointer is shorter than this, by its specification


@dataclass(frozen=True)
class Verification:
    """A file's hash and what it was compared with.

    `against` is "sha256" (published in full), "recorded" (not published in full, but recorded at the first download),
    "prefix" (only its published beginning), "tail_md5" (only the md5 of its end) or "nothing" (none is known). All
    that a row has is compared; this names the strongest.
    """

    sha256: str
    against: str


def find(checkpoint: Checkpoint, weights_dir: Path | None = None) -> Path:
    """The file of a checkpoint: in weights_dir, its manifest's folder, the kit's weights/, or the hub's cache.

    It looks for every name that a copy may have (`Checkpoint.copies`). A row with a `path` is there or nowhere.
    Raises MissingWeights, which says where it looked, and WeightsError if weights_dir is not a folder or something
    other than a file has the name.
    """
    places = list(_places(checkpoint, weights_dir))
    for place in places:
        if place.is_file():
            return place
        if place.exists():
            raise WeightsError(f"{checkpoint.name}: {_not_a_file(place)}")
    cached = None if checkpoint.path else _in_hub_cache(checkpoint)
    if cached:
        return cached
    folders = ", ".join(dict.fromkeys(str(place.parent) for place in places))
    names = " or ".join(dict.fromkeys(place.name for place in places))
    raise MissingWeights(f"{checkpoint.name}: no {names} in {folders} or in the hub's cache")


def _places(checkpoint: Checkpoint, weights_dir: Path | None) -> Iterator[Path]:
    if checkpoint.path:
        yield checkpoint.path
        return
    if weights_dir is not None and not weights_dir.is_dir():
        raise WeightsError(f"weights_dir: {weights_dir} is not a folder")
    fetched = () if data_folder() == ROOT else (kept_folder(checkpoint), data_folder() / "weights")
    folders = [weights_dir, checkpoint.folder, WEIGHTS_FOLDER, *fetched]
    for folder in dict.fromkeys(folder for folder in folders if folder is not None):
        for name in checkpoint.copies():
            yield folder / name


def kept_folder(checkpoint: Checkpoint) -> Path:
    """The folder for downloads from plain URLs, and for hashes that nobody published: the manifest's own.

    For the kit's own rows it is where the kit may write (`locations.data_folder`).
    """
    if data_folder() == ROOT or not checkpoint.folder.is_relative_to(WEIGHTS_FOLDER):
        return checkpoint.folder
    return data_folder() / "weights" / checkpoint.folder.relative_to(WEIGHTS_FOLDER)


def own_place(checkpoint: Checkpoint) -> Path:
    """Where a file lies that only the user has: one whose row names no origin."""
    return checkpoint.path or kept_folder(checkpoint) / checkpoint.file


def _in_hub_cache(checkpoint: Checkpoint) -> Path | None:
    for origin in checkpoint.origins:
        if origin.hub:
            cached = try_to_load_from_cache(origin.hub, origin.path, revision=origin.revision)
            if isinstance(cached, str):
                return Path(cached)
    return None


def verify(
    checkpoint: Checkpoint, path: Path, progress: Callable[[int], object] | None = None
) -> Verification:
    """Hash a file and compare size and hash with the manifest's row and the record of first downloads.

    `progress` receives the number of bytes hashed since the last call. Nothing is remembered between calls: hashing
    runs at 0.7 GB/s on one core, so the 0.8 GB of the largest preset take about a second, and a mark that says
    "verified" would be one more thing to trust.
    Raises WrongContent with path, expected and found; MissingWeights if the file does not exist; WeightsError if it
    cannot be read.
    """
    return verify_copy(checkpoint, known_copy(checkpoint, path), path, progress)


def _not_a_file(path: Path) -> str:
    """What is wrong with what is at a path: that it is no regular file, or cannot be opened."""
    try:
        check_regular(path)
    except OSError as error:
        return str(error)
    return f"{path} has just changed"


def verify_copy(
    checkpoint: Checkpoint, copy: Copy, path: Path, progress: Callable[[int], object] | None = None
) -> Verification:
    """`verify` for a file that does not (yet) have its own name."""
    try:
        return _verify_copy(checkpoint, copy, path, progress)
    except OSError as error:
        raise WeightsError(f"{checkpoint.name}: {path} cannot be read: {error.strerror or error}") from error


def _verify_copy(
    checkpoint: Checkpoint, copy: Copy, path: Path, progress: Callable[[int], object] | None
) -> Verification:
    try:
        size = check_regular(path)
    except FileNotFoundError as error:
        raise MissingWeights(f"{checkpoint.name}: {path} does not exist") from error
    except NotAFile as error:
        raise WrongContent(f"{checkpoint.name}: {error}") from error
    if copy.bytes is None and size > LARGEST_UNKNOWN_BYTES:
        raise WrongContent(
            f"{checkpoint.name}: {path} has {size:,} bytes, expected at most {LARGEST_UNKNOWN_BYTES:,}"
            f" where {checkpoint.manifest} does not state its bytes"
        )
    if size < _LFS_POINTER_BYTES and read_regular(path, _LFS_POINTER_BYTES).startswith(_LFS_POINTER):
        raise WrongContent(
            f"{checkpoint.name}: {path} is a git-lfs pointer, not the file itself: run git lfs pull"
        )
    if copy.bytes is not None and size != copy.bytes:
        raise WrongContent(
            f"{checkpoint.name}: {path} has {size:,} bytes, expected {copy.bytes:,}"
            f"{' (cut short?)' if size < copy.bytes else ''} by {checkpoint.manifest}"
        )
    found, tail_md5 = _hashes(path, size, progress)
    if copy.tail_md5 and tail_md5 != copy.tail_md5:
        raise WrongContent(
            f"{checkpoint.name}: {path}: the md5 of its last {min(size, TAIL_BYTES):,} bytes is {tail_md5},"
            f" expected {copy.tail_md5}"
        )
    if copy.sha256 and not found.startswith(copy.sha256):
        prefix = "" if len(copy.sha256) == 64 else " begins with"
        raise WrongContent(
            f"{checkpoint.name}: {path}: the sha256 is {found}, expected{prefix} {copy.sha256}"
        )
    if copy.sha256 and len(copy.sha256) == 64:
        return Verification(found, "sha256")
    recorded = recorded_sha256(checkpoint, copy)
    if recorded and recorded != found:
        raise WrongContent(
            f"{checkpoint.name}: {path}: the sha256 is {found}, but {recorded} was recorded at its first"
            f" download, in {record_path(checkpoint)}"
        )
    published = "prefix" if copy.sha256 else "tail_md5" if copy.tail_md5 else "nothing"
    return Verification(found, "recorded" if recorded else published)


def known_copy(checkpoint: Checkpoint, path: Path) -> Copy:
    """What the manifest knows about this file, by its name; nothing if the manifest does not have the name."""
    return checkpoint.copies().get(path.name, Copy(path.name, None, None))


def is_vouched(checkpoint: Checkpoint, path: Path) -> bool:
    """Whether a published hash says what a file must be; `verify` compares it, unless a caller vouches for the file.

    Neither the beginning of a hash does, nor an md5, which others can be made to have, nor a recorded one, which says
    that the file has not changed since it came.
    """
    sha256 = known_copy(checkpoint, path).sha256
    return sha256 is not None and len(sha256) == 64


def sha256_of(path: Path) -> str:
    """The file's sha256 as 64 hex digits."""
    digest = hashlib.sha256()
    _read_through(path, digest.update)
    return digest.hexdigest()


def _hashes(path: Path, size: int, progress: Callable[[int], object] | None) -> tuple[str, str]:
    """(sha256, md5 of the last TAIL_BYTES) of a file of that size, in hex digits, read once."""
    sha256, md5 = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    before_tail = max(0, size - TAIL_BYTES)

    def take(block: bytes) -> None:
        nonlocal before_tail
        sha256.update(block)
        md5.update(block[before_tail:])
        before_tail = max(0, before_tail - len(block))
        if progress:
            progress(len(block))

    _read_through(path, take)
    return sha256.hexdigest(), md5.hexdigest()


def _read_through(path: Path, take: Callable[[bytes], object]) -> None:
    with open_regular(path) as file:
        while block := file.read(_BLOCK_BYTES):
            take(block)


def record_path(checkpoint: Checkpoint) -> Path:
    """Where hashes that nobody published are recorded at the first download."""
    return kept_folder(checkpoint) / RECORD_FILE


def recorded_sha256(checkpoint: Checkpoint, copy: Copy) -> str | None:
    """The hash recorded when this copy was first downloaded, here or by those who packed it with its manifest."""
    packed = _read_record(checkpoint.folder / RECORD_FILE)
    return (_read_record(record_path(checkpoint)) | packed).get(record_key(checkpoint, copy))


def record_key(checkpoint: Checkpoint, copy: Copy) -> str:
    """The key of a file in a record."""
    return f"{checkpoint.row}/{copy.file}"


def record_sha256(checkpoint: Checkpoint, copy: Copy, sha256: str) -> None:
    """Record the hash of a first download, unless the copy's whole hash is published.

    Raises WrongContent if another hash is already recorded, WeightsError if it cannot be written.
    """
    if copy.sha256 and len(copy.sha256) == 64:
        return
    if recorded_sha256(checkpoint, copy) != sha256:
        write_record(record_path(checkpoint), {record_key(checkpoint, copy): sha256})


def write_record(path: Path, hashes: Mapping[str, str]) -> None:
    """Add hashes ({"checkpoint/file": sha256}) to a record; existing ones must not change.

    Raises WrongContent if it would, WeightsError if the record cannot be written.
    """
    try:
        with lock_for(path):
            record = _read_record(path)
            for key, sha256 in hashes.items():
                if record.setdefault(key, sha256) != sha256:
                    raise WrongContent(f"{path}: {key} is recorded with {record[key]}, found {sha256}")
            content = json.dumps(record, indent=2, sort_keys=True) + "\n"
            replace_file(path, lambda file: file.write(content.encode()))
    except OSError as error:
        raise WeightsError(
            f"{path}: cannot record the hash of {', '.join(hashes)} ({error}); make the folder writable, so"
            " that a later change to the file is noticed"
        ) from error


def lock_for(path: Path) -> FileLock:
    """A lock between processes for writing `path`, in a folder `.locks` beside it. Raises OSError.

    Neither the folder nor the file may be a link, which would make the lock, or empty a file, somewhere else.
    """
    folder = path.parent / ".locks"
    lock = folder / f"{path.name}.lock"
    for place in (folder, lock):
        if place.is_symlink():
            raise NotAFile(f"{place} is a link, which is not followed; remove it")
    folder.mkdir(parents=True, exist_ok=True)
    return FileLock(lock)


def _read_record(path: Path) -> dict[str, str]:
    try:
        record = json.loads(read_regular(path, _LARGEST_RECORD_BYTES))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        raise WeightsError(f"{path}: cannot be read as JSON: {error}; restore or delete it") from error
    if not isinstance(record, dict) or not all(isinstance(value, str) for value in record.values()):
        raise WeightsError(f"{path}: expected {{'checkpoint/file': 'sha256'}}; restore or delete it")
    return record
