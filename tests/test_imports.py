"""The import direction of the packages: who may import whom inside the repository."""

import ast
from functools import cache
from pathlib import Path

import pytest

from evaluator.containers.workplace_files import CODE_FILES

ROOT = Path(__file__).parent.parent
STATEMENTS = (ast.stmt, ast.excepthandler, ast.match_case)
"""What imports stand in."""
PACKAGES = ("my_submission", "evaluator", "training", "sdx")

# Everything a module of a package may import of our own packages.
ALLOWED = {
    "my_submission": {"my_submission", "sdx"},
    "evaluator": {"evaluator", "sdx"},
    "training": {"training", "my_submission", "evaluator", "sdx"},
    "sdx": {"sdx"},  # names the others' modules, and imports the one that is asked for
}
# Mains of child processes; the evaluator itself never runs a submission.
EXCEPTIONS = {
    "evaluator/isolation/worker.py": {"my_submission"},
    "evaluator/tuning/estimate_worker.py": {"my_submission", "evaluator"},
    "evaluator/tuning/member_passes.py": {"my_submission"},  # of the latter
}
# Which other rooms of its package a room may import. A module beside the rooms is one of its own; one that is not
# named here may import no room, and every room that is not pure may import it.
ROOMS: dict[str, dict[str, set[str]]] = {
    "my_submission": {
        "signal": set(),
        "weights": {"signal"},
        "models": {"signal", "weights"},
        "runtime": {"signal", "weights", "models"},
        "ensemble": {"signal", "weights", "models", "runtime"},
        "separator": {"signal", "weights", "models", "runtime", "ensemble"},
        "user_config": {"signal", "ensemble", "separator"},
        "aicrowd_wrapper": {"user_config"},
        "files": {"signal", "weights", "models", "runtime", "ensemble", "separator", "user_config"},
        "__init__": {"files", "separator"},
        "studio": {"signal", "weights", "ensemble", "files"},
        "commands": {"signal", "weights", "models", "runtime", "ensemble", "files", "user_config", "studio"},
        "__main__": {"commands"},
    },
    "evaluator": {
        "measures": set(),
        "isolation": set(),
        "containers": {"isolation"},
        "runs": {"measures", "isolation"},
        "running": {"measures", "isolation", "containers", "runs"},
        "datasets": {"running"},
        "tuning": {"measures", "isolation", "running", "runs"},
        "reporting": {"measures", "isolation", "running", "runs"},
        "submitting": {"isolation", "running", "runs"},
        "service": {"measures", "isolation", "running", "runs", "reporting"},
        "commands": {
            *("measures", "isolation", "running", "runs", "datasets", "tuning", "reporting", "submitting"),
            "service",
        },
        "__main__": {"commands", "running", "runs", "tuning", "reporting", "service"},
    },
}
# What a submission runs: `my_submission/` alone lies in a starter kit, without the kit's other packages.
SUBMITTED = (
    "signal",
    "weights",
    "models",
    "runtime",
    "ensemble",
    "separator",
    "user_config",
    "aicrowd_wrapper",
)
# What only an extra installs, and the rooms, or the module, that may import it.
OPTIONAL: dict[str, tuple[str, ...]] = dict.fromkeys(
    ("fastapi", "sqlalchemy", "alembic", "argon2", "python_multipart", "joserfc"), ("evaluator/service/",)
)
OPTIONAL |= dict.fromkeys(("starlette", "uvicorn"), ("evaluator/service/", "my_submission/studio/"))
OPTIONAL |= dict.fromkeys(("distributed", "dask"), ("sdx/engines/dask.py",))
OPTIONAL |= {"submitit": ("sdx/engines/slurm.py",), "pyarrow": ("evaluator/tables.py",)}
OPTIONAL |= {"matplotlib": ("evaluator/reporting/figures.py", "training/curves.py")}
PURE = (
    "my_submission/signal/chunking.py",
    "my_submission/signal/augment.py",
    "my_submission/signal/audio.py",
    "my_submission/signal/rates.py",
    *sorted(f"evaluator/measures/{path.name}" for path in (ROOT / "evaluator" / "measures").glob("*.py")),
)


@cache
def imports_of(path: Path) -> tuple[ast.Import | ast.ImportFrom, ...]:
    """The imports of a module that happen when it runs, so none below `if TYPE_CHECKING:`."""
    found, left = list[ast.Import | ast.ImportFrom](), list[ast.AST]([ast.parse(path.read_text())])
    while left:
        node = left.pop()
        if isinstance(node, ast.Import | ast.ImportFrom):
            found.append(node)
        elif not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            left += [child for child in ast.iter_child_nodes(node) if isinstance(child, STATEMENTS)]
    return tuple(found)


def own_imports(path: Path) -> set[str]:
    """Dotted names of our own modules that `path` imports, relative imports resolved.

    What only a type checker imports is left out: nothing depends on it when the code runs.
    """
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    found = set()
    for node in imports_of(path):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        else:
            base = list(package[: len(package) - node.level + 1]) if node.level else []
            module = ".".join([*base, *(node.module.split(".") if node.module else [])])
            found |= {module, *(f"{module}.{alias.name}" for alias in node.names)}
    return {name for name in found if name.split(".")[0] in PACKAGES}


def modules(*packages: str) -> list[Path]:
    return sorted(path for package in packages or PACKAGES for path in (ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_point_one_way(package: str) -> None:
    found = []
    for path in modules(package):
        name = str(path.relative_to(ROOT))
        allowed = ALLOWED[package] | EXCEPTIONS.get(name, set())
        if wrong := {imported for imported in own_imports(path) if imported.split(".")[0] not in allowed}:
            found.append(f"{name} imports {sorted(wrong)}, allowed: {sorted(allowed)}")
    assert not found


def room_of(name: str) -> str | None:
    """The room of a dotted module name: a folder of its package, or a module beside them; None for neither."""
    package, *rest = name.split(".")
    here = ROOT / package
    room = rest[0] if rest else "__init__"
    return room if (here / room).is_dir() or (here / f"{room}.py").is_file() else None


def wrong_rooms(path: Path) -> set[str]:
    """The rooms of its own package that a module imports and that its room may not."""
    package = path.relative_to(ROOT).parts[0]
    table = ROOMS[package]
    room = room_of(".".join(path.relative_to(ROOT).with_suffix("").parts))
    imported = {room_of(name) for name in own_imports(path) if name.startswith(f"{package}.")} - {room, None}
    return {other for other in imported if other is not None and other in table} - table.get(
        room or "", set()
    )


@pytest.mark.parametrize("package", ROOMS)
def test_rooms_point_one_way(package: str) -> None:
    found = {
        str(path.relative_to(ROOT)): f"imports the rooms {sorted(wrong)}, which are above its own"
        for path in modules(package)
        if (wrong := wrong_rooms(path))
    }
    assert not found


def test_what_is_submitted_needs_no_other_package_of_ours() -> None:
    others = tuple(package for package in PACKAGES if package != "my_submission")
    for path in (ROOT / "my_submission").rglob("*.py"):
        is_run = room_of(".".join(path.relative_to(ROOT).with_suffix("").parts)) in SUBMITTED
        if is_run and any(each in path.read_text() for each in others):  # few are worth parsing
            wrong = {name for name in own_imports(path) if name.startswith(others)}
            assert not wrong, f"{path.relative_to(ROOT)} imports {sorted(wrong)}"


@pytest.mark.parametrize("package", ROOMS)
def test_the_table_of_rooms_is_complete_and_without_circles(package: str) -> None:
    table, done = ROOMS[package], set[str]()
    folders = {path.name for path in (ROOT / package).iterdir() if (path / "__init__.py").is_file()}
    assert folders <= set(table)
    while ready := {room for room, allowed in table.items() if room not in done and allowed <= done}:
        done |= ready
    assert done == set(table)


def test_what_is_optional_is_imported_by_its_own_room_alone() -> None:
    for path in modules():
        nodes = imports_of(path)
        names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
        names |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom) and not node.level}
        for name in {each.split(".")[0] for each in names} & OPTIONAL.keys():
            room = str(path.relative_to(ROOT))
            assert room.startswith(OPTIONAL[name]), f"{room} imports {name}"


@pytest.mark.thorough
def test_what_a_container_is_given_of_ours_is_complete() -> None:
    given = {Path("evaluator") / name for name in CODE_FILES}
    for path in given:
        for name in own_imports(ROOT / path):
            file = Path(*name.split(".")).with_suffix(".py")
            assert file in given or not (ROOT / file).is_file(), f"{path} imports {name}"


@pytest.mark.parametrize("name", PURE)
def test_pure_modules_import_nothing_of_ours(name: str) -> None:
    """Or at most each other, within their room."""
    room = name.rpartition("/")[0]
    pure = {other.removesuffix(".py").replace("/", ".") for other in PURE if other.startswith(f"{room}/")}
    imported = {
        each for each in own_imports(ROOT / name) if (ROOT / f"{each.replace('.', '/')}.py").is_file()
    }
    assert imported <= pure
