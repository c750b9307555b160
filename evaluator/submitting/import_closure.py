"""Which modules a package imports, read from its source: those of its own repository, and those of others.

A manifest names modules, too: those of other people's architectures. Of imports only statements count;
`importlib.import_module` with a computed name does not show here (a dry run shows it).
"""

import ast
import importlib.metadata
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

ENTRY_POINTS = "sdx23.architectures"
"""The group in which packages make architectures known to a kit of our layout."""


@dataclass(frozen=True)
class Import:
    """An absolute module name and the place that imports it; `optional` where the code can do without."""

    module: str
    place: str
    optional: bool

    @property
    def top(self) -> str:
        """The part before the first dot."""
        return self.module.split(".")[0]


@dataclass(frozen=True)
class Closure:
    """What `package` needs: imports of other people's packages, and those of its own that are not there."""

    third_party: tuple[Import, ...]
    missing: tuple[Import, ...]
    unreadable: tuple[str, ...]  # one sentence per file


def closure(root: Path, package: str, named: Sequence[Import] = ()) -> Closure:
    """Follow the imports of every module in `root`/`package`, also into other modules and packages of `root`.

    What is imported by a module that the code can do without is optional, too. named: further imports to follow.
    """
    todo = [(path, False) for path in sorted((root / package).rglob("*.py"))]
    seen = dict(todo)
    third_party: list[Import] = []
    missing: list[Import] = []
    unreadable: dict[Path, str] = {}

    def follow(found: Iterable[Import]) -> None:
        for item in found:
            if item.top in sys.stdlib_module_names:
                continue
            if not _is_module(root, item.top):
                (missing if item.top == package else third_party).append(item)
            elif (resolved := _resolve(root, item.module)) is None:
                missing.append(item)
            elif resolved not in seen or (seen[resolved] and not item.optional):
                seen[resolved] = item.optional
                todo.append((resolved, item.optional))

    follow(named)
    while todo:
        path, spared = todo.pop()
        try:
            found = [replace(item, optional=item.optional or spared) for item in imports(path, root)]
        except (SyntaxError, ValueError) as error:  # ValueError: bytes that are no text
            unreadable[path] = f"{path.relative_to(root)}: {error}"
            continue
        follow(found)
    required = [item for item in missing if not item.optional]
    return Closure(tuple(third_party), tuple(required), tuple(unreadable.values()))


def imports(path: Path, root: Path) -> Iterator[Import]:
    """The imports of one file, relative ones resolved; those for type checkers only are left out."""
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    folder = path.relative_to(root).parts[:-1]
    for node, optional in _import_nodes(tree.body, optional=False):
        place = f"{path.relative_to(root).as_posix()}:{node.lineno}"
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, place, optional)
        else:
            base = folder[: len(folder) - node.level + 1] if node.level else ()
            module = ".".join([*base, *(node.module.split(".") if node.module else [])])
            names = [alias.name for alias in node.names]
            if _is_package(root, module):
                yield from (Import(_submodule(root, module, name), place, optional) for name in names)
            else:
                yield Import(module, place, optional)


def _import_nodes(
    body: Iterable[ast.AST], optional: bool
) -> Iterator[tuple[ast.Import | ast.ImportFrom, bool]]:
    for node in body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            yield node, optional
        elif isinstance(node, ast.If) and _names(node.test) & {"TYPE_CHECKING"}:
            yield from _import_nodes(node.orelse, optional)
        elif isinstance(node, ast.Try):
            caught = {name for handler in node.handlers for name in _names(handler.type)}
            guarded = bool(caught & {"ImportError", "ModuleNotFoundError", "Exception"})
            yield from _import_nodes(node.body, optional or guarded)
            rest = [*node.orelse, *node.finalbody, *(s for h in node.handlers for s in h.body)]
            yield from _import_nodes(rest, optional or guarded)
        else:
            yield from _import_nodes(ast.iter_child_nodes(node), optional)


def _names(node: ast.AST | None) -> set[str]:
    nodes = [] if node is None else list(ast.walk(node))
    names = {item.id for item in nodes if isinstance(item, ast.Name)}
    return names | {item.attr for item in nodes if isinstance(item, ast.Attribute)}


def _is_module(root: Path, module: str) -> bool:
    return _resolve(root, module) is not None or (root / module.replace(".", "/")).is_dir()


def _is_package(root: Path, module: str) -> bool:
    return bool(module) and (root / module.replace(".", "/")).is_dir()


def _submodule(root: Path, package: str, name: str) -> str:
    """`package.name` if that is a module, else `package`, whose attribute it then is."""
    return f"{package}.{name}" if _is_module(root, f"{package}.{name}") else package


def _resolve(root: Path, module: str) -> Path | None:
    """The file of one of the repository's modules."""
    base = root / module.replace(".", "/")
    candidates = (base.with_name(f"{base.name}.py"), base / "__init__.py")
    return next((path for path in candidates if path.is_file()), None)


def architecture_imports(architectures: Mapping[str, str]) -> tuple[list[Import], list[Import]]:
    """What the architectures of a preset's checkpoints, {checkpoint: architecture}, have the kit import.

    Returns modules that rows name, which may be in the repository, and those of installed packages' entry points,
    which the package alone makes known.
    """
    installed = {entry.name: entry.module for entry in importlib.metadata.entry_points(group=ENTRY_POINTS)}
    modules: list[Import] = []
    packages: list[Import] = []
    for checkpoint, name in architectures.items():
        place = f"architecture of {checkpoint}"
        if ":" in name:
            modules.append(Import(name.split(":")[0].strip(), place, optional=False))
        elif name in installed:
            packages.append(Import(installed[name], place, optional=False))
    return modules, packages


def read_requirements(text: str) -> tuple[list[Requirement], list[str]]:
    """(the packages of a requirements.txt, its lines that name none in a way we can read)."""
    packages, unread = [], []
    for line in text.splitlines():
        stripped = line.split(" #")[0].strip()
        if not stripped or stripped.startswith("#"):
            continue
        try:
            packages.append(Requirement(stripped))
        except InvalidRequirement:
            unread.append(stripped)
    return packages, unread


def not_covered(third_party: Sequence[Import], requirements: Sequence[Requirement]) -> list[Import]:
    """The imports that `requirements` do not provide, judging by what is installed here; one per package."""
    provided = _with_dependencies(requirements)
    by_module = importlib.metadata.packages_distributions()
    uncovered: dict[str, Import] = {}
    for item in third_party:
        names = {canonicalize_name(name) for name in by_module.get(item.top, [item.top])}
        if not item.optional and not names & provided:
            uncovered.setdefault(item.top, item)
    return list(uncovered.values())


def distribution_of(module: str, by_module: Mapping[str, Sequence[str]] | None = None) -> str:
    """The package that brings a module, for a line of requirements.txt."""
    known = importlib.metadata.packages_distributions() if by_module is None else by_module
    return known[module][0] if known.get(module) else module


def _with_dependencies(requirements: Sequence[Requirement]) -> set[str]:
    """Names of the packages that installing these brings here, themselves included."""
    provided: set[str] = set()
    todo = [(item.name, frozenset(item.extras)) for item in requirements if _applies(item, frozenset())]
    seen = set(todo)
    while todo:
        name, extras = todo.pop()
        provided.add(canonicalize_name(name))
        try:
            lines = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        for requirement in map(Requirement, lines):
            entry = (requirement.name, frozenset(requirement.extras))
            if _applies(requirement, extras) and entry not in seen:
                seen.add(entry)
                todo.append(entry)
    return provided


def _applies(requirement: Requirement, extras: frozenset[str]) -> bool:
    marker = requirement.marker
    return marker is None or any(marker.evaluate({"extra": extra}) for extra in (extras or {""}))
