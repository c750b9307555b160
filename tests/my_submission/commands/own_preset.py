"""A preset of a user's own, and the command `weights` as it is typed."""

from pathlib import Path

import pytest
import yaml

from my_submission.__main__ import main
from my_submission.weights.store import sha256_of
from tests.hub_server import HubServer

STEMS = ("bass", "drums", "other", "vocals")


def write_preset(folder: Path, server: HubServer) -> Path:
    """A preset file with its manifest beside it; its one checkpoint, 7 bytes long, is on the server only."""
    served = folder / "served"
    served.write_bytes(b"weights")
    own = folder / "mine"
    own.mkdir()
    (own / "rows.yaml").write_text(
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
    path = own / "mine.yaml"
    step = {"name": "all", "input": "mixture", "stems": list(STEMS), "members": [{"model": "my_net"}]}
    path.write_text(yaml.safe_dump({"track": "music", "manifest": "rows.yaml", "steps": [step]}))
    return path


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path, code: int = 0) -> str:
    """Run a command; its output, on both streams."""
    assert main(["weights", *map(str, arguments)]) == code
    out, err = capsys.readouterr()
    return out + err
