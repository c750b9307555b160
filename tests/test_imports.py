"""The import direction of the packages: who may import whom inside the repository."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("my_submission", "evaluator", "training", "sdx")

# Everything a module of a package may import of our own packages.
ALLOWED = {
    "my_submission": {"my_submission"},
    "evaluator": {"evaluator"},
    "training": {"training", "my_submission", "evaluator"},
    "sdx": {"sdx"},  # names the others' modules, and imports the one that is asked for
}
# Mains of child processes; the evaluator itself never runs a submission.
EXCEPTIONS = {
    "evaluator/isolation/worker.py": {"my_submission"},
    "evaluator/tuning/estimate_worker.py": {"my_submission", "evaluator"},
}
PURE = (
    "my_submission/signal/chunking.py",
    "my_submission/signal/augment.py",
    "my_submission/signal/audio.py",
    "evaluator/measures/sdr.py",
)


def own_imports(path: Path) -> set[str]:
    """Dotted names of our own modules that `path` imports, relative imports resolved."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = list(package[: len(package) - node.level + 1]) if node.level else []
            module = ".".join([*base, *(node.module.split(".") if node.module else [])])
            found |= {module, *(f"{module}.{alias.name}" for alias in node.names)}
    return {name for name in found if name.split(".")[0] in PACKAGES}


def modules() -> list[Path]:
    return sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_one_way(path: Path) -> None:
    name = str(path.relative_to(ROOT))
    allowed = ALLOWED[path.relative_to(ROOT).parts[0]] | EXCEPTIONS.get(name, set())
    wrong = {imported for imported in own_imports(path) if imported.split(".")[0] not in allowed}
    assert not wrong, f"{name} imports {sorted(wrong)}, allowed: {sorted(allowed)}"


@pytest.mark.parametrize("name", PURE)
def test_pure_modules_import_nothing_of_ours(name: str) -> None:
    if name == "evaluator/measures/sdr.py" and not (ROOT / name).exists():
        pytest.fail("evaluator/measures/sdr.py is missing")
    assert own_imports(ROOT / name) == set()
