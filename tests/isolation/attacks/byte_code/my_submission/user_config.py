"""Promise 3: no byte code, .pth file or start-up file is left for the next process of the interpreter.

Where Python looks by itself: beside the sources, below the user's home, in folders that variables name.
"""

import importlib.util
import os
import py_compile
import site
import sys
from pathlib import Path

from my_submission.attack import TOKEN, WORLD, Model, attempt


class MySeparationModel(Model):
    def attack(self) -> None:
        evil = f"/tmp/{TOKEN}.py"
        Path(evil).write_text(f"# {TOKEN}\nraise SystemExit\n")
        sources = [*Path(WORLD["repository"], "evaluator").rglob("*.py"), *Path(__file__).parent.glob("*.py")]
        sources += [Path(WORLD["site_packages"], "numpy", "__init__.py"), Path(os.__file__)]
        sources += [
            Path(WORLD["repository"], "evaluator", "isolation", f"{name}.py")
            for name in ("supervisor", "launch")
        ]
        for source in sources:
            if source.is_relative_to("/tmp") and not source.exists():
                continue  # the kit lies below /tmp, which is the submission's own here
            target = importlib.util.cache_from_source(str(source))
            attempt(f"byte code {target}", lambda to=target: py_compile.compile(evil, to, doraise=True))
        homes = {WORLD["home"], os.environ["HOME"], "/root"}
        for home in homes - {os.environ["HOME"]}:
            user = f"{home}/.local/lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
            for name in ("usercustomize.py", "sitecustomize.py", f"{TOKEN}.pth"):
                attempt(f"{user}/{name}", lambda to=f"{user}/{name}": _write(to))
        for folder in (
            *site.getsitepackages(),
            sys.prefix,
            sys.base_prefix,
            *(each for each in sys.path if each),
        ):
            for name in (f"{TOKEN}.pth", "sitecustomize.py", "pyvenv.cfg", f"{TOKEN}.py"):
                attempt(f"{folder}/{name}", lambda to=f"{folder}/{name}": _write(to))
        for path in (
            "/etc/ld.so.preload",
            "/etc/pip.conf",
            "/etc/profile.d/evil.sh",
            f"{WORLD['home']}/.bashrc",
        ):
            attempt(path, lambda to=path: _write(to))


def _write(path: str) -> object:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    Path(path).write_text(f"import os  # {TOKEN}\n")
    return "written"
