"""Printing never fails, and `~` is the home folder wherever it stands."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sdx import ROOT, terminal

# What a command does: prepare, print what no code page has, and go on whoever reads it.
PRINTS = """
import sys
from pathlib import Path
from sdx.terminal import prepare
prepare()
for _ in range(20_000):
    print("… − é 日 \\udcff")
print("…", file=sys.stderr)
Path(sys.argv[1]).touch()
"""


@pytest.mark.parametrize(
    ("encoding", "line"), [("ascii", r"... - \xe9 \u65e5 \udcff"), ("cp1252", r"… - é \u65e5 \udcff")]
)
def test_every_encoding_shows_every_text_and_nobody_has_to_read_it(
    tmp_path: Path, encoding: str, line: str
) -> None:
    done = tmp_path / "done"
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", PRINTS, str(done)]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        first = process.stdout.readline()
        process.stdout.close()  # as `| head -1` does
        said = process.stderr.read()
    assert first.decode(encoding).rstrip() == line
    assert said.decode(encoding).strip() in ("…", "...")
    assert process.returncode == 0
    assert done.exists()


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_line_is_out_at_once_where_nothing_is_to_be_buffered(stream: str) -> None:
    # A process that ends so writes nothing that it still holds.
    prints = (
        "import os, sys; from sdx.terminal import prepare; prepare();"
        f"print('now', file=sys.{stream}); os._exit(0)"
    )
    environment = {**os.environ, "PYTHONUNBUFFERED": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", prints], env=environment, capture_output=True, text=True, check=True
    )
    assert getattr(done, stream) == "now\n"


def test_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("USERPROFILE", "/home/me")
    words = ["~/a.wav", "--output=~/x", "--output=~", "a~/b", "--x=a~/b", "--note=~5 dB", "~b", "-o", "x"]
    assert terminal.prepare(words) == [
        "/home/me/a.wav",
        "--output=/home/me/x",
        "--output=/home/me",
        *words[3:],
    ]
    (tmp_path / "~").mkdir()
    assert terminal.prepare(["~"]) == ["~"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("ä 日 🎸 …", "ä 日 🎸 …"),
        ("a\nb\r\tc", r"a\nb\r\tc"),
        ("\x1b[31mred\u202e", r"\x1b[31mred\u202e"),
        (os.fsdecode(b"latin\xe9 \xc3\xa4"), r"latin\xe9 ä"),
    ],
)
def test_a_name_is_one_line_and_harmless(text: str, shown: str) -> None:
    assert terminal.one_line(text) == shown


def test_what_has_lines_keeps_them_and_is_harmless() -> None:
    assert terminal.lines("a:\n  b\x1b[31m\r\n  c") == "a:\n  b\\x1b[31m\\r\n  c"
