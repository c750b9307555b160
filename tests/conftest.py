"""What holds for every test and for every process that one starts.

One thread for torch: threads that wait for one another on a busy machine turn milliseconds into minutes. Tests
that are about several threads ask for them. Byte code is kept, whatever the environment says, or each of hundreds of
processes would compile the kit anew. And SIGINT and SIGHUP are not ignored, which a process inherits that is started
in the background or with nohup: then what the tests interrupt would not end.
"""

import gc
import itertools
import logging
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

os.environ["OMP_NUM_THREADS"] = "1"
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)

NAME_LENGTH = 30
"""Of a test's own folder, as in pytest: sockets and the like take short paths only."""
_folders = itertools.count()
TOY_PARAMETERS = 10_000
"""A quick test's module of torch has fewer."""


gc.disable()  # what follows imports packages and collects thousands of tests, and nothing of it is garbage


def pytest_collection_finish() -> None:
    """What has been collected stays until the end: garbage is looked for elsewhere.

    And torch's loggers are forgotten, hundreds of them, which its modules hold anyway: pytest goes through all that
    are known, six times a test.
    """
    gc.freeze()
    gc.enable()
    known = logging.root.manager.loggerDict
    for name in [name for name in known if name.startswith("torch.")]:
        del known[name]


@pytest.fixture
def tmp_path(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As pytest's own, which looks through the folders of all earlier tests for a number, and moves a link."""
    name = re.sub(r"\W", "_", request.node.name)[:NAME_LENGTH]
    return tmp_path_factory.mktemp(f"{name}{next(_folders)}", numbered=False)


@pytest.fixture(autouse=True)
def _quick(request: pytest.FixtureRequest) -> None:
    """A test that is marked `quick` starts no process and makes no network."""
    if request.node.get_closest_marker("quick"):
        forbid_what_takes_time(request.getfixturevalue("monkeypatch"))


@pytest.fixture(autouse=True)
def _downloads() -> Iterator[None]:
    """A worker of an engine allows its whole process to fetch weights; where that process is ours, it is undone."""
    before = os.environ.get("SDX_DOWNLOAD")
    yield
    if before is None:
        os.environ.pop("SDX_DOWNLOAD", None)


def forbid_what_takes_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on a process, a network and a session of ONNX Runtime are errors."""
    for target in (
        "subprocess.Popen.__init__", "os.fork", "os.posix_spawn", "multiprocessing.process.BaseProcess.start",
    ):  # fmt: skip
        monkeypatch.setattr(target, refusing(target), raising=False)
    if "onnxruntime" in sys.modules:
        monkeypatch.setattr("onnxruntime.InferenceSession.__init__", refusing("an ONNX session"))
    if "torch" in sys.modules:
        module = sys.modules["torch"].nn.Module
        register = module.register_parameter

        def register_few(self: object, name: str, parameter: Any) -> None:
            if parameter is not None and parameter.numel() > TOY_PARAMETERS:
                pytest.fail(f"a quick test made a network: {type(self).__name__}.{name}, {parameter.numel()}")
            register(self, name, parameter)

        monkeypatch.setattr(module, "register_parameter", register_few)


def refusing(what: str) -> Callable[..., None]:
    """A function that fails the test."""

    def refuse(*arguments: object, **options: object) -> None:
        pytest.fail(f"a quick test used {what}; take the mark `quick` away, or make it a law of its own")

    return refuse
