"""Every command and Python example of the documents works as written, or says what it needs.

A fenced block is `text`, `yaml`, `toml`, or something to run: `sh`, line by line, or `python`. Those of a document
run one after the other in a copy of the working tree. On the line before a block stands, in a comment:

- nothing: it runs every day.
- `slow`: it runs in the slow tests.
- `needs: THINGS`, of those in NEEDS: it cannot run here.
- `tried by: FILE`: lines of that file begin with its commands.
- `file: NAME`: it is what stands in that file, for commands that are tried elsewhere.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.evaluator.submissions import write_submission
from tests.working_copy import ROOT, copy_working_tree

DOCUMENTS = [
    str(path.relative_to(ROOT))
    for pattern in ("*.md", "docs/*.md", "*/README.md", "local_data/demo/*.md", "weights/demo/*.md")
    for path in sorted(ROOT.glob(pattern))
    if not path.parent.name.startswith(".")
]
NEEDS = {"network", "weights", "container engine", "the organisers' server", "a server", "data", "hours"}
SHOWN_ONLY = {"text", "yaml", "toml"}
TIMEOUT_SECONDS = 1800

_BLOCK = re.compile(r"(?:^<!-- (.*?) -->\n)?^( *)```(.*)\n((?:.*\n)*?)^ *```$", re.MULTILINE)

STAND_INS = [
    # what the reader has
    (r"/data/musdb18hq/test|(?<=--data )DIR", "my/data"),
    (r"(?<=--predictions )DIR", "my/estimates"),
    (r"--(vocals|instrumentals|dialog|effect|music) DIR", r"--\1 my/recordings"),
    (r"\.\./their-kit", "my/perfect"),
    (r"RUN_A|RUN_B", "latest"),
    # less of the same
    (r"(tune|ablate|table --presets) mdx-c(,melband-kim)?", r"\1 mdx-demo"),
    (r"--tracks \d+", "--tracks 1"),
    (r"--seconds \d+", "--seconds 1"),
    (r"--start 1:00 --duration 30", "--start 0:00.1 --duration 0.2"),
    (r"^(python run_eval.py)(?!.*--(check|submission))", r"\1 --only *_1"),
    # not in the place of the demo's own
    (r"^(python -m evaluator baseline save latest)", r"\1 mine.json"),
    # a busy machine is no failure
    (r"^(python run_eval.py)", r"\1 --time-factor 100"),
    (r"--within 1\.57", "--within 100"),
]


@dataclass(frozen=True)
class Block:
    """A fenced block; `place` is its document and line, `mark` the comment before it, or None."""

    place: str
    language: str
    mark: str | None
    body: str

    @property
    def commands(self) -> list[str]:
        """The lines of a shell block, those that go on joined, without comments."""
        lines = self.body.replace("\\\n", " ").splitlines()
        return [re.sub(r"(^|\s+)#.*", "", line) for line in lines if not re.match(r"\s*(#|$)", line)]


def blocks(document: str) -> list[Block]:
    text = (ROOT / document).read_text(encoding="utf-8")
    return [
        Block(f"{document}:{text.count(chr(10), 0, match.start(3)) + 1}", match[3], match[1], match[4])
        for match in _BLOCK.finditer(text)
    ]


def as_run(command: str) -> str:
    """A command with what stands in for the reader's files, and less to do where less shows the same."""
    for pattern, stand_in in STAND_INS:
        command = re.sub(pattern, stand_in, command)
    return command


@pytest.mark.parametrize("document", DOCUMENTS)
def test_every_block_says_what_it_is(document: str) -> None:
    for block in blocks(document):
        assert block.language in {"sh", "python"} | SHOWN_ONLY, f"{block.place}: ```{block.language}"
        if block.language in SHOWN_ONLY or block.mark in (None, "slow"):
            continue
        kind, _, rest = block.mark.partition(": ")
        assert kind in ("needs", "tried by", "file"), f"{block.place}: {block.mark}"
        if kind == "needs":
            assert set(rest.split(", ")) <= NEEDS, f"{block.place}: {rest}"
        elif kind == "tried by":
            lines = (ROOT / rest).read_text(encoding="utf-8").splitlines()
            for command in block.commands:
                assert any(line.startswith(command) for line in lines), f"{block.place}: {rest}: {command}"


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    headings = {re.sub(r"[^\w -]", "", line).strip().lower().replace(" ", "-") for line in text.splitlines()}
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if target.startswith("#"):
            assert target[1:] in headings, f"{document}: {target}"
        elif "://" not in target:
            path = (ROOT / document).parent / target.partition("#")[0]
            assert path.exists(), f"{document}: {target}"


def test_there_is_something_to_run() -> None:
    assert "README.md" in DOCUMENTS
    every = [block for document in DOCUMENTS for block in blocks(document) if block.language == "sh"]
    assert sum(len(block.commands) for block in every) > 80


@pytest.fixture(scope="module")
def working_tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the working tree with what the documents' reader has."""
    try:
        copy = copy_working_tree(tmp_path_factory.mktemp("copy") / "kit")
    except (subprocess.CalledProcessError, FileNotFoundError):
        pytest.skip("the files of the working tree are known to git only")
    noise = np.random.default_rng(0).uniform(-0.2, 0.2, (22_050, 2))
    recordings = [copy / "song.mp3", copy / "album" / "first.wav", copy / "my" / "recordings" / "one.wav"]
    for path in recordings:
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, noise if path.suffix == ".mp3" else np.tile(noise, (4, 1)), 44_100)
    if shutil.which("ffmpeg"):
        for name in ("interview.mkv", "film.mkv"):
            subprocess.run(["ffmpeg", "-v", "error", "-i", copy / "song.mp3", copy / name], check=True)
    for name in ("song_1", "song_2"):
        write_beginning(copy / "local_data" / "demo" / "music" / name, copy / "my" / "data" / name)
    (copy / "my" / "estimates").mkdir()
    for path in (copy / "my" / "data").glob("*/[dv]*.flac"):  # drums and vocals
        shutil.copy(path, copy / "my" / "estimates" / f"{path.parent.name}_{path.name}")
    write_submission(copy / "my", "perfect")
    return copy


def write_beginning(song: Path, folder: Path) -> None:
    """Three seconds of a song: enough for commands whose results nobody reads here."""
    folder.mkdir(parents=True)
    for path in song.glob("*.flac"):
        samples, rate = soundfile.read(path, frames=3 * 44_100)
        soundfile.write(folder / path.name, samples, rate)


@pytest.fixture
def run_in_copy(working_tree: Path, tmp_path: Path) -> Callable[[Block], None]:
    """Runs a block's commands in the copy, without this environment's settings of the kit and without network."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("SDX_", "AICROWD_"))}
    path = f"{Path(sys.executable).parent}{os.pathsep}{kept['PATH']}"
    environment = kept | {"PATH": path, "HF_HOME": str(tmp_path), "HF_HUB_OFFLINE": "1", "PYTHONPATH": ""}

    def run(block: Block) -> None:
        commands = (
            [[sys.executable, "-c", block.body]]
            if block.language == "python"
            else [["bash", "-o", "noglob", "-c", as_run(command)] for command in block.commands]
        )
        for command in commands:
            done = subprocess.run(
                command, cwd=working_tree, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT, text=True, timeout=TIMEOUT_SECONDS, check=False,
            )  # fmt: skip
            said = "\n".join(done.stdout.splitlines()[-30:])
            assert done.returncode == 0, (
                f"{block.place}: {command[-1]}\nends with exit code {done.returncode}:\n{said}"
            )

    return run


def runnable(document: str, *, slow: bool) -> list[Block]:
    marks = (None, "slow") if slow else (None,)
    return [block for block in blocks(document) if block.language not in SHOWN_ONLY and block.mark in marks]


@pytest.mark.slow
@pytest.mark.parametrize("document", [name for name in DOCUMENTS if runnable(name, slow=False)])
def test_quick_commands(document: str, run_in_copy: Callable[[Block], None]) -> None:
    for block in runnable(document, slow=False):
        run_in_copy(block)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs ffmpeg")
@pytest.mark.parametrize(
    "document", [name for name in DOCUMENTS if runnable(name, slow=True) != runnable(name, slow=False)]
)
def test_all_commands(document: str, run_in_copy: Callable[[Block], None]) -> None:
    for block in runnable(document, slow=True):
        run_in_copy(block)
