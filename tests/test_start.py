"""What a process that separates need not do before it begins."""

import gc
import subprocess
import sys

import pytest

from sdx.imports import imported_for_good


@pytest.mark.thorough
def test_networks_are_loaded_without_what_only_compilers_need() -> None:
    code = (
        "import sys\n"
        "from my_submission.separator import MusicSeparationModel\n"
        "MusicSeparationModel(device='cpu', precision='fp32')\n"
        "print([name for name in ('sympy', 'torch._dynamo', 'torch._inductor') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_no_garbage_is_looked_for_among_a_processs_first_imports(monkeypatch: pytest.MonkeyPatch) -> None:
    frozen: list[bool] = []
    monkeypatch.setattr(gc, "freeze", lambda: frozen.append(gc.isenabled()))
    with imported_for_good():
        assert gc.isenabled(), "torch is here: nothing is to be gained"
    monkeypatch.delitem(sys.modules, "torch")
    with imported_for_good():
        assert not gc.isenabled()
    assert frozen == [False]
    assert gc.isenabled()
