"""The manifest: one row per checkpoint. YAML in, frozen records out; every error names file and key."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, StringConstraints, model_validator

from ..locations import ROOT
from ..plain_files import check_regular, identity
from ..registry import UnknownArchitecture, find_architecture
from ..schema import (
    Name,
    Record,
    Text,
    Whole,
    allowed_text,
    at_most,
    brief,
    choice_text,
    expecting,
    place_text,
    problem,
    read_document,
    validate,
)
from .checkpoints import Bag, Checkpoint, Copy, Manifest, Origin
from .errors import ManifestError

WEIGHTS_FOLDER = ROOT / "weights"
MANIFEST = WEIGHTS_FOLDER / "manifest.yaml"
DEMO_MANIFEST = WEIGHTS_FOLDER / "demo" / "manifest.yaml"
# What a manifest may hold; weights/README.md lists them.
MOST_ROWS, MOST_FORMS, MOST_SOURCES, MOST_ORIGINS, MOST_BAG_MEMBERS = 1_000, 16, 64, 16, 64
LEAST_SHARE, LARGEST_SHARE = 1e-6, 1_000_000

HOME_VARIABLE = "SDX_USER_HOME"  # whose "~" is meant


def load_manifest(*paths: Path, outline: bool = False) -> Manifest:
    """Read the project's manifest, that of the demo models if there is one, and any further files.

    outline: ask no architecture about its rows, since they import torch, which takes seconds. What lists files needs
        no more. Suffixes and numbers of sources are then not checked, and `parameters` are empty.
    Raises ManifestError naming file, key, found and allowed, also if two files define the same name.
    """
    demo = (DEMO_MANIFEST,) if DEMO_MANIFEST.is_file() else ()
    return read_manifests(MANIFEST, *demo, *paths, outline=outline)


def read_manifests(*paths: Path, outline: bool = False) -> Manifest:
    """Read exactly these manifest files; see `load_manifest`."""
    checkpoints: dict[str, Checkpoint] = {}
    bags: dict[str, Bag] = {}
    defined_in: dict[str, Path] = {}
    for path in paths:
        _check_is_file(path)
        own = path in (MANIFEST, DEMO_MANIFEST)
        document, rows = _read_once(path, identity(path), outline) if own else _read(path, outline)
        for name in [*document.checkpoints, *document.bags]:
            if name in defined_in:
                raise ManifestError(f"{path}: {name!r} is already defined in {defined_in[name]}; rename one")
            defined_in[name] = path
        checkpoints |= {row.name: row for row in rows}
        for name in document.checkpoints:
            _check_parts(checkpoints[name], checkpoints)
        for name, members in document.bags.items():
            bags[name] = _bag(name, members, path, checkpoints)
    return Manifest(checkpoints, bags, outline)


def _read(path: Path, outline: bool) -> tuple[_Document, tuple[Checkpoint, ...]]:
    """What stands in a manifest file, and the checkpoints that its rows describe."""
    document = validate(_Document, read_document(path, ManifestError), path, ManifestError)
    rows = document.checkpoints.items()
    return document, tuple(each for name, row in rows for each in _row_and_forms(name, row, path, outline))


@functools.lru_cache(maxsize=4)
def _read_once(path: Path, of: tuple[int, ...], outline: bool) -> tuple[_Document, tuple[Checkpoint, ...]]:
    """The kit's own manifests are long, and every preset is read with them."""
    return _read(path, outline)


def _check_is_file(path: Path) -> None:
    try:
        check_regular(path)
    except FileNotFoundError as error:
        advice = (
            "; it belongs beside my_submission/, where `weights pack` puts it" if path == MANIFEST else ""
        )
        raise ManifestError(f"{path}: no such manifest file{advice}") from error
    except OSError as error:
        raise ManifestError(str(error)) from error


Sha256 = Annotated[
    str, StringConstraints(pattern="^[0-9a-f]{8,64}$"), expecting("8 to 64 lower-case hex digits in quotes")
]
Md5 = Annotated[
    str, StringConstraints(pattern="^[0-9a-f]{32}$"), expecting("32 lower-case hex digits in quotes")
]
Hub = Annotated[str, StringConstraints(pattern=r"^[\w.-]+/[\w.-]+$"), expecting("owner/name")]
Url = Annotated[str, StringConstraints(pattern="^https?://[^/]+/"), expecting("an http(s) address of a file")]
Wheel = Annotated[
    str,
    StringConstraints(pattern=r"^[A-Za-z0-9]([\w.-]*[A-Za-z0-9])?==[A-Za-z0-9][\w.!+]*$", max_length=200),
    expecting("name==version of a package"),
]
Revision = Annotated[str, StringConstraints(pattern=r"^[\w./-]+$"), expecting("a branch, tag or commit")]


class _OriginRow(Record):
    hub: Hub | None = None
    wheel: Wheel | None = None
    path: str | None = None
    revision: Revision | None = None
    url: Url | None = None
    bytes: Whole | None = None
    sha256: Sha256 | None = None
    tail_md5: Md5 | None = None

    @model_validator(mode="after")
    def _check_kind(self) -> _OriginRow:
        if (self.hub, self.url, self.wheel).count(None) != 2:
            raise problem("give either 'hub' or 'wheel' (with 'path'), or 'url'")
        if (self.url and self.path is not None) or (self.revision is not None and not self.hub):
            raise problem("'path' belongs to a 'hub' or 'wheel', 'revision' to a 'hub'; a 'url' is complete")
        if not self.url and (not self.path or self.path.startswith("/") or ".." in self.path.split("/")):
            raise problem(f"expected a path inside the repository or wheel, found {self.path!r}", "path")
        return self

    def origin(self, own: Copy, where: str) -> Origin:
        """own: what is known about the row's own file. where: what to call this origin in an error."""
        address = self.url or str(self.path)
        name = address.split("?")[0].rsplit("/", 1)[-1]
        copy = Copy(name, self.bytes, self.sha256, self.tail_md5)
        if name == own.file:
            if copy != Copy(name, None, None):
                raise ManifestError(
                    f"{where}: {name} is the row's own file; put its bytes and hashes into the row"
                )
            copy = own
        return Origin(self.hub, address, (self.revision or "main") if self.hub else None, copy, self.wheel)


class _Row(Record):
    architecture: Text
    sources: Annotated[tuple[Name, ...], Field(min_length=1, max_length=MOST_SOURCES)]
    parameters: Mapping[str, Any] = {}
    file: Text | None = None
    path: Text | None = None
    parts: Annotated[tuple[Text, ...], Field(max_length=MOST_SOURCES)] = ()
    bytes: Whole | None = None
    about_bytes: Whole | None = None
    sha256: Sha256 | None = None
    tail_md5: Md5 | None = None
    forms: Annotated[Mapping[Name, Mapping[str, Any]], Field(max_length=MOST_FORMS)] = {}
    origins: Annotated[tuple[_OriginRow, ...], Field(max_length=MOST_ORIGINS)] = ()
    licence: Text | None = None

    @model_validator(mode="after")
    def _check_file(self) -> _Row:
        if self.parts:
            own = ("file", "path", "bytes", "about_bytes", "sha256", "tail_md5", "origins", "licence")
            if given := [key for key in own if getattr(self, key)]:
                raise problem(f"a row of 'parts' has no file of its own, so no {given[0]!r}", given[0])
        elif (self.file is None) == (self.path is None):
            raise problem("give either 'file' (a name to look for) or 'path' (where it is)")
        if self.path and self.origins:
            raise problem("a row with 'path' cannot have 'origins'; give 'file' instead of 'path'")
        if self.file and (Path(self.file).name != self.file or self.file == ".."):
            raise problem(f"expected a file name without folders, found {self.file!r}", "file")
        if len(set(self.sources)) < len(self.sources):
            raise problem(f"expected different names, found {list(self.sources)}", "sources")
        if "input" in self.sources:
            raise problem(
                "found 'input', which means the signal that a step runs on; give the source another name",
                "sources",
            )
        return self


Share = Annotated[
    float,
    Field(ge=LEAST_SHARE),
    expecting(f"a number above 0 ({LEAST_SHARE} or more)"),
    at_most(LARGEST_SHARE),
]


class _BagMember(Record):
    checkpoint: str
    weights: Annotated[Mapping[str, Share], Field(min_length=1, max_length=MOST_SOURCES)]


RowName = Annotated[
    str, StringConstraints(pattern=r"^[^@\n]+$"), expecting("a name without @, which names a form")
]


class _Document(Record):
    checkpoints: Annotated[Mapping[RowName, _Row], Field(max_length=MOST_ROWS)] = {}
    bags: Annotated[
        Mapping[RowName, Annotated[tuple[_BagMember, ...], Field(min_length=1, max_length=MOST_BAG_MEMBERS)]],
        Field(max_length=MOST_ROWS),
    ] = {}


def _row_and_forms(name: str, row: _Row, path: Path, outline: bool) -> Iterator[Checkpoint]:
    own = _outlined(name, row, path) if outline else _checkpoint(name, row, path)
    yield own
    for form, changes in row.forms.items():
        at = ("checkpoints", name, "forms", form)
        parameters = (
            own.parameters
            if outline
            else validate(type(own.parameters), {**row.parameters, **changes}, path, ManifestError, at)
        )
        yield replace(own, name=f"{name}@{form}", parameters=parameters, form=form)


def _check_parts(checkpoint: Checkpoint, known: Mapping[str, Checkpoint]) -> None:
    where = f"{checkpoint.manifest}: {place_text(('checkpoints', checkpoint.name, 'parts'))}"
    sources: list[str] = []
    for part in checkpoint.parts:
        found = known.get(part)
        if found is None or found.parts or found.architecture != checkpoint.architecture:
            raise ManifestError(f"{where}: {part!r} is no row of {checkpoint.architecture} with a file")
        sources += found.sources
    if checkpoint.parts and tuple(sources) != checkpoint.sources:
        raise ManifestError(
            f"{where}: expected parts with the sources {list(checkpoint.sources)}, found {sources}"
        )


def _at_home(path: str) -> Path:
    """The path, with the user's home for a "~" at its start; in an evaluation, HOME is a temporary folder."""
    home = os.environ.get(HOME_VARIABLE, "")
    return Path(home + path[1:]) if home and path.startswith("~/") else Path(path).expanduser()


def _outlined(name: str, row: _Row, path: Path) -> Checkpoint:
    """What a row says by itself, whatever its architecture makes of it."""
    try:
        location = path.resolve().parent / _at_home(row.path) if row.path else None
    except RuntimeError as error:  # of expanduser
        where = place_text(("checkpoints", name, "path"))
        raise ManifestError(
            f"{path}: {where}: found {brief(row.path)}, a user whose home is not known"
        ) from error
    file = location.name if location else row.file or ""
    own = Copy(file, row.bytes, row.sha256, row.tail_md5)
    return Checkpoint(
        name=name,
        architecture=row.architecture,
        sources=row.sources,
        parameters=Record(),
        file=file,
        bytes=row.bytes,
        about_bytes=row.bytes or row.about_bytes,
        sha256=row.sha256,
        origins=tuple(
            origin.origin(own, f"{path}: {place_text(('checkpoints', name, 'origins', i))}")
            for i, origin in enumerate(row.origins)
        ),
        licence=row.licence,
        manifest=path.resolve(),
        path=location,
        tail_md5=row.tail_md5,
        parts=row.parts,
    )


def _checkpoint(name: str, row: _Row, path: Path) -> Checkpoint:
    """What a row says, as its architecture reads it."""
    at = ("checkpoints", name)
    where = f"{path}: {place_text(at)}"
    try:
        architecture = find_architecture(row.architecture)
    except UnknownArchitecture as error:
        raise ManifestError(f"{where}.architecture: {error}") from error
    if row.parts and architecture.join is None:
        raise ManifestError(f"{where}.parts: {row.architecture} makes nothing of several files")
    if not row.parts and architecture.sources not in (None, len(row.sources)):
        count = "one source" if architecture.sources == 1 else f"{architecture.sources} sources"
        raise ManifestError(
            f"{where}.sources: {row.architecture} has exactly {count}, found {list(row.sources)}"
        )
    own = _outlined(name, row, path)
    allowed = " or ".join(architecture.suffixes)
    if not row.parts and not own.file.endswith(architecture.suffixes):
        raise ManifestError(
            f"{where}: {own.file!r} is not a file of {row.architecture}: it must end in {allowed}"
        )
    for i, origin in enumerate(own.origins):
        if not origin.copy.file.endswith(architecture.suffixes):
            raise ManifestError(f"{where}.origins[{i}]: {origin.copy.file!r} must end in {allowed}")
    parameters = validate(architecture.parameters, row.parameters, path, ManifestError, (*at, "parameters"))
    return replace(own, parameters=parameters)


def _bag(
    name: str, members: tuple[_BagMember, ...], path: Path, checkpoints: Mapping[str, Checkpoint]
) -> Bag:
    for i, member in enumerate(members):
        where = f"{path}: {place_text(('bags', name, i))}"
        if member.checkpoint not in checkpoints:
            raise ManifestError(f"{where}.checkpoint: {choice_text(member.checkpoint, checkpoints)}")
        for source in member.weights:
            sources = checkpoints[member.checkpoint].sources
            if source not in sources:
                raise ManifestError(
                    f"{where}.weights: found {source!r}, which {member.checkpoint} does not have;"
                    f" {allowed_text(source, sources)}"
                )
    return Bag(name, tuple((member.checkpoint, member.weights) for member in members))
