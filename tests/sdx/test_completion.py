"""Real shells complete what is typed, and start no Python for that."""

import os
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from sdx import ROOT, completion

pytestmark = pytest.mark.slow
pty = pytest.importorskip("pty")  # Windows has none

START = {
    "bash": ("bash", "--norc", "--noprofile", "-i"),
    "zsh": ("zsh", "-f", "-i"),
}
PREPARE = {
    "bash": "bind 'set enable-bracketed-paste off'; source {script}",
    "zsh": "unset zle_bracketed_paste; fpath=({script.parent} $fpath); autoload -U compinit; compinit -u -D",
}
# The command itself says what it was given; there is no other `sdx` on the path.
ECHO = "sdx() {{ printf 'given:'; printf '<%s>' \"$@\"; printf '\\n'; }}"
PROMPT = "READY> "
# typed, with tabs -> what the command is given
TYPED = {
    "sep\t song.wav": ["separate", "song.wav"],
    "separate --prev\t song.wav": ["separate", "--preview", "song.wav"],
    "separate --preset cdx-dnr-\t song.wav": ["separate", "--preset", "cdx-dnr-one", "song.wav"],
    "separate --preset ow\t": ["separate", "--preset", "own.yaml"],
    "separate my\ta\t": ["separate", "my songs/a b.mp3"],
    "separate -o my\tx": ["separate", "-o", "my songs/x"],
    "separate --format fl\t": ["separate", "--format", "flac"],
    "weights fet\t --acc\t": ["weights", "fetch", "--accept-licence"],
    "weights fetch cdx-dnr-\t": ["weights", "fetch", "cdx-dnr-one"],
    "leaderboard wi\t": ["leaderboard", "withdraw"],
    "eval --require-iso\t": ["eval", "--require-isolation"],
    "train va\t": ["train", "validate"],
    "train fit scn\t": ["train", "fit", "scnet-small"],
    "report ow\t": ["report", "own.yaml"],
}


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("completion")
    for shell in completion.SHELLS:
        (folder / f"_{shell}").write_text(completion.script(shell))
    (folder / "_zsh").rename(folder / "_sdx")  # zsh goes by the name
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where the shell is, with files to complete."""
    (tmp_path / "my songs").mkdir()
    (tmp_path / "my songs" / "a b.mp3").touch()
    (tmp_path / "own.yaml").touch()
    return tmp_path


def typed_into(shell: str, script: Path, folder: Path, lines: list[str]) -> list[list[str]]:
    """What the command was given after each line, typed into an interactive shell on a terminal of its own."""
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(folder)
        environment = {
            "PATH": "/usr/bin:/bin",
            "HOME": str(folder),
            "TERM": "dumb",
            "PS1": PROMPT,
            "LC_ALL": "C.UTF-8",
        }
        os.execve(shutil.which(shell) or shell, START[shell], environment)
    try:
        said = ""
        for line in [f"{PREPARE[shell].format(script=script)}; {ECHO.format()}; echo given:", *lines]:
            os.write(terminal, f"{line}\n".encode())
            said = read_until(terminal, said, said.count("\ngiven:") + 1)
    finally:
        os.close(terminal)
        os.waitpid(child, 0)
    given = [line.removeprefix("given:") for line in said.splitlines() if line.startswith("given:")]
    return [words[1:-1].split("><") for words in given[1:]]


def read_until(terminal: int, said: str, count: int) -> str:
    """What the terminal has shown once the command was run so often, and the shell waits for another."""
    until = time.monotonic() + 60
    while said.count("\ngiven:") < count or PROMPT not in said.rpartition("\ngiven:")[2]:
        left = until - time.monotonic()
        assert left > 0, f"nothing was run: {said}"
        if select.select([terminal], [], [], left)[0]:
            said += os.read(terminal, 1 << 16).decode(errors="replace").replace("\r\n", "\n")
    return said


@pytest.mark.parametrize("shell", START)
def test_what_is_typed_is_completed(shell: str, scripts: Path, folder: Path) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell}")
    given = typed_into(shell, scripts / f"_{shell}", folder, [f"sdx {line}" for line in TYPED])
    assert dict(zip(TYPED, given, strict=True)) == TYPED


def test_fish_completes(scripts: Path, folder: Path) -> None:
    if shutil.which("fish") is None:
        pytest.skip("there is no fish")
    lines = {line.partition("\t")[0]: words for line, words in TYPED.items() if line.count("\t") == 1}
    asked = "; ".join(f"complete -C 'sdx {line}' | string join '|'; echo" for line in lines)
    done = subprocess.run(
        ["fish", "--no-config", "-c", f"source {scripts / '_fish'}; {asked}"],
        cwd=folder, env={"PATH": "/usr/bin:/bin", "HOME": str(folder)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    answers = done.stdout.split("\n\n")
    for (line, words), answer in zip(lines.items(), answers, strict=False):
        (offered,) = {each.partition("\t")[0] for each in answer.strip().split("|")}
        expected = next(word for word in words if word.startswith(line.split()[-1]))
        assert offered in (expected, expected[:-1]), line  # to which one letter was added


def test_an_unknown_shell_is_refused() -> None:
    command = [sys.executable, "-m", "sdx", "completion", "tcsh"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "choose from" in done.stderr
