"""The kit as a package: what the wheel holds, the command `sdx`, and what an installed kit reads and writes.

The slow tests install a wheel, built from a checkout that cannot be written, into an environment that has this one's
packages, and run it in an empty folder.
"""

import ast
import json
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hatchling.builders.wheel import WheelBuilder
from packaging.requirements import Requirement

import evaluator.locations
import my_submission.locations
import sdx.__main__
from evaluator.isolation import said
from evaluator.submitting.import_closure import read_requirements
from tests.evaluator import audio
from tests.evaluator.submissions import write_submission
from tests.working_copy import KIT_FOLDERS, ROOT, copy_working_tree, tracked_files

COMMANDS = (
    *("separate", "weights", "eval", "leaderboard", "compare", "baseline"),
    *("tune", "ablate", "report", "paper", "submit", "dataset", "train"),
    *("serve", "worker", "benchmark", "upload"),
)
EXTRAS = {
    "train": ["training"],
    "service": ["evaluator/service"],
    "oidc": ["evaluator/service/requirements-oidc.txt"],
    "cluster": ["sdx/engines"],
    "papers": ["evaluator/reporting"],
    "test": [
        *("tests", "training", "evaluator/service", "evaluator/service/requirements-oidc.txt"),
        *("sdx/engines", "evaluator/reporting", "docs"),
    ],
}
"""The folders whose requirements.txt an extra installs, or the files."""
KIT_FILES = {"aicrowd.json", "apt.txt", "requirements.txt", "Dockerfile", ".dockerignore"}
# In a submission without `__init__.py` whose own modules are named as the kit's: it finds these, and no other.
LOOKS_AROUND = """
import importlib
import importlib.util

assert importlib.import_module("evaluator").OF_THE_SUBMISSION
for module in ("my_submission.separator", "training"):
    assert importlib.util.find_spec(module) is None, f"the kit's {module} is found"
"""


def wheel_files(root: Path) -> dict[str, str]:
    """{file of the repository: its place in the wheel}."""
    included = WheelBuilder(str(root)).recurse_included_files()
    return {Path(item.path).relative_to(root).as_posix(): item.distribution_path for item in included}


def write_nosy_submission(folder: Path) -> Path:
    """A starter kit's folder that gives a quarter of the mixture for each stem, after LOOKS_AROUND."""
    path = write_submission(folder, "perfect")
    config = path / "my_submission" / "user_config.py"
    config.write_text(f'{config.read_text()}    track = "cinematic"\n\n{LOOKS_AROUND}')
    (path / "evaluator.py").write_text("OF_THE_SUBMISSION = True\n")
    return path


def test_the_wheel_is_the_checkout_without_what_only_developers_use() -> None:
    expected = {"sdx/sdx23_kit.pth": "sdx23_kit.pth"}
    for name in tracked_files():
        if name.startswith("sdx/") and not name.endswith(".pth"):
            expected[name] = name
        elif name in KIT_FILES or name.split("/")[0] in KIT_FOLDERS:
            expected[name] = f"sdx/_kit/{name}"
    expected = {name: place for name, place in expected.items() if not name.startswith("training/records/")}
    assert wheel_files(ROOT) == expected
    assert (ROOT / "sdx" / "sdx23_kit.pth").read_text().strip() == "sdx/_kit"


def test_dependencies_extras_and_version_are_stated_once() -> None:
    metadata = WheelBuilder(str(ROOT)).metadata.core

    def stated(*folders: str) -> set[Requirement]:
        files = [
            ROOT / name if name.endswith(".txt") else ROOT / name / "requirements.txt" for name in folders
        ]
        texts = [file.read_text() for file in files]
        found, unread = read_requirements("\n".join(texts))
        assert not unread
        return set(found)

    assert metadata.version == sdx.__version__
    assert set(map(Requirement, metadata.dependencies)) == stated(".")
    assert set(metadata.optional_dependencies) == set(EXTRAS)
    for extra, folders in EXTRAS.items():
        assert set(map(Requirement, metadata.optional_dependencies[extra])) == stated(*folders)
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    assert set(map(Requirement, build)) <= stated("tests"), "the tests build with the same packages"


@pytest.mark.parametrize("words", [[], ["help"], ["--help"]], ids=str)
def test_one_screen_lists_every_command(
    words: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert sdx.__main__.main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) < 24
    assert max(map(len, lines)) <= 80
    listed = [line[10:].split()[0] for line in lines[1:]]
    assert sorted(listed) == sorted(sdx.__main__.commands())
    assert set(COMMANDS) <= set(listed)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_there(
    command: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    with pytest.raises(SystemExit) as ended:
        sdx.__main__.main([command, "--help"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: sdx {command} ")


def test_unknown_commands_are_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert sdx.__main__.main(["seperate"]) == 2
    assert "no command 'seperate'. Did you mean separate?" in capsys.readouterr().err


@pytest.mark.parametrize(
    "locations", [my_submission.locations, evaluator.locations], ids=lambda m: m.__name__
)
def test_what_is_made_goes_to_a_place_that_can_be_written(
    locations: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kit = my_submission.locations if locations is my_submission.locations else evaluator.locations
    monkeypatch.delenv("SDX_HOME", raising=False)
    assert kit.data_folder() == ROOT
    users = "the user's own"
    monkeypatch.setattr("platformdirs.user_data_dir", lambda *_, **__: users)
    with monkeypatch.context() as read_only:
        read_only.setattr(os, "access", lambda path, mode: path != ROOT)
        assert kit.data_folder() == Path(users)
    with monkeypatch.context() as installed:
        installed.setattr(kit, "IS_INSTALLED", True)
        assert kit.data_folder() == Path(users)
        monkeypatch.setenv("SDX_HOME", str(tmp_path))
        assert kit.data_folder() == tmp_path
    assert kit.data_folder() == tmp_path


def test_caches_go_where_caches_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SDX_HOME", raising=False)
    assert evaluator.locations.cache_folder() == ROOT / ".cache"
    monkeypatch.setattr("platformdirs.user_cache_dir", lambda *_, **__: "the user's own")
    monkeypatch.setattr(evaluator.locations, "IS_INSTALLED", True)
    assert evaluator.locations.cache_folder() == Path("the user's own")
    monkeypatch.setenv("SDX_HOME", str(tmp_path))
    assert evaluator.locations.cache_folder() == tmp_path / ".cache"


def test_advice_names_commands_that_are_there(monkeypatch: pytest.MonkeyPatch) -> None:
    assert evaluator.locations.command("eval --only a") == "python run_eval.py --only a"
    assert evaluator.locations.command("leaderboard") == "python -m evaluator leaderboard"
    assert my_submission.locations.command("weights list") == "python -m my_submission weights list"
    for module in (my_submission.locations, evaluator.locations):
        monkeypatch.setattr(module, "IS_INSTALLED", True)
        assert module.command("weights list") == "sdx weights list"


# How the commands of a checkout are written down: by `command`, and where a checkout is meant.
CALLED_SO = {
    *("my_submission/locations.py", "evaluator/locations.py", "my_submission/commands/weights.py"),
    *("training/export.py", "evaluator/commands/tune.py"),  # the second in a file that people keep
    *("my_submission/__main__.py", "evaluator/__main__.py", "training/__main__.py"),
    *("evaluator/commands/evaluate.py", "training/synthesis/__main__.py"),
}

CHECKOUTS = re.compile(r"run_eval\.py|python -m (evaluator|training|my_submission)")


def test_no_other_advice_names_commands_that_only_a_checkout_has() -> None:
    """A submission's repository is one (`submitting/`)."""
    for name in tracked_files():
        if not name.endswith(".py") or name.split("/")[0] not in KIT_FOLDERS or "/submitting/" in name:
            continue
        text = (ROOT / name).read_text(encoding="utf-8")
        if not CHECKOUTS.search(text):
            continue
        tree = ast.parse(text)
        said = {
            node.lineno
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
            if CHECKOUTS.search(node.value)
        }
        said -= {
            node.value.lineno
            for node in ast.walk(tree)
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        }
        assert not said or name in CALLED_SO, f"{name}: lines {sorted(said)}: use `command`"


def test_the_submission_meant_is_that_of_the_folder_or_the_kits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(write_submission(tmp_path, "perfect"))
    assert evaluator.locations.submission_folder() == ROOT
    monkeypatch.setattr(evaluator.locations, "IS_INSTALLED", True)
    assert evaluator.locations.submission_folder() == tmp_path / "perfect"
    monkeypatch.chdir(tmp_path)
    assert evaluator.locations.submission_folder() == ROOT


def test_a_submission_finds_its_own_modules_with_the_kit_on_the_path(tmp_path: Path) -> None:
    submission = write_nosy_submission(tmp_path)
    folders = [tmp_path / "mixtures", tmp_path / "predictions"]
    for folder in folders:
        folder.mkdir()
    worker = ROOT / "evaluator" / "isolation" / "worker.py"
    wrapper = ROOT / "my_submission" / "aicrowd_wrapper.py"
    for request, answer in {
        "construct": said.Ready(event="ready", provenance=None),
        "describe": said.Described(event="described", track="cinematic", stems=None),
    }.items():
        done = subprocess.run(
            [sys.executable, "-P", worker, submission, *folders, wrapper],
            cwd=submission, env={**os.environ, "PYTHONPATH": str(ROOT)},
            input=json.dumps({"op": request}), capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert said.parse(done.stdout) == answer, done.stderr


def write_song(path: Path) -> Path:
    soundfile.write(path, 0.1 * np.random.default_rng(0).standard_normal((8000, 2)), 44_100)
    return path


@dataclass(frozen=True)
class Place:
    """An environment with the kit, an empty folder to run it in, and the home of its user."""

    environment: Path
    empty: Path
    home: Path

    def run(self, *command: object, folder: Path | None = None) -> str:
        """What a program of the environment prints, which must succeed; run in the empty folder, or another."""
        name, *rest = map(str, command)
        variables = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "SDX_HOME")}
        done = subprocess.run(
            [str(self.environment / "bin" / name), *rest],
            cwd=folder or self.empty,
            env={**variables, "HOME": str(self.home), "XDG_DATA_HOME": str(self.home / "data")},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def installed_files(self) -> set[Path]:
        """The files below the environment, but for those that Python keeps of what it compiled."""
        return {path for path in self.environment.rglob("*") if "__pycache__" not in path.parts}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A checkout that nobody may write to, in which there are results and fetched weights of earlier days."""
    folder = copy_working_tree(tmp_path_factory.mktemp("read-only"))
    (folder / ".venv").unlink()
    for name in ("weights/fetched.th", "runs/one/result.json", "training/runs/one/state.pt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("of earlier days")
    folders = [folder, *(path for path in folder.rglob("*") if path.is_dir())]
    for path in folders:
        path.chmod(0o555)
    yield folder
    for path in folders:
        path.chmod(0o755)


READ_ONLY = 'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && exec "$@"'


def unable_to_write(folder: Path, *command: object) -> list[str]:
    """The command, for which `folder` is read-only: root heeds no modes, but a mount of its own."""
    alone = ["unshare", "--mount", "sh", "-c", READ_ONLY, str(folder)] if os.geteuid() == 0 else []
    return [*alone, *map(str, command)]


@pytest.fixture(scope="module")
def place(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Place:
    folder = tmp_path_factory.mktemp("installed")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder / "wheel"]
    subprocess.run(unable_to_write(checkout, *build), cwd=checkout, check=True, capture_output=True)
    (wheel,) = (folder / "wheel").iterdir()
    found = Place(folder / "environment", folder / "empty", folder / "home")
    for made in (found.empty, found.home):
        made.mkdir()
    venv.create(found.environment, with_pip=False, symlinks=True)
    paths = sysconfig.get_paths(vars={"base": str(found.environment), "platbase": str(found.environment)})
    Path(paths["purelib"], "shared.pth").write_text(f"{sysconfig.get_paths()['purelib']}\n")
    python = found.environment / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel]
    subprocess.run([*map(str, install)], check=True, capture_output=True)
    return found


@pytest.mark.slow
class TestInstalled:
    def test_the_wheel_holds_nothing_of_earlier_days(self, place: Place) -> None:
        kit = {path.name for path in place.installed_files()}
        assert not kit & {"fetched.th", "result.json", "state.pt"}
        assert "demo-mdx-vocals.onnx" in kit

    def test_it_says_who_it_is(self, place: Place) -> None:
        assert place.run("sdx", "--version") == f"sdx {sdx.__version__}\n"
        assert place.run("python", "-c", "import my_submission; print(my_submission.MusicSeparationModel)")

    def test_it_evaluates_its_demo_and_writes_to_the_users_folder(self, place: Place) -> None:
        before = place.installed_files()
        printed = place.run("sdx", "eval", "--only", "song_1", "--time-factor", "100")
        assert "song_1  ok" in printed
        assert "mdx-demo" in place.run("sdx", "leaderboard")
        assert (place.home / "data" / "sdx23-kit" / "runs" / "leaderboard.sqlite").is_file()
        assert place.installed_files() == before
        assert not list(place.empty.iterdir())

    def test_it_separates_with_its_demo_weights(self, place: Place, tmp_path: Path) -> None:
        place.run("sdx", "separate", write_song(tmp_path / "song.wav"), "-o", tmp_path / "out")
        assert len(list((tmp_path / "out").rglob("*.wav"))) == 4

    def test_it_lists_weights_and_says_how_to_fetch_them(self, place: Place) -> None:
        listed = place.run("sdx", "weights", "list")
        assert "mdx-demo: 2 files" in listed
        assert "fetch with: sdx weights fetch mdx-c\n" in listed
        assert place.run("python", "-m", "my_submission", "weights", "list") == listed

    def test_a_starter_kit_beside_it_is_evaluated_as_itself(self, place: Place, tmp_path: Path) -> None:
        submission = write_nosy_submission(tmp_path)
        data = audio.write_music(tmp_path / "data", {"a": 20_000})
        place.run("sdx", "eval", "--data", data, "--time-factor", "600", "--no-limits", folder=submission)
        result = tmp_path / "result.json"
        place.run("sdx", "eval", "--submission", submission, "--data", data, "--json", result)
        ran = json.loads(result.read_text())["submission"]
        assert (ran["path"], ran["preset"]) == (str(submission), None)

    def test_a_starter_kit_in_the_folder_is_not_taken_for_it(self, place: Place, tmp_path: Path) -> None:
        submission = write_nosy_submission(tmp_path)
        (submission / "my_submission" / "__init__.py").write_text("raise RuntimeError('not the kit')")
        for start in (["sdx"], ["python", "-m", "sdx"]):
            listed = place.run(*start, "weights", "list", "mdx-demo", folder=submission)
            assert "mdx-demo: 2 files" in listed


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mounts a folder read-only")
def test_a_checkout_that_cannot_be_written_works(checkout: Path, tmp_path: Path) -> None:
    submission = write_submission(tmp_path, "perfect")
    data = audio.write_music(tmp_path / "data", {"a": 20_000})
    command = [sys.executable, checkout / "run_eval.py", "--submission", submission, "--data", data]
    variables = {key: value for key, value in os.environ.items() if key != "SDX_HOME"}
    done = subprocess.run(
        unable_to_write(checkout, *command, "--time-factor", "600"),
        env={**variables, "XDG_DATA_HOME": str(tmp_path / "home"), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "home" / "sdx23-kit" / "runs").glob("*/result.json"))
