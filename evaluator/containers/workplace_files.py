"""The folders here that a container has mounted, and what lies in them before it starts.

They are made and removed by the relay, which outlives the evaluator.
"""

import os
import shutil
import socket
from pathlib import Path

from evaluator.containers import first_process
from evaluator.isolation.process_runner import OWN_WRAPPER
from evaluator.isolation.sandbox import Workplace
from evaluator.locations import REPOSITORY

CODE, CHANNEL = "code", "channel"
CODE_FILES = (
    "__init__.py",
    *("containers/__init__.py", "containers/first_process.py"),
    *(
        f"isolation/{name}.py"
        for name in (
            *("__init__", "cgroup", "folders", "forked", "launch", "namespaced_worker", "namespaces"),
            *("plain_workers", "process_tree", "root", "seccomp", "supervisor", "view", "worker"),
            "worker_spec",
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


def make_channel(root: Path) -> tuple[socket.socket, Path]:
    """A socket that process 1 of a container can connect to, in a folder of its own; it listens. And its path."""
    folder = root / CHANNEL
    folder.mkdir()
    folder.chmod(0o755)
    name = Path(first_process.CHANNEL).name
    listener = socket.socket(socket.AF_UNIX)
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        listener.bind(f"/proc/self/fd/{opened}/{name}")  # a socket's path is short, and ours may be long
    finally:
        os.close(opened)
    (folder / name).chmod(0o666)  # the user inside is nobody here
    listener.listen(1)
    return listener, folder / name
