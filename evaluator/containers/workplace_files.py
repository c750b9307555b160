"""The folders here that a container has mounted, and what lies in them before it starts.

They are made and removed by the relay, which outlives the evaluator.
"""

import shutil
from pathlib import Path

from evaluator.isolation.sandbox import OWN_WRAPPER, Workplace
from evaluator.locations import REPOSITORY

CODE = "code"
CODE_FILES = (
    "__init__.py",
    *("containers/__init__.py", "containers/first_process.py"),
    *(
        f"isolation/{name}.py"
        for name in (
            *("__init__", "cgroup", "folders", "launch", "namespaces", "process_tree", "root", "seccomp"),
            *("supervisor", "view", "worker"),
        )
    ),
)


def make(root: Path) -> None:
    """Make them: mixtures, predictions, and copies of what process 1 and the worker are made of."""
    workplace = Workplace(root)
    for folder in (workplace.mixtures, workplace.predictions):
        folder.mkdir(parents=True)
        folder.chmod(0o755)
    workplace.predictions.chmod(0o777)  # the user inside is nobody here
    code = root / CODE
    for name in CODE_FILES:
        copy = code / "evaluator" / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(REPOSITORY / "evaluator" / name, copy)
    shutil.copyfile(OWN_WRAPPER, code / OWN_WRAPPER.name)
    for path in (code, *code.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
