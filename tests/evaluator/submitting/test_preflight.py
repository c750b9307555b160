"""The checklist: each thing a careful person would look at, found wrong and found right."""

import shutil
from pathlib import Path

import pytest

from evaluator.challenge import CINEMATIC, MUSIC, Challenge
from evaluator.submitting import preflight
from evaluator.submitting.checklist import Intent, Laid, check
from evaluator.submitting.configured import Weights, server_like
from evaluator.submitting.git import Repository
from evaluator.submitting.preflight import Check
from evaluator.submitting.preflight_files import check_imports
from tests.evaluator.submit_repository import (
    MANIFEST,
    USER_CONFIG,
    WEIGHTS,
    Workshop,
    git_settings,
    make_workshop,
)

needs_lfs = pytest.mark.skipif(shutil.which("git-lfs") is None, reason="git-lfs is not installed")


@pytest.fixture
def workshop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    for name, value in git_settings(tmp_path).items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("SDX_PRESET", raising=False)
    return make_workshop(tmp_path)


def checklist(workshop: Workshop, track: str | None = None, name: str | None = "one") -> dict[str, Check]:
    """The checks by name, with a dry run that always succeeds."""
    intent = Intent(Repository(workshop.root), name, track, None, lambda laid: Check("dry run", "ok", "ran"))
    return {item.name: item for item in check(intent, lambda item: None).checks}


def failures(checks: dict[str, Check]) -> dict[str, str]:
    return {item.name: item.found for item in checks.values() if item.state == "failed"}


@pytest.mark.thorough
def test_everything_right(workshop: Workshop) -> None:
    checks = checklist(workshop)
    assert {item.name: item.state for item in checks.values()} == dict.fromkeys(checks, "ok")
    assert list(checks)[-1] == "dry run"


def manifest_checks(**changes: object) -> dict[str, Check]:
    return {item.name: item for item in preflight.check_manifest({**MANIFEST, **changes}, MUSIC)}


@pytest.mark.parametrize(
    ("changes", "failed"),
    [
        ({"external_dataset_used": False}, "external data"),
        ({"authors": []}, "authors"),
        ({"authors": ["aicrowd-bot"]}, "authors"),
        ({"authors": ["somebody", ""]}, "authors"),
        ({"challenge_id": "something-else"}, "challenge"),
        ({"challenge_id": CINEMATIC.challenge_id}, "challenge"),
        ({"gpu": "yes"}, "aicrowd.json"),
    ],
)
def test_manifest(changes: dict[str, object], failed: str) -> None:
    assert list(failures(manifest_checks(**changes))) == [failed]


def test_manifest_with_keys_missing() -> None:
    document = {key: value for key, value in MANIFEST.items() if key not in ("authors", "bleeding")}
    (check,) = preflight.check_manifest(document, MUSIC)
    assert (check.state, check.found) == ("failed", "authors is missing, bleeding is missing")


@pytest.mark.thorough
def test_manifest_that_is_no_json(workshop: Workshop) -> None:
    workshop.write("aicrowd.json", "{")
    workshop.commit()
    assert "not valid JSON" in failures(checklist(workshop))["aicrowd.json"]


@pytest.mark.parametrize(
    ("identifier", "challenge", "state"),
    [
        (CINEMATIC.challenge_id, CINEMATIC, "ok"),
        ("their-own-id", CINEMATIC, "failed"),
        (MUSIC.challenge_id, CINEMATIC, "failed"),
        (MUSIC.challenge_id, MUSIC, "ok"),
        ("their-own-id", MUSIC, "failed"),
    ],
)
def test_the_challenge_id_is_the_public_one(identifier: str, challenge: Challenge, state: str) -> None:
    assert preflight.check_challenge_id(identifier, challenge).state == state


@pytest.mark.slow
def test_tracks_have_remotes_of_their_own(workshop: Workshop) -> None:
    assert (
        "tiny is for the music challenge, not for cinematic"
        in failures(checklist(workshop, "cinematic"))["preset"]
    )
    workshop.write("my_submission/user_config.py", USER_CONFIG.replace('"music"', '"cinematic"', 1))
    workshop.manifest(challenge_id=CINEMATIC.challenge_id)
    workshop.commit()
    assert failures(checklist(workshop)) == {"remote": "there is no remote aicrowd-cinematic"}
    workshop.git("remote", "add", "aicrowd-cinematic", str(workshop.server))
    assert failures(checklist(workshop)) == {}


@pytest.mark.thorough
def test_what_is_not_committed(workshop: Workshop) -> None:
    workshop.write("my_submission/user_config.py", USER_CONFIG.replace("tiny", "wrong"))
    workshop.write("new.txt", "")
    checks = checklist(workshop)
    assert failures(checks) == {"commit": "not committed: M my_submission/user_config.py, ?? new.txt"}
    assert checks["preset"].found == "tiny for the music challenge"  # what would be submitted
    assert checks["dry run"].state == "skipped"


@pytest.mark.thorough
def test_a_preset_that_is_wrong(workshop: Workshop) -> None:
    workshop.write("my_submission/user_config.py", USER_CONFIG.replace("tiny", "wrong"))
    workshop.commit()
    assert failures(checklist(workshop)) == {"preset": "preset: found 'wrong'"}


@pytest.mark.thorough
def test_a_preset_that_only_the_environment_has(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDX_PRESET", "mine")
    assert checklist(workshop)["environment"].state == "warning"
    changed = server_like({"SDX_PRESET": "mine", "HF_HUB_CACHE": "/cache", "HOME": "/root"}, Path("/empty"))
    assert changed == {"HOME": "/root", "HF_HOME": "/empty", "TORCH_HOME": "/empty"}


def test_files_the_server_starts_from(workshop: Workshop) -> None:
    workshop.git("rm", "--quiet", "requirements.txt")
    workshop.commit()
    assert failures(checklist(workshop)) == {"files": "not in the commit: requirements.txt"}


@pytest.mark.thorough
def test_modules_that_git_ignores(workshop: Workshop) -> None:
    workshop.write("my_submission/helper.py", "import tools.more\n")
    workshop.write("tools/more.py", "import absent_package\n")
    workshop.write("my_submission/extra.py", "from . import helper\nfrom my_submission.gone import x\n")
    workshop.write(".gitignore", "__pycache__/\nhelper.py\n")
    workshop.commit()
    found = failures(checklist(workshop))["modules"]
    assert found == "not in the commit: my_submission.gone (my_submission/extra.py:2)"


@pytest.mark.thorough
def test_packages(workshop: Workshop) -> None:
    source = """\
        import numpy.linalg, yaml
        from typing import TYPE_CHECKING
        if TYPE_CHECKING:
            import absent_one
        try:
            import absent_two
        except ImportError:
            absent_two = None
        def later():
            import absent_three
    """
    workshop.write("my_submission/more.py", "\n".join(line[8:] for line in source.splitlines()))
    workshop.commit()
    check = checklist(workshop)["packages"]
    assert check.found == (
        "not in requirements.txt: yaml (my_submission/more.py:1), absent_three (my_submission/more.py:10)"
    )
    assert "add PyYAML, absent_three to requirements.txt" in check.advice


@pytest.mark.thorough
def test_packages_of_architectures(workshop: Workshop) -> None:
    """What a manifest row names is imported on the server, too; and requirements.txt is text."""
    workshop.write("networks.py", "import absent_package\n")
    row = Weights("mine", "mine.th", None, None, "sha256", None, "networks:STACK")
    modules, packages = check_imports(workshop.root, [row])
    assert modules.state == "ok"
    assert packages.found == "not in requirements.txt: absent_package (networks.py:1)"
    workshop.write("requirements.txt", "numpy # für alles\n".encode("latin-1"))
    *_, packages = check_imports(workshop.root, [row])
    assert (packages.state, packages.found[:27]) == ("failed", "requirements.txt is no UTF-")


@pytest.mark.thorough
def test_packages_that_come_with_others_are_covered(workshop: Workshop) -> None:
    workshop.write("my_submission/more.py", "import cffi\n")  # soundfile needs it
    workshop.commit()
    assert checklist(workshop)["packages"].state == "ok"


@pytest.mark.thorough
@needs_lfs
def test_weights(workshop: Workshop) -> None:
    workshop.add_weights()
    workshop.write(".gitignore", "__pycache__/\nweights/\n")
    workshop.commit()
    assert failures(checklist(workshop)) == {"weights": "not in the commit: large.bin"}
    workshop.write(".gitignore", "__pycache__/\n")
    workshop.commit()
    checks = checklist(workshop)
    assert failures(checks) == {}
    assert checks["push"].found.endswith("0.0 MB in git and 6.0 MB in git-lfs")
    workshop.write("weights/large.bin", WEIGHTS[:-1])
    workshop.commit()
    assert "the sha256 is" in failures(checklist(workshop))["weights"]


@pytest.mark.thorough
def test_large_files_outside_git_lfs(workshop: Workshop) -> None:
    workshop.write("large.bin", WEIGHTS)
    workshop.commit()
    checks = checklist(workshop)
    assert "large.bin (6.0 MB)" in failures(checks)["git-lfs"]
    assert "git lfs track large.bin" in checks["git-lfs"].advice
    workshop.git("rm", "--quiet", "large.bin")
    workshop.commit()
    checks = checklist(workshop)
    assert list(failures(checks)) == ["push"]  # the commit before still carries it
    assert "git lfs migrate import" in checks["push"].advice


@pytest.mark.thorough
def test_a_detached_head(workshop: Workshop) -> None:
    workshop.git("checkout", "--quiet", "--detach")
    assert failures(checklist(workshop)) == {"branch": "no branch is checked out"}


@pytest.mark.thorough
def test_a_name_that_is_none(workshop: Workshop) -> None:
    assert "no valid name" in failures(checklist(workshop, name="two words"))["tag"]
    assert checklist(workshop, name=None)["tag"].state == "skipped"


@pytest.mark.thorough
def test_modules_that_cannot_be_parsed(workshop: Workshop) -> None:
    workshop.write("my_submission/broken.py", "def f(:\n")
    workshop.commit()
    assert "my_submission/broken.py: invalid syntax" in failures(checklist(workshop))["modules"]


@pytest.mark.thorough
def test_nothing_is_left_behind(workshop: Workshop, tmp_path: Path) -> None:
    seen: list[Laid] = []

    def dry_run(laid: Laid) -> Check:
        seen.append(laid)
        assert (laid.folder / "my_submission" / "user_config.py").is_file()
        assert not (laid.folder / ".git").exists()
        return Check("dry run", "ok", "ran")

    before = workshop.refs()
    check(Intent(Repository(workshop.root), "one", None, None, dry_run), lambda item: None)
    assert not seen[0].folder.parent.exists()
    assert workshop.refs() == before
