"""`python -m my_submission weights …` as a user types it, with the user's own preset and a loopback server."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from evaluator.locations import REPOSITORY
from my_submission.__main__ import main
from my_submission.ensemble import preset_reader
from my_submission.weights import WeightsError, WrongContent, find, load_manifest, verify
from my_submission.weights import pack as pack_module
from my_submission.weights import store as store_module
from my_submission.weights.manifest import read_manifests
from my_submission.weights.pack import pack
from my_submission.weights.store import RECORD_FILE, record_sha256, sha256_of
from tests.hub_server import HubServer

STEMS = ("bass", "drums", "other", "vocals")


@pytest.fixture
def server() -> Iterator[HubServer]:
    with HubServer() as server:
        yield server


@pytest.fixture
def preset(tmp_path: Path, server: HubServer) -> Path:
    """A preset file with its manifest beside it; its one checkpoint, 7 bytes long, is on the server only."""
    served = tmp_path / "served"
    served.write_bytes(b"weights")
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "rows.yaml").write_text(
        yaml.safe_dump(
            {
                "checkpoints": {
                    "my_net": {
                        "architecture": "htdemucs",
                        "sources": list(STEMS),
                        "file": "my_net.th",
                        "bytes": 7,
                        "licence": "MIT",
                        "sha256": sha256_of(served),
                        "origins": [{"url": server.publish_plain("my_net.th", served)}],
                    }
                }
            }
        )
    )
    path = folder / "mine.yaml"
    step = {"name": "all", "input": "mixture", "stems": list(STEMS), "members": [{"model": "my_net"}]}
    path.write_text(yaml.safe_dump({"track": "music", "manifest": "rows.yaml", "steps": [step]}))
    return path


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path, code: int = 0) -> str:
    """Run a command; its output, on both streams."""
    assert main(["weights", *map(str, arguments)]) == code
    out, err = capsys.readouterr()
    return out + err


def test_list_fetch_list_verify(capsys: pytest.CaptureFixture[str], preset: Path, server: HubServer) -> None:
    net = preset.parent / "my_net.th"
    listed = run(capsys, "list", preset)
    assert "missing: 1 file, 0.0 MB" in listed
    assert f"missing{' ' * 32}from {server.endpoint}/plain/my_net.th" in listed
    assert f"fetch with: python -m my_submission weights fetch {preset}" in listed

    fetched = run(capsys, "fetch", preset)
    assert f"my_net: {net}" in fetched
    assert "1 file, 0.0 MB: here and verified" in fetched
    assert f"to submit {preset}: python -m my_submission weights pack . --preset {preset}" in fetched
    assert f"verified (published sha256)            {net}" in run(capsys, "list", preset)
    assert "1 right, 0 wrong, 0 missing" in run(capsys, "verify", preset)


def test_a_preset_of_no_challenges_stems_is_not_to_be_submitted(
    capsys: pytest.CaptureFixture[str], preset: Path
) -> None:
    preset.write_text(preset.read_text().replace("track: music", "stems: [vocals, drums]"))
    fetched = run(capsys, "fetch", preset)
    assert f"to use {preset}: python -m my_submission separate --preset {preset} FILE" in fetched
    assert "submit " not in fetched


def test_forms_of_a_row_are_one_file(
    capsys: pytest.CaptureFixture[str], preset: Path, tmp_path: Path
) -> None:
    rows = preset.parent / "rows.yaml"
    document = yaml.safe_load(rows.read_text())
    document["checkpoints"]["my_net"]["forms"] = {"short": {"segment_seconds": 4}}
    rows.write_text(yaml.safe_dump(document))
    written = preset.read_text()
    preset.write_text(written.replace("- model: my_net", "- model: my_net\n  - model: my_net@short"))
    assert "my_net@short" in preset.read_text()
    fetched = run(capsys, "fetch", preset)
    assert "my_net: " in fetched
    assert "1 file, 0.0 MB: here and verified" in fetched
    assert "1 right, 0 wrong, 0 missing" in run(capsys, "verify", preset)
    submission = tmp_path / "submission"
    (submission / "my_submission").mkdir(parents=True)
    assert "1 file for" in run(capsys, "pack", submission, "--preset", preset)
    packed = load_manifest(submission / "my_submission" / "presets" / "rows.yaml").checkpoints
    assert packed["my_net@short"].bytes == packed["my_net"].bytes == 7


def test_what_a_row_of_parts_needs_is_the_files_of_its_parts(capsys: pytest.CaptureFixture[str]) -> None:
    listed = run(capsys, "list", "umxhq")
    assert "umxhq: 4 files, 142.6 MB" in listed
    for stem in STEMS:
        assert f"umxhq_{stem} " in listed
    assert "umxhq_bass" in run(capsys, "list", "umxhq_bass")


def test_a_file_of_unknown_size_that_nobody_serves_has_no_size_and_no_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    row = {"architecture": "htdemucs", "sources": list(STEMS), "file": "my_net.th"}
    (tmp_path / "rows.yaml").write_text(yaml.safe_dump({"checkpoints": {"my_net": row}}))
    listed = run(capsys, "list", tmp_path / "rows.yaml")
    assert "1 file, unknown size; missing: 1 file, unknown size" in listed
    assert f"put your own file here: {tmp_path / 'my_net.th'}" in listed
    assert "fetch with" not in listed


def test_verify_moves_a_wrong_file_aside_and_fails(capsys: pytest.CaptureFixture[str], preset: Path) -> None:
    net = preset.parent / "my_net.th"
    net.write_bytes(b"WEIGHTS")
    assert "WRONG, see verify" in run(capsys, "list", preset)
    assert net.exists(), "listing moves nothing"
    verified = run(capsys, "verify", preset, code=1)
    assert f"it was moved to {net}.rejected1" in verified
    assert "0 right, 1 wrong, 0 missing" in verified
    assert not net.exists()
    assert "missing, so not verified: my_net" in run(capsys, "verify", preset)


def test_verify_leaves_a_file_that_a_row_names_by_path(
    capsys: pytest.CaptureFixture[str], preset: Path
) -> None:
    rows = preset.parent / "rows.yaml"
    document = yaml.safe_load(rows.read_text())
    net = document["checkpoints"]["my_net"]
    del net["file"], net["origins"]
    rows.write_text(yaml.safe_dump({"checkpoints": {"my_net": {**net, "path": "my_net.th"}}}))
    (preset.parent / "my_net.th").write_bytes(b"WEIGHTS")
    verified = run(capsys, "verify", preset, code=1)
    assert "0 right, 1 wrong" in verified
    assert "moved" not in verified
    assert (preset.parent / "my_net.th").exists()


def test_what_cannot_be_fetched_is_an_error_with_a_reason(
    capsys: pytest.CaptureFixture[str], preset: Path, server: HubServer
) -> None:
    rows = preset.parent / "rows.yaml"
    rows.write_text(rows.read_text().replace("plain/my_net.th", "plain/none/my_net.th"))
    failed = run(capsys, "fetch", preset, code=1)
    assert "error: 1 of 1 could not be fetched" in failed
    assert f"{server.endpoint}/plain/none/my_net.th: HTTP 404" in failed
    assert "Traceback" not in failed


@pytest.mark.parametrize("action", ["list", "fetch", "verify"])
@pytest.mark.parametrize(
    ("name", "like"), [("mdx-z", "mdx-c"), ("htdemucs_fx", "htdemucs_ft"), ("Kim_Vocal_3", "Kim_Vocal_2")]
)
def test_a_name_that_is_nothing_is_told_what_is_like_it(
    capsys: pytest.CaptureFixture[str], action: str, name: str, like: str
) -> None:
    failed = run(capsys, action, name, code=1)
    assert (
        f"error: found {name!r} (did you mean {like!r}?); expected a preset, a bag or a checkpoint" in failed
    )
    assert "models` lists" in failed
    assert len(failed) < 300


def test_a_bag_stands_for_its_members(capsys: pytest.CaptureFixture[str]) -> None:
    listed = run(capsys, "list", "htdemucs_ft")
    assert [line.split()[0] for line in listed.splitlines()[1:5]] == [
        f"htdemucs_ft_{stem}" for stem in ("drums", "bass", "other", "vocals")
    ]


def test_a_wrong_preset_is_an_error_not_a_traceback(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "odd.yaml"
    path.write_text("track: radio\nsteps: []\n")
    assert "error: " in run(capsys, "list", path, code=1)
    assert "odd.yaml: no such preset" in run(capsys, "list", tmp_path / "no" / "odd.yaml", code=1)


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


def test_a_manifest_stands_for_its_rows(capsys: pytest.CaptureFixture[str], preset: Path) -> None:
    rows = preset.parent / "rows.yaml"
    assert "missing: 1 file" in run(capsys, "list", rows)
    assert "missing, so not verified: my_net" in run(capsys, "verify", rows)


def test_a_manifest_beside_the_presets_is_no_preset(
    capsys: pytest.CaptureFixture[str], preset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preset_reader, "PRESETS_FOLDER", preset.parent)
    assert preset_reader.preset_names() == ["mine"]
    assert "mine: 1 file" in run(capsys, "list")


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


def test_errors_of_the_package_have_one_base() -> None:
    assert issubclass(WrongContent, WeightsError)
    assert issubclass(WeightsError, RuntimeError)


@pytest.mark.slow
def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    """As in `… models | head -1`."""
    command = [sys.executable, "-u", "-m", "my_submission", "models"]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 0
