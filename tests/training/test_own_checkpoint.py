"""A user's own checkpoint from start to end: trained, exported, listed, verified, packed, ready to submit."""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from evaluator.submitting.checklist import Intent, check
from evaluator.submitting.git import Repository
from evaluator.submitting.preflight import Check
from my_submission.__main__ import main as my_submission
from my_submission.ensemble.preset_reader import load_preset
from tests.evaluator.submit_repository import git_settings
from tests.working_copy import copy_working_tree
from training.__main__ import main as training
from training.config import parse_config
from training.fit import fit

PRESET = """\
challenge: music
manifest: my-manifest.yaml
steps:
  - name: vocals
    input: mixture
    stems: [vocals]
    residual: instrumental
    members: [{model: tiny-mdx_net}]
  - name: instruments
    input: instrumental
    stems: [bass, drums, other]
    consistency: true
    members: [{model: tiny-htdemucs}]
"""


def exported(
    documents: dict[str, dict[str, Any]], folder: Path, capsys: pytest.CaptureFixture[str]
) -> dict[str, Any]:
    """Train a step of the two kinds in PRESET, export it to `folder`; the manifest that was printed."""
    checkpoints: dict[str, Any] = {}
    for document in (documents["mdx_net"], documents["htdemucs"]):
        run = folder.with_name(f"run-{document['name']}")
        fit(parse_config({**document, "optimisation": {**document["optimisation"], "steps": 1}}), run)
        capsys.readouterr()
        assert training(["export", str(run), "--to", str(folder)]) == 0
        printed = capsys.readouterr().out
        assert printed.startswith(f"# For a manifest in {folder}, such as {folder}/my-manifest.yaml;")
        checkpoints |= yaml.safe_load(printed)["checkpoints"]
    return {"checkpoints": checkpoints}


@pytest.fixture
def kit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository to submit from: the working tree, committed, with its authors named."""
    for name, value in git_settings(tmp_path).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("SDX_PRESET", raising=False)
    try:
        kit = copy_working_tree(tmp_path / "kit")
    except (subprocess.CalledProcessError, FileNotFoundError):
        pytest.skip("the files of the working tree are known to git only")
    subprocess.run(["git", "init", "-q", "--initial-branch=main", kit], check=True)
    commit(kit, ".")
    return kit


def commit(kit: Path, *paths: str) -> None:
    subprocess.run(["git", "-C", kit, "add", *paths], check=True)
    subprocess.run(["git", "-C", kit, "commit", "-qm", "Change"], check=True)


@pytest.mark.slow
def test_the_whole_way(
    documents: dict[str, dict[str, Any]],
    kit: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    models = tmp_path / "models"
    manifest = exported(documents, models, capsys)
    (models / "my-manifest.yaml").write_text(yaml.safe_dump(manifest))
    preset = models / "mine.yaml"
    preset.write_text(PRESET)
    assert set(load_preset(preset).checkpoints) == set(manifest["checkpoints"])

    for action in ("list", "verify"):
        assert my_submission(["weights", action, str(preset)]) == 0
        assert capsys.readouterr().out.count("verified (published sha256)") == 2
    assert my_submission(["weights", "pack", str(kit), "--preset", str(preset)]) == 0
    printed = capsys.readouterr().out
    assert 'make "mine" the preset in my_submission/user_config.py' in printed
    assert "git add weights my_submission/presets" in printed

    for file in models.iterdir():
        file.unlink()  # from here on there is only what was packed
    config = kit / "my_submission" / "user_config.py"
    config.write_text(config.read_text().replace('"mdx-demo"', '"mine"'))
    commit(kit, "weights", "my_submission/presets", "my_submission/user_config.py")
    intent = Intent(Repository(kit), "one", None, None, lambda laid: Check("dry run", "ok", "ran"))
    checks = {item.name: item for item in check(intent, lambda item: None).checks}
    assert (checks["preset"].state, checks["preset"].found) == ("ok", "mine for the music challenge")
    assert checks["weights"].state == "ok", checks["weights"].found
    assert checks["weights"].found.startswith("2 files, ")
    assert checks["modules"].state == "ok", checks["modules"].found
    assert checks["packages"].state == "ok", checks["packages"].found
