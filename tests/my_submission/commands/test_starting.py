"""What only tells, or only parses, starts at once: torch takes seconds to import, and none of it needs any."""

import subprocess
import sys

import pytest

from my_submission.__main__ import COMMANDS
from sdx import ROOT

# Runs a command in a process where nothing may import some packages.
WITHOUT = """
import sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name in sys.argv[1].split(","):
            raise AssertionError(f"{name} is imported")

sys.meta_path.insert(0, Refuse())
from sdx.__main__ import main
sys.exit(main(sys.argv[2:]))
"""


def run_without(packages: str, words: list[str]) -> None:
    command = [sys.executable, "-c", WITHOUT, packages, *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout


@pytest.mark.parametrize(
    "words",
    [[], ["--version"], *([name, "--help"] for name in COMMANDS), ["weights", "fetch", "--help"]],
    ids=" ".join,
)
def test_help_imports_nothing_that_takes_long(words: list[str]) -> None:
    run_without("torch,numpy,av,pydantic,scipy,soundfile,yaml,docker,tqdm,jinja2,huggingface_hub", words)


@pytest.mark.thorough
@pytest.mark.parametrize(
    "words",
    [
        ["models"],
        ["models", "umx", "--json"],
        ["weights", "list"],
        ["weights", "verify", "demo-mdx-vocals"],
        ["train", "--help"],
        ["eval", "--help"],
        ["leaderboard", "--help"],
        ["completion", "zsh"],
    ],
    ids=" ".join,
)
def test_what_only_tells_imports_no_torch(words: list[str]) -> None:
    run_without("torch", words)
