"""Which version of the kit this is: a hash of its code, since two checkouts may call themselves the same."""

import hashlib
from functools import lru_cache
from pathlib import Path

from sdx import ROOT

PACKAGES = ("evaluator", "my_submission", "training")
OURS = Path(__file__).resolve().parents[1]  # beside the others in a checkout, around them in a wheel


@lru_cache(maxsize=1)
def kit_sha256() -> str:
    """`sha256_now` as it was when this process first asked, which is the code that it runs."""
    return sha256_now()


def sha256_now() -> str:
    """SHA-256 over names and contents of every module of the kit, as they are on disk."""
    digest = hashlib.sha256()
    for folder in (OURS, *(ROOT / package for package in PACKAGES)):
        for file in sorted(folder.rglob("*.py")):
            name = file.relative_to(folder)
            if name.parts[0] != "_kit":  # the others, which come by themselves
                content = hashlib.sha256(file.read_bytes()).hexdigest()
                digest.update(f"{folder.name}/{name.as_posix()}\n{content}\n".encode())
    return digest.hexdigest()
