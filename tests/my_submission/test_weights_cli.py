"""`python -m my_submission weights …` as a user types it, on a preset of one's own and a loopback server."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from my_submission.__main__ import main
from my_submission.weights import WeightsError, WrongContent, find, verify
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
    assert f'to submit {preset}, make "{preset}" the preset in my_submission/user_config.py' in fetched
    assert f"verified (published sha256)            {net}" in run(capsys, "list", preset)
    assert "1 right, 0 wrong, 0 missing" in run(capsys, "verify", preset)


def test_verify_moves_a_wrong_file_aside_and_fails(capsys: pytest.CaptureFixture[str], preset: Path) -> None:
    net = preset.parent / "my_net.th"
    net.write_bytes(b"WEIGHTS")
    assert "WRONG, see verify" in run(capsys, "list", preset)
    assert net.exists(), "listing moves nothing"
    verified = run(capsys, "verify", preset, code=1)
    assert f"it was moved to {net}.rejected1" in verified
    assert "0 right, 1 wrong, 0 missing" in verified
    assert not net.exists()
    assert "not here, so not verified: my_net" in run(capsys, "verify", preset)


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
def test_a_name_that_is_nothing_lists_what_is(capsys: pytest.CaptureFixture[str], action: str) -> None:
    failed = run(capsys, action, "mdx-z", code=1)
    assert "error: 'mdx-z' is no preset (cdx-b, " in failed
    assert "bag (htdemucs_ft)" in failed
    assert "or checkpoint (Kim_Vocal_1, " in failed


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
    assert f"error: not here: my_net; first: python -m my_submission weights fetch {preset}" in failed
    assert not (tmp_path / "submission").exists()


def test_pack_refuses_rows_of_another_manifest(capsys: pytest.CaptureFixture[str], preset: Path) -> None:
    run(capsys, "fetch", preset)
    failed = run(capsys, "pack", preset.parent / "submission", "--preset", preset, code=1)
    assert "error: my_net is defined in" in failed


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
