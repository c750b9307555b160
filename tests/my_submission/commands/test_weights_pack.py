"""`weights pack`: what a submission needs lies in its folder, verified, and nothing there is overwritten."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from my_submission.weights import WeightsError, WrongContent, find, load_manifest, verify
from my_submission.weights import pack as pack_module
from my_submission.weights import store as store_module
from my_submission.weights.manifest import read_manifests
from my_submission.weights.pack import pack
from my_submission.weights.store import RECORD_FILE, record_sha256, sha256_of
from tests.hub_server import HubServer, without_certificates
from tests.my_submission.commands.own_preset import STEMS, run, write_preset


@pytest.fixture
def server() -> Iterator[HubServer]:
    with without_certificates(), HubServer() as server:
        yield server


@pytest.fixture
def preset(tmp_path: Path, server: HubServer) -> Path:
    return write_preset(tmp_path, server)


def test_pack_without_the_files_says_how_to_get_them(
    capsys: pytest.CaptureFixture[str], preset: Path, tmp_path: Path
) -> None:
    failed = run(capsys, "pack", tmp_path / "submission", "--preset", preset, code=1)
    assert f"error: missing: my_net; first run: python -m my_submission weights fetch {preset}" in failed
    assert not (tmp_path / "submission").exists()


def packed(capsys: pytest.CaptureFixture[str], preset: Path, submission: Path, code: int = 0) -> str:
    (submission / "my_submission").mkdir(parents=True, exist_ok=True)
    return run(capsys, "pack", submission, "--preset", preset, code=code)


def test_pack_takes_a_preset_of_ones_own_along(
    capsys: pytest.CaptureFixture[str], preset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Preset, manifest and weights lie where the submission finds them, pinned, and need nothing from here."""
    run(capsys, "fetch", preset)
    submission = tmp_path / "submission"
    said = packed(capsys, preset, submission)
    presets = submission / "my_submission" / "presets"
    assert 'make "mine" the preset in my_submission/user_config.py there' in said
    assert f"next, in {submission}: git add weights my_submission/presets && git commit" in said
    assert (presets / "mine.yaml").read_bytes() == preset.read_bytes()
    (preset.parent / "my_net.th").unlink()
    monkeypatch.setattr(store_module, "WEIGHTS_FOLDER", submission / "weights")
    row = load_manifest(presets / "rows.yaml").checkpoints["my_net"]
    assert find(row) == submission / "weights" / "my_net.th"
    assert verify(row, find(row)).against == "sha256"
    assert row.origins == ()


def test_packing_again_changes_nothing_and_never_overwrites(
    capsys: pytest.CaptureFixture[str], preset: Path, tmp_path: Path
) -> None:
    run(capsys, "fetch", preset)
    submission = tmp_path / "submission"
    packed(capsys, preset, submission)
    before = {path: path.read_bytes() for path in submission.rglob("*") if path.is_file()}
    packed(capsys, preset, submission)
    assert {path: path.read_bytes() for path in submission.rglob("*") if path.is_file()} == before
    theirs = submission / "my_submission" / "presets" / "mine.yaml"
    theirs.write_text(theirs.read_text().replace("all", "other"))
    assert f"{theirs} already exists and differs from" in packed(capsys, preset, submission, code=1)


def test_a_row_with_a_path_is_packed_under_its_name(
    capsys: pytest.CaptureFixture[str], preset: Path, tmp_path: Path
) -> None:
    """Wherever the file was, and in whatever folder the manifest: the packed row says its name."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "far.th").write_bytes(b"weights")
    row = {"architecture": "htdemucs", "sources": list(STEMS), "path": "../elsewhere/far.th"}
    rows = tmp_path / "far rows.yaml"
    rows.write_text(yaml.safe_dump({"checkpoints": {"my_net": {**row, "path": "elsewhere/far.th"}}}))
    preset.write_text(preset.read_text().replace("manifest: rows.yaml", "manifest: ../far rows.yaml"))
    packed(capsys, preset, tmp_path / "submission")
    presets = tmp_path / "submission" / "my_submission" / "presets"
    moved = load_manifest(presets / "far rows.yaml").checkpoints["my_net"]
    assert (moved.file, moved.path, moved.bytes) == ("far.th", None, 7)
    assert (tmp_path / "submission" / "weights" / "far.th").read_bytes() == b"weights"
    assert yaml.safe_load((presets / "mine.yaml").read_text())["manifest"] == "far rows.yaml"


def test_a_manifest_in_the_submission_is_not_rewritten(
    capsys: pytest.CaptureFixture[str], preset: Path, tmp_path: Path
) -> None:
    """It is a file that somebody writes by hand; what does not fit it is said."""
    run(capsys, "fetch", preset)
    presets = tmp_path / "submission" / "my_submission" / "presets"
    presets.mkdir(parents=True)
    for file in ("mine.yaml", "rows.yaml"):
        (presets / file).write_bytes((preset.parent / file).read_bytes())
    (presets / "my_net.th").write_bytes(b"weights")
    before = (presets / "rows.yaml").read_bytes()
    packed(capsys, presets / "mine.yaml", tmp_path / "submission")
    assert (presets / "rows.yaml").read_bytes() == before
    row = {"architecture": "htdemucs", "sources": list(STEMS), "path": "my_net.th"}
    (presets / "rows.yaml").write_text(yaml.safe_dump({"checkpoints": {"my_net": row}}))
    failed = packed(capsys, presets / "mine.yaml", tmp_path / "submission", code=1)
    assert "checkpoints.my_net: give 'file: my_net.th' instead of 'path'" in failed


def test_different_files_of_one_name_are_not_packed_over_each_other(tmp_path: Path) -> None:
    rows = {}
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "net.th").write_bytes(name.encode())
        rows[name] = {"architecture": "htdemucs", "sources": ["vocals"], "path": f"{name}/net.th"}
    (tmp_path / "rows.yaml").write_text(yaml.safe_dump({"checkpoints": rows}))
    both = tuple(read_manifests(tmp_path / "rows.yaml").checkpoints.values())
    with pytest.raises(WeightsError, match=r"one and two are different files with the same name, net\.th"):
        pack(both, {row.name: find(row) for row in both}, tmp_path / "submission")
    assert not (tmp_path / "submission").exists()


def test_a_preset_is_packed_into_a_submission_only(
    capsys: pytest.CaptureFixture[str], preset: Path, tmp_path: Path
) -> None:
    run(capsys, "fetch", preset)
    failed = run(capsys, "pack", tmp_path / "empty", "--preset", preset, code=1)
    assert "expected a submission's folder, found no my_submission/ in it" in failed
    assert not (tmp_path / "empty").exists()


@pytest.fixture
def project_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A weights/ folder with a manifest of three rows: a large file, a small one, one without known hash."""
    folder = tmp_path / "project" / "weights"
    folder.mkdir(parents=True)
    sizes = {"large": 6_000_000, "small": 1000, "unknown": 1000}
    rows: dict[str, dict[str, object]] = {}
    for name, size in sizes.items():
        path = folder / f"{name}.th"
        path.write_bytes(name.encode() * (size // len(name)))
        rows[name] = {"architecture": "htdemucs", "sources": ["vocals"], "file": path.name}
        if name != "unknown":
            rows[name] |= {"sha256": sha256_of(path), "bytes": path.stat().st_size}
    (folder / "demo").mkdir()
    (folder / "demo" / "tiny.th").write_bytes(b"tiny")
    tiny = {"architecture": "htdemucs", "sources": ["vocals"], "file": "tiny.th", "bytes": 4}
    (folder / "demo" / "manifest.yaml").write_text(yaml.safe_dump({"checkpoints": {"tiny": tiny}}))
    (folder / "manifest.yaml").write_text(yaml.safe_dump({"checkpoints": rows}))
    monkeypatch.setattr(store_module, "WEIGHTS_FOLDER", folder)
    monkeypatch.setattr(pack_module, "MANIFEST", folder / "manifest.yaml")
    monkeypatch.setattr(pack_module, "DEMO_MANIFEST", folder / "demo" / "manifest.yaml")
    return folder


def test_pack_makes_a_folder_that_needs_no_internet(
    project_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = tuple(read_manifests(project_weights / "manifest.yaml").checkpoints.values())
    found = {row.name: find(row) for row in rows}
    record_sha256(rows[2], rows[2].copies()["unknown.th"], sha256_of(found["unknown"]))
    submission = tmp_path / "submission"
    subprocess.run(["git", "init", "-q", submission], check=True)
    (submission / ".gitignore").write_text("/weights/*\n!/weights/manifest.yaml\n")
    packed = pack(rows, found, submission)
    folder = submission / "weights"
    assert packed.files == tuple(folder / f"{name}.th" for name in ("large", "small", "unknown"))
    assert packed.lfs_files == (folder / "large.th",)

    moved = read_manifests(folder / "manifest.yaml").checkpoints
    monkeypatch.setattr(store_module, "WEIGHTS_FOLDER", folder)
    assert [verify(row, find(row)).against for row in moved.values()] == ["sha256", "sha256", "recorded"]
    assert {find(row).parent for row in moved.values()} == {folder}

    subprocess.run(["git", "-C", submission, "add", "weights"], check=True)
    staged = subprocess.run(
        ["git", "-C", submission, "ls-files", "weights"], check=True, capture_output=True, text=True
    ).stdout.split()
    names = {
        "large.th",
        "small.th",
        "unknown.th",
        "manifest.yaml",
        RECORD_FILE,
        ".gitattributes",
        ".gitignore",
    }
    assert set(staged) == {f"weights/{name}" for name in names}
    attributes = subprocess.run(
        ["git", "-C", submission, "check-attr", "filter", "weights/large.th", "weights/small.th"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    assert attributes == ["weights/large.th: filter: lfs", "weights/small.th: filter: unspecified"]

    def contents() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    before = contents()
    pack(rows, found, submission)
    assert contents() == before, "packing twice changes nothing"


def test_pack_copies_contents_of_links_and_packs_in_place(project_weights: Path, tmp_path: Path) -> None:
    rows = tuple(read_manifests(project_weights / "manifest.yaml").checkpoints.values())
    real = (project_weights / "small.th").rename(tmp_path / "blob")
    (project_weights / "small.th").symlink_to(real)
    packed = pack(rows, {row.name: find(row) for row in rows}, project_weights.parent)
    assert all(path.parent == project_weights and not path.is_symlink() for path in packed.files)
    assert (project_weights / "small.th").read_bytes() == real.read_bytes()


def test_pack_verifies_before_it_copies(project_weights: Path, tmp_path: Path) -> None:
    rows = tuple(read_manifests(project_weights / "manifest.yaml").checkpoints.values())
    (project_weights / "small.th").write_bytes(b"cut")
    with pytest.raises(WrongContent):
        pack(rows, {row.name: find(row) for row in rows}, tmp_path / "submission")
    assert not (tmp_path / "submission").exists()


def test_pack_takes_demo_models_along(project_weights: Path, tmp_path: Path) -> None:
    rows = tuple(read_manifests(project_weights / "demo" / "manifest.yaml").checkpoints.values())
    pack(rows, {"tiny": find(rows[0])}, tmp_path)
    moved = read_manifests(
        tmp_path / "weights" / "manifest.yaml", tmp_path / "weights" / "demo" / "manifest.yaml"
    )
    assert find(moved.checkpoints["tiny"]) == tmp_path / "weights" / "demo" / "tiny.th"


def test_a_preset_is_packed_under_the_name_by_which_a_submission_finds_it(
    capsys: pytest.CaptureFixture[str], preset: Path, tmp_path: Path
) -> None:
    """Whatever its suffix, and wherever a link to it leads: its manifest is the one beside the link."""
    run(capsys, "fetch", preset)
    (tmp_path / "kept").mkdir()
    preset.rename(tmp_path / "kept" / "third.yaml")
    linked = preset.with_name("mine.yml")
    linked.symlink_to(tmp_path / "kept" / "third.yaml")
    said = packed(capsys, linked, tmp_path / "submission")
    presets = tmp_path / "submission" / "my_submission" / "presets"
    assert 'make "mine" the preset' in said
    assert sorted(path.name for path in presets.iterdir()) == ["mine.yaml", "rows.yaml"]
    assert not (presets / "mine.yaml").is_symlink()


def test_a_manifest_does_not_take_its_presets_place(
    capsys: pytest.CaptureFixture[str], preset: Path, tmp_path: Path
) -> None:
    run(capsys, "fetch", preset)
    other = preset.parent / "rows" / "mine.yaml"
    other.parent.mkdir()
    (preset.parent / "rows.yaml").rename(other)
    (preset.parent / "my_net.th").rename(other.parent / "my_net.th")
    preset.write_text(preset.read_text().replace("rows.yaml", "rows/mine.yaml"))
    failed = packed(capsys, preset, tmp_path / "submission", code=1)
    assert f"{preset} and its manifest, {other}, would both be mine.yaml in" in failed
    assert not (tmp_path / "submission" / "weights").exists()


def test_a_manifest_of_bags_alone_is_packed(
    capsys: pytest.CaptureFixture[str], preset: Path, tmp_path: Path
) -> None:
    member = {"checkpoint": "demo-scnet-4stem", "weights": dict.fromkeys(STEMS, 1)}
    rows = preset.parent / "rows.yaml"
    rows.write_text(yaml.safe_dump({"bags": {"my_net": [member]}}))
    packed(capsys, preset, tmp_path / "submission")
    presets = tmp_path / "submission" / "my_submission" / "presets"
    assert (presets / "rows.yaml").read_bytes() == rows.read_bytes()


def test_git_takes_files_of_any_name_as_they_are_meant(tmp_path: Path) -> None:
    """Spaces end a pattern in .gitattributes, and brackets mean other characters."""
    name = 'my "net" [v2] ü.th'
    (tmp_path / name).write_bytes(b"weights" * 1_000_000)
    row = {"architecture": "htdemucs", "sources": ["vocals"], "path": name}
    (tmp_path / "rows.yaml").write_text(yaml.safe_dump({"checkpoints": {"net": row}}))
    rows = tuple(read_manifests(tmp_path / "rows.yaml").checkpoints.values())
    submission = tmp_path / "submission"
    subprocess.run(["git", "init", "-q", submission], check=True)
    (submission / ".gitignore").write_text("/weights/*\n")
    pack(rows, {"net": find(rows[0])}, submission)

    def git(*words: str) -> str:
        quiet = ["git", "-c", "core.quotePath=false", "-C", str(submission)]
        return subprocess.run([*quiet, *words], check=True, capture_output=True, text=True).stdout

    assert git("check-attr", "-z", "filter", f"weights/{name}") == f"weights/{name}\0filter\0lfs\0"
    shown = git("ls-files", "-z", "--others", "--exclude-standard", "weights").split("\0")
    assert f"weights/{name}" in shown
