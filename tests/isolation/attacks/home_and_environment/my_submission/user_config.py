"""Promise 2: neither the user's home, nor tokens in the environment, nor traces of others are there."""

import os
import pwd
from pathlib import Path

from my_submission.attack import WORLD, Model, attempt, read

NAMES = (
    ".ssh",
    ".aws",
    ".netrc",
    ".config",
    ".bash_history",
    ".cache",
    ".gitconfig",
    ".docker",
    ".kube",
    ".pypirc",
)
# An image has its own.
SYSTEM = () if WORLD["system"] == "docker" else (
    "/etc/shadow", "/etc/machine-id", "/etc/hostname", "/etc/ssh", "/etc/sudoers", "/etc/krb5.keytab", "/var/log",
    "/var/spool", "/etc/ssl/private", "/etc/pip.conf", "/etc/fstab", "/boot", "/etc/environment",
)  # fmt: skip


class MySeparationModel(Model):
    def attack(self) -> None:
        for name in WORLD["variables"]:
            attempt(f"variable {name}", lambda of=name: os.environ.get(of))
        attempt(
            "secrets in the environment",
            lambda: [n for n, v in os.environ.items() if v.startswith("secret-")],
        )
        attempt("its first environment", lambda: "secret-" in (Path("/proc/self/environ").read_text()))
        homes = {WORLD["home"], os.environ["HOME"], str(Path.home()), "/root", "/home", *_homes()}
        for home in homes:
            for name in NAMES:
                attempt(
                    f"{home}/{name}",
                    lambda path=f"{home}/{name}": os.listdir(path) if os.path.isdir(path) else read(path),
                )
        for path in (
            *SYSTEM,
            f"{WORLD['home']}/.cache/huggingface/token",
            f"{WORLD['home']}/.cache/torch/hub/secret",
        ):
            attempt(path, lambda at=path: os.listdir(at) if os.path.isdir(at) else read(at))
        for variable in ("TMPDIR", "HOME", "TEMP") if SYSTEM else ():
            attempt(f"what is in {variable}", lambda name=variable: _strangers(os.environ[name]))


def _homes() -> set[str]:
    return {entry.pw_dir for entry in pwd.getpwall() if entry.pw_dir != "/"}


def _strangers(folder: str) -> object:
    """Way points to what is shown lie below /tmp, too: folders without anything in them but that."""
    return [name for name in os.listdir(folder) if not os.path.isdir(f"{folder}/{name}")]
