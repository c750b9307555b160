"""docs/add-a-model.md, as its reader goes through it: a package of its own, installed, and used everywhere."""

import os
import re
import shutil
import site
import subprocess
import sys
from pathlib import Path

import pytest

from tests.evaluator.audio import noise, write_track
from tests.evaluator.small_ensemble import write_tracks
from tests.working_copy import ROOT, copy_working_tree

COMMANDS = """\
pip install --no-deps --no-build-isolation ./sdx23-stack
python make_weights.py
python -m my_submission weights list stack.yaml
python -m my_submission separate song.wav --preset stack.yaml
python run_eval.py --preset stack.yaml --fit
python -m evaluator tune stack.yaml --out tuned.yaml
python -m my_submission weights pack . --preset stack.yaml
"""
MORE = {
    "separate": "--device cpu --precision fp32",
    "run_eval.py": "--data tracks --only one --time-factor 100 --out run",
    "tune": "--data tracks --only t* --cache cache --device cpu --precision fp32",
}
"""What the test adds so that it is quick, and the same on any machine."""

_FILE = re.compile(r"^<!-- file: (\S+) -->\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILES = dict(_FILE.findall((ROOT / "docs" / "add-a-model.md").read_text(encoding="utf-8")))


@pytest.fixture(scope="module")
def kit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the working tree with the page's files, and an environment of its own in `env`."""
    try:
        kit = copy_working_tree(tmp_path_factory.mktemp("copy") / "kit")
    except (subprocess.CalledProcessError, FileNotFoundError):
        pytest.skip("the files of the working tree are known to git only")
    package = kit / "sdx23-stack"
    package.mkdir()
    for name, text in FILES.items():
        ((package if name in ("pyproject.toml", "sdx23_stack.py") else kit) / name).write_text(text)
    write_tracks(kit / "tracks")
    write_track(kit, {"song": noise(60_000, seed=1)})
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", kit / "env"], check=True)
    (packages,) = (kit / "env").glob("lib/python*/site-packages")
    (packages / "ours.pth").write_text("\n".join(site.getsitepackages()))
    install = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--no-index",
        "--no-deps",
        "--no-build-isolation",
    ]
    subprocess.run([*install, "--target", packages, package], check=True, cwd=kit)
    return kit


def run(kit: Path, *command: str) -> str:
    """The output of a command of the environment; it must succeed."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("SDX_", "AICROWD_")) and name != "PYTHONPATH"
    }
    python = str(kit / "env" / "bin" / "python")
    done = subprocess.run(
        [python if word == "python" else word for word in command],
        cwd=kit, env=environment, capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout + done.stderr


def documented(kit: Path, word: str) -> str:
    """Run the page's command that has this word in it."""
    (command,) = [line for line in COMMANDS.splitlines() if f" {word} " in f"{line} " and "pip" not in line]
    return run(kit, *command.split(), *MORE.get(word, "").split())


def test_the_example_is_short() -> None:
    assert len(FILES["sdx23_stack.py"].splitlines()) < 80


@pytest.mark.slow
def test_a_network_from_outside_is_used_everywhere(kit: Path) -> None:
    documented(kit, "make_weights.py")
    assert "my_stack" in documented(kit, "list")
    documented(kit, "separate")
    assert sorted(path.name for path in (kit / "stems").rglob("*.wav")) == [
        "bass.wav", "drums.wav", "other.wav", "vocals.wav",
    ]  # fmt: skip
    documented(kit, "run_eval.py")
    assert '"my_stack"' in (kit / "run" / "result.json").read_text()
    assert "my_stack" in documented(kit, "tune")
    assert "my_stack" in (kit / "tuned.yaml").read_text()
    documented(kit, "pack")
    assert (kit / "weights" / "stack.safetensors").is_file()
    (kit / "stack.safetensors").unlink()
    listed = run(kit, *["python", "-m", "my_submission", "weights", "list", "stack"])
    assert str(kit / "weights" / "stack.safetensors") in listed


WRONG = {
    "architecture: stacks": "(did you mean 'stack'?)",
    "architecture: sdx23_stack:NOTHING": "cannot be imported: AttributeError",
    "architecture: nowhere:ARCHITECTURE": "cannot be imported: ModuleNotFoundError",
    "architecture: sdx23_stack:KERNEL": "sdx23_stack:KERNEL is 33, expected an Architecture",
    "parameters: {}": "checkpoints.my_stack.parameters: the key 'width' is missing",
    "parameters: {width: 8, dept: 2}": "unknown key 'dept'; allowed: depth, width (did you mean 'depth'?)",
    "file: stack.onnx": "'stack.onnx' is not a file of stack: it must end in .safetensors or .ckpt",
}
SCRIPT = """
from pathlib import Path
import torch
from safetensors.torch import save_file
from beside import Stack
from my_submission.runtime.pool import load_model
from my_submission.weights import ManifestError, load_manifest

for path in sorted(Path("wrong").glob("*.yaml")):
    try:
        print(path.name, load_manifest(path))
    except ManifestError as error:
        print(error)
row = load_manifest(Path("beside.yaml")).checkpoints["my_stack"]
save_file(Stack(4, 8).state_dict(), "other.safetensors")
for dtype in (torch.float32, torch.bfloat16):
    model = load_model(row, Path("other.safetensors"), torch.device("cpu"), dtype)
    print(tuple(model(torch.zeros(3, 2, 100)).shape))
"""


@pytest.mark.slow
def test_what_is_wrong_is_said_and_an_object_needs_no_entry_point(kit: Path) -> None:
    """A module beside my_submission is enough."""
    manifest = FILES["stack-manifest.yaml"]
    (kit / "wrong").mkdir()
    for number, line in enumerate(WRONG):
        text = re.sub(rf"(?m)^(\s+){line.split(':')[0]}: .*$", rf"\1{line}", manifest)
        (kit / "wrong" / f"{number}.yaml").write_text(text)
    shutil.copyfile(kit / "sdx23-stack" / "sdx23_stack.py", kit / "beside.py")
    (kit / "beside.yaml").write_text(manifest.replace(": stack ", ": beside:ARCHITECTURE "))
    said = run(kit, "python", "-c", SCRIPT).splitlines()
    for line, (number, complaint) in zip(said, enumerate(WRONG.values()), strict=False):
        assert f"{number}.yaml: " in line
        assert complaint in line
    assert said[len(WRONG) :] == 2 * ["(3, 4, 2, 100)"]
