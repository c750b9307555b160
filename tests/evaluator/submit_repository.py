"""A repository to submit, in our layout but tiny, and the organisers' one as a bare repository on disk."""

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from evaluator.isolation.process_runner import OWN_WRAPPER

MANIFEST = {
    "challenge_id": "music-demixing-track-mdx-23",
    "authors": ["somebody"],
    "description": "a quarter of the mixture",
    "labelnoise": False,
    "bleeding": False,
    "external_dataset_used": True,
    "gpu": False,
}
USER_CONFIG = """\
PRESET = "tiny"
TRACK = "music"


class MySeparationModel:
    track = TRACK
    instruments = ["bass", "drums", "other", "vocals"]

    def separate_music_file(self, mixed_sound_array, sample_rate):
        arrays = {stem: mixed_sound_array / 4 for stem in self.instruments}
        return arrays, dict.fromkeys(self.instruments, sample_rate)
"""
# Answers `weights list --submitted --json` as ours does.
MAIN = """\
import hashlib
import json
import sys
from pathlib import Path

from my_submission.user_config import PRESET, TRACK

SHA256 = "{sha256}"

assert sys.argv[1:] == ["weights", "list", "--submitted", "--json"]
if PRESET == "wrong":
    print("error: preset: found 'wrong'", file=sys.stderr)
    sys.exit(1)
path = Path(__file__).resolve().parent.parent / "weights" / "large.bin"
row = {{"name": "large", "file": "large.bin", "path": None, "bytes": 1, "sha256": None, "problem": None}}
row["state"] = "missing"
if path.is_file():
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    right = found == SHA256
    row |= {{"path": str(path), "state": "sha256" if right else "wrong", "problem": f"the sha256 is {{found}}"}}
print(json.dumps([{{"name": PRESET, "track": TRACK, "checkpoints": [row] if PRESET == "weighty" else []}}]))
"""
WEIGHTS = bytes(range(256)) * (6_000_000 // 256)


@dataclass(frozen=True)
class Workshop:
    """Our repository and the server's."""

    root: Path
    server: Path

    def git(self, *arguments: str, folder: Path | None = None) -> str:
        """Output of a git command in our repository, or in `folder`."""
        command = ["git", "-C", str(folder or self.root), *arguments]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        assert result.returncode == 0, f"{command}: {result.stderr}"
        return result.stdout.strip()

    def write(self, name: str, content: str | bytes) -> None:
        """Write a file of our repository."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)

    def commit(self, message: str = "Change") -> str:
        """Commit everything; the commit."""
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)
        return self.git("rev-parse", "HEAD")

    def manifest(self, **changes: object) -> None:
        """Write aicrowd.json; None for a key leaves it out."""
        document = {key: value for key, value in {**MANIFEST, **changes}.items() if value is not None}
        self.write("aicrowd.json", json.dumps(document))

    def add_weights(self) -> None:
        """Have the preset need a file of 6 MB, and put it into git-lfs."""
        self.write("my_submission/user_config.py", USER_CONFIG.replace("tiny", "weighty"))
        self.write(".gitattributes", "weights/*.bin filter=lfs diff=lfs merge=lfs -text\n")
        self.write("weights/large.bin", WEIGHTS)

    def refs(self) -> dict[str, str]:
        """All refs of our repository."""
        return dict(line.split()[::-1] for line in self.git("show-ref").splitlines())

    def server_refs(self) -> dict[str, str]:
        """Commits of the server's branches and tags."""
        lines = self.git("ls-remote", str(self.server)).splitlines()
        pairs = [line.split() for line in lines]
        refs = {name: commit for commit, name in pairs if name != "HEAD"}
        peeled = {name.removesuffix("^{}"): refs.pop(name) for name in list(refs) if name.endswith("^{}")}
        return refs | peeled

    def refuse_pushes(self) -> None:
        """Have the server turn down every push."""
        hook = self.server / "hooks" / "pre-receive"
        hook.write_text("#!/bin/sh\necho 'quota is used up' >&2\nexit 1\n")
        hook.chmod(0o755)


def make_workshop(folder: Path) -> Workshop:
    """A repository with one commit that is fit to be submitted, and an empty server."""
    import hashlib

    workshop = Workshop(folder / "ours", folder / "server.git")
    workshop.root.mkdir()
    workshop.git("init", "--quiet", "--initial-branch=main")
    workshop.git("init", "--quiet", "--bare", "--initial-branch=main", str(workshop.server), folder=folder)
    workshop.git("remote", "add", "aicrowd", str(workshop.server))
    workshop.manifest()
    workshop.write("requirements.txt", "numpy\nsoundfile>=0.13,<1  # comments are fine\n")
    workshop.write(".gitignore", "__pycache__/\n")
    workshop.write("my_submission/__init__.py", "")
    workshop.write("my_submission/user_config.py", USER_CONFIG)
    workshop.write("my_submission/__main__.py", MAIN.format(sha256=hashlib.sha256(WEIGHTS).hexdigest()))
    shutil.copyfile(OWN_WRAPPER, workshop.root / "my_submission" / "aicrowd_wrapper.py")
    workshop.commit("First")
    return workshop


def git_settings(folder: Path) -> dict[str, str]:
    """Environment in which git knows no settings but ours."""
    settings = folder / "gitconfig"
    settings.write_text("[user]\n name = Test\n email = test@localhost\n[gc]\n auto = 0\n")
    environment = {"GIT_CONFIG_GLOBAL": str(settings), "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0"}
    if shutil.which("git-lfs"):
        subprocess.run(
            ["git", "lfs", "install", "--skip-repo"], env={**os.environ, **environment}, check=True
        )
    return environment
