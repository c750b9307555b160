"""What a user does with the real weights, with random ones of the real sizes: fetch, list, construct, pack.

Everything runs in processes of its own, in a copy of the project whose manifest has the true rows; only sizes
and hashes are those of the random files, and plain URLs lead to loopback. The hub is reached through HF_ENDPOINT.
"""

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from my_submission.ensemble.preset_reader import load_preset
from my_submission.schema import read_yaml
from my_submission.weights.checkpoints import Manifest
from my_submission.weights.manifest import WEIGHTS_FOLDER, read_manifests
from my_submission.weights.store import TAIL_BYTES, sha256_of
from tests.hub_server import HubServer
from tests.random_checkpoints import full_size_checkpoint

PROJECT = Path(__file__).parents[3]
CLASSES = {"mdx-c": ("MusicSeparationModel", 9), "cdx-b": ("CinematicSeparationModel", 6)}
FROM_THE_AUTHORS_HUB = "htdemucs_6s"  # its plain URL is dead; only the .safetensors copy is to be had
MOST_MEMORY_GB = 4.0

CONSTRUCT = """
import json, re, sys
from pathlib import Path
import my_submission
assert Path(my_submission.__file__).is_relative_to(Path.cwd()), my_submission.__file__
model = getattr(my_submission, sys.argv[1])(preset=sys.argv[2], device="cpu")
# Not getrusage: its maximum survives exec, and so would be that of the process that runs the tests.
peak_kilobytes = re.search(r"VmHWM:\\s+(\\d+) kB", Path("/proc/self/status").read_text())[1]
print(json.dumps({
    "gigabytes": int(peak_kilobytes) * 1024 / 1e9,
    "instruments": model.instruments,
}))
"""


@pytest.fixture(scope="module")
def server() -> Iterator[HubServer]:
    with HubServer() as server:
        yield server


@pytest.fixture(scope="module")
def manifest() -> Manifest:
    return read_manifests(WEIGHTS_FOLDER / "manifest.yaml")


@pytest.fixture(scope="module")
def project(server: HubServer, manifest: Manifest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project without weights, and everything its presets need on the server."""
    folder = tmp_path_factory.mktemp("project")
    copy_submission(folder)
    shutil.copytree(
        PROJECT / "sdx", folder / "sdx", ignore=shutil.ignore_patterns("__pycache__")
    )  # for commands
    document = read_yaml(WEIGHTS_FOLDER / "manifest.yaml")
    for name in sorted({name for preset in CLASSES for name in load_preset(preset).checkpoints}):
        serve(server, manifest, document["checkpoints"][name], name)
    (folder / "weights").mkdir()
    (folder / "weights" / "manifest.yaml").write_text(json.dumps(document))  # JSON is YAML
    return folder


def copy_submission(folder: Path) -> None:
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(PROJECT / "my_submission", folder / "my_submission", ignore=ignore)


def serve(server: HubServer, manifest: Manifest, row: dict[str, Any], name: str) -> None:
    """Make a checkpoint, serve it where its row's origins say, and put its size and hashes into the row."""
    checkpoint = manifest.checkpoints[name]
    own = full_size_checkpoint(checkpoint)
    row["sha256"] = sha256_of(own)[: len(row["sha256"])]
    if "tail_md5" in row:
        row["tail_md5"] = hashlib.md5(own.read_bytes()[-TAIL_BYTES:]).hexdigest()
    if "bytes" in row:
        assert abs(own.stat().st_size / row["bytes"] - 1) < 0.001, "not the released size"
        row["bytes"] = own.stat().st_size
    for origin, place in zip(row["origins"], checkpoint.origins, strict=True):
        if place.hub is None:
            origin["url"] = f"{server.endpoint}/plain/{place.copy.file}"
            if name != FROM_THE_AUTHORS_HUB:
                server.publish_plain(place.copy.file, own)
        elif place.copy.file == own.name:
            server.publish(place.hub, place.path, own)
        elif name == FROM_THE_AUTHORS_HUB:
            server.publish(place.hub, place.path, full_size_checkpoint(checkpoint, ".safetensors"))


@pytest.fixture(scope="module")
def run(server: HubServer, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """Run Python in a folder: its standard output; a failure shows both streams."""
    home = tmp_path_factory.mktemp("hf-home")

    def run(folder: Path, *arguments: str, **variables: str) -> str:
        kept = {
            key: value for key, value in os.environ.items() if not key.startswith(("HF_", "SDX_", "AICROWD_"))
        }
        environment = {**kept, "HF_ENDPOINT": server.endpoint, "HF_HOME": str(home), **variables}
        command = [sys.executable, *arguments]
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return done.stdout

    return run


def constructed(run: Callable[..., str], folder: Path, preset: str, **variables: str) -> None:
    """A model can be made, in a process of its own."""
    result = json.loads(
        run(folder, "-c", CONSTRUCT, CLASSES[preset][0], preset, **variables).splitlines()[-1]
    )
    assert result["gigabytes"] < MOST_MEMORY_GB
    assert set(result["instruments"]) == set(load_preset(preset).instruments)


def fetch(run: Callable[..., str], project: Path, preset: str) -> None:
    count = CLASSES[preset][1]
    fetched = run(project, "-m", "my_submission", "weights", "fetch", preset, "--accept-licence")
    summary = re.search(rf"{count} files, ([\d.]+) MB: here and verified", fetched)
    assert summary
    assert float(summary[1]) == pytest.approx({"mdx-c": 776, "cdx-b": 380}[preset], rel=0.01)


@pytest.mark.slow
def test_fetch_list_and_construct(project: Path, run: Callable[..., str], server: HubServer) -> None:
    preset, count = "mdx-c", CLASSES["mdx-c"][1]
    missing = run(project, "-m", "my_submission", "weights", "list", preset)
    assert f"{preset}: {count} files, " in missing
    fetch(run, project, preset)
    listed = run(project, "-m", "my_submission", "weights", "list", preset, HF_HUB_OFFLINE="1")
    assert "missing" not in listed
    assert listed.count(" verified (") == count
    row = next(line for line in listed.splitlines() if f" {FROM_THE_AUTHORS_HUB} " in line)
    assert "verified (sha256 as first downloaded)" in row
    assert row.endswith("/5c90dfd2.safetensors")
    server.requests.clear()
    constructed(run, project, preset)
    assert server.requests == [], "construction asked for something although all was there"


@pytest.mark.slow
def test_fetch_pack_and_construct(
    project: Path, run: Callable[..., str], server: HubServer, tmp_path: Path
) -> None:
    fetch(run, project, "cdx-b")
    server.requests.clear()
    submission = tmp_path / "submission"
    run(project, "-m", "my_submission", "weights", "pack", str(submission), "--preset", "cdx-b")
    copy_submission(submission)
    constructed(run, submission, "cdx-b", HF_HOME=str(tmp_path / "empty"), HF_ENDPOINT="http://127.0.0.1:1")
    assert server.requests == []
