"""The manifest: one row a checkpoint. YAML in, frozen records out; every error names file and key."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ..locations import ROOT
from ..yaml_file import read_yaml
from .errors import ManifestError

WEIGHTS_FOLDER = ROOT / "weights"
MANIFEST = WEIGHTS_FOLDER / "manifest.yaml"
DEMO_MANIFEST = WEIGHTS_FOLDER / "demo" / "manifest.yaml"

STEMS = ("bass", "drums", "other", "vocals", "guitar", "piano", "dialog", "effect", "music", "instrumental")

# architecture -> (parameters a row must have, parameters it may have)
PARAMETERS: Mapping[str, tuple[frozenset[str], frozenset[str]]] = {
    "htdemucs": (frozenset(), frozenset({"segment_seconds"})),
    "hdemucs": (frozenset(), frozenset({"segment_seconds"})),
    "mdx_net": (frozenset({"n_fft", "dim_f", "dim_t", "hop"}), frozenset()),
}
SUFFIXES: Mapping[str, tuple[str, ...]] = {
    "htdemucs": (".th", ".safetensors"),
    "hdemucs": (".th", ".safetensors"),
    "mdx_net": (".onnx",),
}

_REQUIRED = {"architecture", "sources"}
_OPTIONAL = {"parameters", "file", "path", "bytes", "about_bytes", "sha256", "origins", "licence"}
_REVISION = re.compile(r"[\w./-]+")


@dataclass(frozen=True)
class Copy:
    """What is known of one file that holds a checkpoint.

    Copies of one checkpoint under different names have different bytes (a `.safetensors` of what is
    a `.th` elsewhere), so each has a size and a hash of its own.
    """

    file: str  # name without folders
    bytes: int | None
    sha256: str | None  # 64 hex digits, a prefix, or None: recorded at the first download


@dataclass(frozen=True)
class Origin:
    """One place a copy can be fetched from: a file of a hub repository, or a plain URL."""

    hub: str | None  # owner/name on the hub
    path: str  # path inside the hub repository, or the whole URL
    revision: str | None  # branch, tag or commit; None for a plain URL
    copy: Copy

    def __str__(self) -> str:
        return f"{self.hub}/{self.path}@{self.revision}" if self.hub else self.path


@dataclass(frozen=True)
class Checkpoint:
    """One weights file: what it is, what it holds, how to verify it, where it comes from.

    `sources` are the model's outputs in the checkpoint's own order, in the project's terms; for
    mdx_net that is its one target. `bytes` is exact, `about_bytes` only for people to read. `sha256` may
    be whole (64 digits), a prefix, or None.
    `manifest` is the file of this row. `path` is set when the row itself says where the weights are.
    """

    name: str
    architecture: str
    sources: tuple[str, ...]
    parameters: Mapping[str, float]
    file: str
    bytes: int | None
    about_bytes: int | None
    sha256: str | None
    origins: tuple[Origin, ...]
    licence: str | None
    manifest: Path
    path: Path | None

    @property
    def folder(self) -> Path:
        """The folder of the manifest."""
        return self.manifest.parent

    def copies(self) -> dict[str, Copy]:
        """What is known of each file that holds this checkpoint, by file name, the row's own first."""
        known = {self.file: Copy(self.file, self.bytes, self.sha256)}
        for origin in self.origins:
            known.setdefault(origin.copy.file, origin.copy)
        return known


@dataclass(frozen=True)
class Bag:
    """Weighted checkpoints under one name: members are (checkpoint name, {source: weight}).

    Of each source the bag gives the weighted mean over the members that have a weight for it.
    """

    name: str
    members: tuple[tuple[str, Mapping[str, float]], ...]


@dataclass(frozen=True)
class Manifest:
    """All known checkpoints and bags by name; a name is never both."""

    checkpoints: Mapping[str, Checkpoint]
    bags: Mapping[str, Bag]


def load_manifest(*paths: Path) -> Manifest:
    """Read the project's manifest, the demo models' one if there is one, and any further files.

    Raises ManifestError naming file, key, found and allowed, also when two files define one name.
    """
    demo = (DEMO_MANIFEST,) if DEMO_MANIFEST.is_file() else ()
    return read_manifests(MANIFEST, *demo, *paths)


def read_manifests(*paths: Path) -> Manifest:
    """Read exactly these manifest files; see `load_manifest`."""
    checkpoints: dict[str, Checkpoint] = {}
    bags: dict[str, Bag] = {}
    defined_in: dict[str, Path] = {}
    for path in paths:
        document = _document(path)
        for name in [*document["checkpoints"], *document["bags"]]:
            if name in defined_in:
                raise ManifestError(f"{path}: {name!r} is already defined in {defined_in[name]}; rename one")
            defined_in[name] = path
        for name, row in document["checkpoints"].items():
            checkpoints[name] = _checkpoint(name, row, path)
        for name, row in document["bags"].items():
            bags[name] = _bag(name, row, path, checkpoints)
    return Manifest(checkpoints, bags)


def _document(path: Path) -> dict[str, dict[str, Any]]:
    try:
        document = read_yaml(path)
    except FileNotFoundError as error:
        advice = (
            "; it belongs beside my_submission/, where `weights pack` puts it" if path == MANIFEST else ""
        )
        raise ManifestError(f"{path}: no such manifest file{advice}") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ManifestError(f"{path}: cannot be read as YAML: {error}") from error
    where = str(path)
    document = _mapping(where, document)
    _check_keys(where, document, required=set(), optional={"checkpoints", "bags"})
    sections = {}
    for section in ("checkpoints", "bags"):
        sections[section] = _mapping(f"{where}: {section}", document.get(section, {}))
    return sections


def _mapping(where: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
        raise ManifestError(f"{where}: expected a mapping with names as keys, found {value!r}")
    return value


def _check_keys(where: str, row: Mapping[str, Any], required: set[str], optional: set[str]) -> None:
    unknown = sorted(set(row) - required - optional)
    if unknown:
        allowed = ", ".join(sorted(required | optional))
        raise ManifestError(f"{where}: unknown key {unknown[0]!r}; allowed: {allowed}")
    missing = sorted(required - set(row))
    if missing:
        raise ManifestError(f"{where}: the key {missing[0]!r} is missing")


def _checkpoint(name: str, row: Any, path: Path) -> Checkpoint:
    where = f"{path}: checkpoints.{name}"
    row = _mapping(where, row)
    _check_keys(where, row, _REQUIRED, _OPTIONAL)
    architecture = row["architecture"]
    if architecture not in PARAMETERS:
        allowed = ", ".join(PARAMETERS)
        raise ManifestError(f"{where}.architecture: found {architecture!r}, allowed: {allowed}")
    location, file = _location(where, row, path)
    if Path(file).suffix not in SUFFIXES[architecture]:
        allowed = " or ".join(SUFFIXES[architecture])
        raise ManifestError(f"{where}: {file!r} is no {architecture} file: it must end in {allowed}")
    own = Copy(file, _size(where, row), _sha256(where, row))
    origins = row.get("origins", [])
    if not isinstance(origins, list):
        raise ManifestError(f"{where}.origins: expected a list, found {origins!r}")
    return Checkpoint(
        name=name,
        architecture=architecture,
        sources=_sources(where, row["sources"], architecture),
        parameters=_parameters(where, row.get("parameters", {}), architecture),
        file=file,
        bytes=own.bytes,
        about_bytes=own.bytes or _size(where, row, "about_bytes"),
        sha256=own.sha256,
        origins=tuple(
            _origin(f"{where}.origins[{i}]", origin, own, SUFFIXES[architecture])
            for i, origin in enumerate(origins)
        ),
        licence=_text(where, row, "licence"),
        manifest=path.resolve(),
        path=location,
    )


def _location(where: str, row: Mapping[str, Any], manifest: Path) -> tuple[Path | None, str]:
    """(`path` resolved against the manifest's folder, or None; the file's name)."""
    if ("file" in row) == ("path" in row):
        raise ManifestError(f"{where}: give either 'file' (a name to look for) or 'path' (where it is)")
    if "path" in row and row.get("origins"):
        raise ManifestError(
            f"{where}: a file that lies at 'path' has no 'origins'; give 'file' instead of 'path'"
        )
    if "path" in row:
        location = manifest.resolve().parent / Path(str(_text(where, row, "path"))).expanduser()
        return location, location.name
    file = _text(where, row, "file")
    return None, _plain_name(f"{where}.file", file)


def _plain_name(where: str, file: str | None) -> str:
    if not file or Path(file).name != file or file in (".", ".."):
        raise ManifestError(f"{where}: expected a file name without folders, found {file!r}")
    return file


def _text(where: str, row: Mapping[str, Any], key: str) -> str | None:
    value = row.get(key)
    if value is not None and (not isinstance(value, str) or not value):
        raise ManifestError(f"{where}.{key}: expected text, found {value!r}")
    return value


def _size(where: str, row: Mapping[str, Any], key: str = "bytes") -> int | None:
    value = row.get(key)
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value <= 0):
        raise ManifestError(f"{where}.{key}: expected a whole number above 0, found {value!r}")
    return value


def _sha256(where: str, row: Mapping[str, Any]) -> str | None:
    value = _text(where, row, "sha256")
    if value is not None and not re.fullmatch(r"[0-9a-f]{8,64}", value):
        raise ManifestError(
            f"{where}.sha256: expected 8 to 64 lower-case hex digits in quotes, found {value!r}"
        )
    return value


def _sources(where: str, value: Any, architecture: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not value or len(set(map(str, value))) != len(value):
        raise ManifestError(f"{where}.sources: expected a list of different stems, found {value!r}")
    for stem in value:
        if stem not in STEMS:
            raise ManifestError(f"{where}.sources: found {stem!r}, allowed: {', '.join(STEMS)}")
    if architecture == "mdx_net" and len(value) != 1:
        raise ManifestError(f"{where}.sources: an mdx_net has exactly one target, found {value!r}")
    return tuple(value)


def _parameters(where: str, value: Any, architecture: str) -> Mapping[str, float]:
    required, optional = PARAMETERS[architecture]
    parameters = _mapping(f"{where}.parameters", value)
    _check_keys(f"{where}.parameters", parameters, set(required), set(optional))
    for key, number in parameters.items():
        whole = key != "segment_seconds"
        kind = int if whole else (int, float)
        if not isinstance(number, kind) or isinstance(number, bool) or not number > 0:
            expected = "a whole number above 0" if whole else "a number above 0"
            raise ManifestError(f"{where}.parameters.{key}: expected {expected}, found {number!r}")
    return parameters


def _origin(where: str, row: Any, own: Copy, suffixes: tuple[str, ...]) -> Origin:
    row = _mapping(where, row)
    if ("hub" in row) == ("url" in row):
        raise ManifestError(f"{where}: give either 'hub' (with 'path') or 'url'")
    if "hub" in row:
        _check_keys(where, row, {"hub", "path"}, {"revision", "bytes", "sha256"})
        hub, path, revision = _text(where, row, "hub"), _text(where, row, "path"), row.get("revision", "main")
        if not hub or not re.fullmatch(r"[\w.-]+/[\w.-]+", hub):
            raise ManifestError(f"{where}.hub: expected owner/name, found {hub!r}")
        if not isinstance(revision, str) or not _REVISION.fullmatch(revision):
            raise ManifestError(f"{where}.revision: expected a branch, tag or commit, found {revision!r}")
        if not path or path.startswith("/") or ".." in path.split("/"):
            raise ManifestError(f"{where}.path: expected a path inside the repository, found {path!r}")
    else:
        _check_keys(where, row, {"url"}, {"bytes", "sha256"})
        hub, path, revision = None, _text(where, row, "url"), None
        if not path or not re.match(r"https?://[^/]+/", path):
            raise ManifestError(f"{where}.url: expected an http(s) address of a file, found {path!r}")
    name = _plain_name(f"{where}: the end of the address", path.split("?")[0].rsplit("/", 1)[-1])
    if not name.endswith(suffixes):
        raise ManifestError(f"{where}: {name!r} must end in {' or '.join(suffixes)}")
    if name != own.file:
        return Origin(hub, path, revision, Copy(name, _size(where, row), _sha256(where, row)))
    if "bytes" in row or "sha256" in row:
        raise ManifestError(f"{where}: {name} is the row's own file; its bytes and sha256 stand in the row")
    return Origin(hub, path, revision, own)


def _bag(name: str, row: Any, path: Path, checkpoints: Mapping[str, Checkpoint]) -> Bag:
    where = f"{path}: bags.{name}"
    if not isinstance(row, list) or not row:
        raise ManifestError(f"{where}: expected a list of members, found {row!r}")
    members = []
    for i, member in enumerate(row):
        here = f"{where}[{i}]"
        member = _mapping(here, member)
        _check_keys(here, member, {"checkpoint", "weights"}, set())
        checkpoint = member["checkpoint"]
        if checkpoint not in checkpoints:
            known = ", ".join(checkpoints)
            raise ManifestError(f"{here}.checkpoint: found {checkpoint!r}, known: {known}")
        weights = _mapping(f"{here}.weights", member["weights"])
        for source, weight in weights.items():
            if source not in checkpoints[checkpoint].sources:
                allowed = ", ".join(checkpoints[checkpoint].sources)
                raise ManifestError(f"{here}.weights: found {source!r}, {checkpoint} has: {allowed}")
            if (
                not isinstance(weight, int | float)
                or isinstance(weight, bool)
                or not 0 < weight < float("inf")
            ):
                raise ManifestError(f"{here}.weights.{source}: expected a number above 0, found {weight!r}")
        if not weights:
            raise ManifestError(f"{here}.weights: expected at least one source, found none")
        members.append((checkpoint, weights))
    return Bag(name, tuple(members))
