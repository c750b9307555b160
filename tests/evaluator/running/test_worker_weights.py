"""Weights that workers lack: ours alone, fetched by one of them, verified; a refusal is said."""

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import yaml

from evaluator.isolation.sandbox import Outcome
from evaluator.locations import REPOSITORY
from evaluator.running import worker_weights
from tests.hub_server import HubServer

MISSING = Outcome("crashed", "MissingWeights: preset x: 1 weights file is missing", 0.0, 0, "weights fetch x")


@pytest.mark.quick
def test_only_the_kits_own_submission_has_anything_fetched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SDX_DOWNLOAD", raising=False)
    assert worker_weights.lacks_weights(REPOSITORY, MISSING)
    assert not worker_weights.lacks_weights(tmp_path, MISSING), "it would run outside of the sandbox"
    assert not worker_weights.lacks_weights(REPOSITORY, Outcome("crashed", "ValueError: no", 0.0, 0, ""))
    monkeypatch.setenv("SDX_DOWNLOAD", "0")
    assert not worker_weights.lacks_weights(REPOSITORY, MISSING)


def preset_of(folder: Path, content: bytes, url: str, licence: str | None = "MIT") -> Path:
    """A preset whose only checkpoint comes from there."""
    row = {
        "architecture": "htdemucs",
        "sources": ["drums", "bass", "other", "vocals"],
        "file": "net.th",
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
        "origins": [{"url": url}],
        **({"licence": licence} if licence else {}),
    }
    (folder / "manifest.yaml").write_text(yaml.safe_dump({"checkpoints": {"net": row}}))
    step = {"name": "all", "input": "mixture", "stems": row["sources"], "members": [{"model": "net"}]}
    preset = folder / "own.yaml"
    preset.write_text(yaml.safe_dump({"track": "music", "manifest": "manifest.yaml", "steps": [step]}))
    return preset


@pytest.mark.slow
def test_two_workers_of_a_machine_fetch_a_file_once(tmp_path: Path) -> None:
    content = bytes(range(256)) * 4000
    (tmp_path / "served").write_bytes(content)
    with HubServer() as server:
        preset = preset_of(tmp_path, content, server.publish_plain("net.th", tmp_path / "served"))
        with ThreadPoolExecutor(2) as pool:
            assert list(pool.map(worker_weights.fetch, [str(preset)] * 2)) == [None, None]
        assert len(server.gets("net.th")) == 1
    assert (tmp_path / "net.th").read_bytes() == content


@pytest.mark.slow
def test_what_cannot_be_fetched_is_said(tmp_path: Path) -> None:
    content = b"x" * 1000
    (tmp_path / "served").write_bytes(b"y" * 1000)
    with HubServer() as server:
        url = server.publish_plain("net.th", tmp_path / "served")
        reason = worker_weights.fetch(str(preset_of(tmp_path, content, url)))
        assert "the sha256 is" in (reason or "")
        reason = worker_weights.fetch(str(preset_of(tmp_path, content, url, licence=None)))
        assert "licence" in (reason or "").lower()
    assert not (tmp_path / "net.th").exists()
