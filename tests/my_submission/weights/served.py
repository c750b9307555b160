"""A hub and a host on loopback, and a checkpoint of 512,000 bytes that they serve."""

import hashlib
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import huggingface_hub.constants
import pytest
import yaml

from my_submission.weights import Checkpoint
from my_submission.weights.allowance import Patience
from my_submission.weights.manifest import read_manifests
from tests.hub_server import HubServer, without_certificates

HUB_NAME = "owner/nets"
CONTENTS = bytes(range(256)) * 2000  # 512,000 bytes: several blocks
SHA256 = hashlib.sha256(CONTENTS).hexdigest()
QUICK = Patience(connect_seconds=2, read_seconds=2, attempts=3, first_pause_seconds=0.01)


@pytest.fixture
def server() -> Iterator[HubServer]:
    with without_certificates(), HubServer() as server:
        yield server


def clock_without_sleep(pauses: list[float] | None = None) -> SimpleNamespace:
    """A stand-in for the module `time` in one other module only; collects what would have been slept."""
    return SimpleNamespace(sleep=(pauses if pauses is not None else []).append, time=time.time)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub client's cache, for whichever server; it is not made yet."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def hub_cache(server: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The real client talks to `server` and caches in this folder, as HF_ENDPOINT and HF_HUB_CACHE would have it.

    Both are read when the client is imported, so here their results are replaced; the slow test sets the variables.
    """
    constants, cache = huggingface_hub.constants, tmp_path / "hub-cache"
    monkeypatch.setattr(constants, "ENDPOINT", server.endpoint)
    template = server.endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    for module in ("utils._http", "file_download"):
        monkeypatch.setattr(f"huggingface_hub.{module}.time", clock_without_sleep())
    return cache


@pytest.fixture
def net(tmp_path: Path) -> Path:
    path = tmp_path / "served.th"
    path.write_bytes(CONTENTS)
    return path


def rows(folder: Path, *origins: dict[str, str], **changes: object) -> list[Checkpoint]:
    """One checkpoint `net`, in a manifest in `folder`, with the known size and hash of `net`."""
    folder.mkdir(exist_ok=True)
    row = {
        "architecture": "htdemucs",
        "sources": ["vocals"],
        "file": "net.th",
        "bytes": len(CONTENTS),
        "sha256": SHA256,
        "licence": "MIT",
        "origins": list(origins),
        **changes,
    }
    path = folder / "manifest.yaml"
    path.write_text(yaml.safe_dump({"checkpoints": {"net": row}}))
    return list(read_manifests(path).checkpoints.values())


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    """An empty weights_dir."""
    (tmp_path / "weights").mkdir()
    return tmp_path / "weights"


@pytest.fixture
def hub_rows(server: HubServer, hub_cache: Path, net: Path, weights: Path) -> list[Checkpoint]:
    server.publish(HUB_NAME, "folder/net.th", net)
    return rows(weights, {"hub": HUB_NAME, "path": "folder/net.th"})


@pytest.fixture
def url_rows(server: HubServer, hub_cache: Path, net: Path, weights: Path) -> list[Checkpoint]:
    return rows(weights, {"url": server.publish_plain("net.th", net)})


def left_behind(*folders: Path) -> list[str]:
    """Everything on disk that something could take for weights, except what was set aside."""
    files = (path for folder in folders for path in folder.rglob("*") if path.is_file())
    return sorted(
        path.name
        for path in files
        if path.name != "manifest.yaml" and path.stat().st_size and ".rejected" not in path.name
        and path.name not in ("CACHEDIR.TAG", "main") and path.suffix != ".lock"
    )  # fmt: skip
