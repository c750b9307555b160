"""Caches of weights that a submission may read: models only, found where the libraries would look for them."""

import os
from pathlib import Path

import pytest

from evaluator import locations
from evaluator.running import sight
from evaluator.running.sight import weights_folders, weights_variables
from tests.evaluator import ordinary_user

CACHES = ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "HF_HOME", "TORCH_HOME", "XDG_CACHE_HOME", "SDX_HOME")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's home with caches in their usual places, and secrets beside them."""
    for name in CACHES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr(sight, "data_folder", lambda: tmp_path / "kit")
    for name in (
        "huggingface/hub/models--a--b/blobs/x",
        "huggingface/hub/datasets--a--b/blobs/y",
        "huggingface/hub/.locks/z",
        "huggingface/token",
        "torch/hub/checkpoints/c.th",
        "torch/hub/trusted_list",
    ):
        (tmp_path / ".cache" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / ".cache" / name).write_text("")
    (tmp_path / "kit" / "weights").mkdir(parents=True)
    (tmp_path / "kit" / "runs").mkdir()
    return tmp_path


def test_models_are_in_sight_and_neither_tokens_nor_data_sets(home: Path) -> None:
    assert set(weights_folders(home / "submission")) == {
        home / "kit" / "weights",
        home / ".cache" / "torch" / "hub" / "checkpoints",
        home / ".cache" / "huggingface" / "hub" / "models--a--b",
    }


@pytest.mark.parametrize(
    ("name", "value", "hub"),
    [
        ("HF_HUB_CACHE", "x", "x"),
        ("HUGGINGFACE_HUB_CACHE", "x", "x"),
        ("HF_HOME", "x", "x/hub"),
        ("HF_HOME", "~/y", "y/hub"),
        ("XDG_CACHE_HOME", "x", "x/huggingface/hub"),
    ],
)
def test_caches_are_where_their_variables_say(
    home: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, hub: str
) -> None:
    monkeypatch.chdir(home)
    monkeypatch.setenv(name, value)
    (home / hub / "models--d--e").mkdir(parents=True)
    assert home / hub / "models--d--e" in weights_folders(home)
    assert weights_variables(home)["HF_HUB_CACHE"] == str(home / hub)


def test_libraries_find_them_with_another_home_and_ask_no_network(home: Path) -> None:
    assert weights_variables(home / "submission") == {
        "SDX_HOME": str(home / "submission"),
        "HF_HUB_CACHE": str(home / ".cache" / "huggingface" / "hub"),
        "HF_HUB_OFFLINE": "1",
        "TORCH_HOME": str(home / ".cache" / "torch"),
    }


def test_a_folder_of_the_kit_that_is_named_is_named_in_full(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The submission runs in another one."""
    monkeypatch.setattr(sight, "data_folder", locations.data_folder)
    monkeypatch.chdir(home)
    monkeypatch.setenv("SDX_HOME", "kit")
    assert weights_variables(home / "submission")["SDX_HOME"] == str(home / "kit")
    assert home / "kit" / "weights" in weights_folders(home / "submission")


def test_without_caches_nothing_is_in_sight(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "nowhere"))
    monkeypatch.setattr(sight, "data_folder", lambda: tmp_path / "nowhere")
    assert weights_folders(tmp_path) == []


AS_USER = """
import os, sys
from pathlib import Path
from evaluator.running.sight import weights_folders
Path(os.environ["HOME"]).chmod(0)
print(weights_folders(Path("/")))
"""


@pytest.mark.thorough
def test_a_home_that_is_closed_to_us_has_none() -> None:
    """As that of root, whose variables an ordinary user may have inherited."""
    with ordinary_user.folder() as folder:
        code = f"import os; os.mkdir({str(folder / 'home')!r}){AS_USER}"
        kept = {name: value for name, value in os.environ.items() if name not in CACHES}
        variables = {"HOME": str(folder / "home"), "SDX_HOME": str(folder / "home")}
        done = ordinary_user.run(["-c", code], {**kept, **variables})
    assert done.stdout == "[]\n", done.stderr
