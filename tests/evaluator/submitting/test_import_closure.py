"""What a package imports, directly and through others, and what of it can be done without."""

import importlib.metadata
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from evaluator.submitting.import_closure import (
    ENTRY_POINTS,
    architecture_imports,
    closure,
    not_covered,
    read_requirements,
)
from tests.working_copy import ROOT, write_files


def needed(root: Path) -> set[str]:
    """The packages without which `main_package` cannot run."""
    return {item.top for item in closure(root, "main_package").third_party if not item.optional}


OPTIONAL = "try:\n    import {}\nexcept ImportError:\n    pass\n"


def test_what_an_optional_module_imports_is_optional(tmp_path: Path) -> None:
    files = {
        "main_package/__init__.py": OPTIONAL.format("tools.far"),
        "tools/far.py": "import tools.farther\nimport absent_one\n",
        "tools/farther.py": "import absent_two\n",
    }
    root = write_files(tmp_path, files)
    assert needed(root) == set()
    assert {item.top for item in closure(root, "main_package").third_party} == {"absent_one", "absent_two"}


@pytest.mark.parametrize("order", [("a", "z"), ("z", "a")])
def test_one_way_that_needs_a_module_is_enough(order: tuple[str, str], tmp_path: Path) -> None:
    """Whichever way is found first."""
    spares, needs = order
    files = {
        f"main_package/{spares}.py": OPTIONAL.format("tools.near"),
        f"main_package/{needs}.py": "import tools.near\n",
        "tools/near.py": "import tools.far\n",
        "tools/far.py": "import absent_one\nimport tools.near\n",
    }
    assert needed(write_files(tmp_path, files)) == {"absent_one"}


def test_an_optional_module_that_is_not_there_is_not_missed(tmp_path: Path) -> None:
    files = {
        "main_package/__init__.py": OPTIONAL.format("tools.far") + OPTIONAL.format("main_package.absent"),
        "tools/far.py": "import tools.absent\n",
    }
    assert closure(write_files(tmp_path, files), "main_package").missing == ()
    write_files(tmp_path, {"main_package/more.py": "import tools.far\n"})
    assert [item.module for item in closure(tmp_path, "main_package").missing] == ["tools.absent"]


@pytest.mark.thorough
def test_the_kit_itself_imports_only_what_its_requirements_bring() -> None:
    requirements, unread = read_requirements((ROOT / "requirements.txt").read_text())
    found = closure(ROOT, "my_submission")
    assert (unread, found.missing, found.unreadable) == ([], (), ())
    assert not_covered(found.third_party, requirements) == []


def test_what_architectures_import_is_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A manifest row is an import that no source shows; an entry point is known by its package alone."""
    installed = [EntryPoint("stack", "stacks.networks:STACK", ENTRY_POINTS)]
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: installed if group else [])
    named = {"a": "mine:NETWORK", "b": "theirs.deep:NETWORK", "c": "stack", "d": "htdemucs"}
    modules, packages = architecture_imports(named)
    assert [item.module for item in packages] == ["stacks.networks"]
    root = write_files(
        tmp_path, {"main_package/__init__.py": "", "mine.py": "import absent_one\n", "stacks.py": ""}
    )
    found = closure(root, "main_package", modules)
    assert {item.module for item in found.third_party} == {"absent_one", "theirs.deep"}
    (deep,) = (item for item in found.third_party if item.module == "theirs.deep")
    assert deep.place == "architecture of b"


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    root = write_files(tmp_path, {"main_package/__init__.py": "", "main_package/bytes.py": "a = '\0'\n"})
    (sentence,) = closure(root, "main_package").unreadable
    assert sentence.startswith(f"{Path('main_package/bytes.py')}: ")
