"""`serve` and `benchmark`: without options, without the extra, with what cannot be; and a service from end to end."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import httpx2
import pytest
import yaml

import evaluator.__main__
from evaluator.commands import service_options
from evaluator.isolation import process_tree
from evaluator.locations import DEMO, REPOSITORY
from evaluator.service.client import Client, fitting_files
from evaluator.service.settings import OpenIdProvider, Settings
from tests.evaluator import audio
from tests.evaluator.service.world import PASSWORD
from tests.test_imports import OPTIONAL, ROOT, modules

SECONDS = 60.0


def said_of(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What a command that cannot be done says: one sentence."""
    assert evaluator.__main__.main(words) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1, said
    return said


def test_without_the_extra_it_says_what_to_install(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_options, "find_spec", lambda name: None)
    for words in (["serve"], ["benchmark", "list"]):
        said = said_of(words, capsys)
        assert "needs fastapi, uvicorn, SQLAlchemy, alembic, argon2-cffi, python-multipart" in said
        assert "pip install -r evaluator/service/requirements.txt" in said
    monkeypatch.setattr(service_options, "IS_INSTALLED", True)
    assert "pip install 'sdx23-kit[service]'" in said_of(["serve"], capsys)


def _value(variables: Mapping[str, str], match: re.Match[str]) -> str:
    return variables.get(match[1], "")


def test_what_compose_hands_on_is_the_provider_that_serve_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = {
        "CHECKER_OIDC_ISSUER": "https://login.example.org",
        "CHECKER_OIDC_CLIENT": "checker",
        "CHECKER_OIDC_SECRET": "of the client",
        "CHECKER_OIDC_DOMAINS": "example.org, Other.org",
    }
    found: list[Settings] = []
    monkeypatch.setattr("evaluator.service.serving.run", lambda settings, tell: found.append(settings))
    text = (REPOSITORY / "compose.yaml").read_text()
    for variables in (given, {}):
        filled = re.sub(r"\$\{(\w+)[^}]*\}", partial(_value, variables), text)
        for name, value in yaml.safe_load(filled)["services"]["service"]["environment"].items():
            if name.startswith("SDX_"):
                monkeypatch.setenv(name, str(value or ""))
        assert evaluator.__main__.main(["serve", "--root", str(tmp_path)]) == 0
    domains = ("example.org", "other.org")
    expected = OpenIdProvider("https://login.example.org", "checker", "of the client", domains)
    assert [settings.provider for settings in found] == [expected, None]


def test_what_cannot_be_is_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    root = str(tmp_path / "root")
    assert "cannot be made" in said_of(["serve", "--root", str(tmp_path / "file" / "x")], capsys)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        said = said_of(["serve", "--root", root, "--port", port], capsys)
        assert f"127.0.0.1, port {port}: cannot be opened (Address already in use); choose another" in said
    assert "not a usable URL" in said_of(["serve", "--root", root, "--port", "0", "--database", "x"], capsys)
    nowhere = ["benchmark", "add", "x", "--data", str(tmp_path / "nowhere"), "--root", root]
    assert "not a folder" in said_of(nowhere, capsys)
    bad = ["benchmark", "add", "x", "--data", str(tmp_path), "--closes", "soon", "--root", root]
    assert "expected a date such as 2026-12-31" in said_of(bad, capsys)
    assert "no benchmark x" in said_of(["benchmark", "close", "x", "--root", root], capsys)


def test_an_organiser_adds_lists_and_closes_benchmarks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = audio.write_stems(tmp_path / "data", ("instrumental", "vocals"))
    place = ["--root", str(tmp_path / "root")]
    add = ["benchmark", "add", "synth", "--data", str(data), "--stems", "vocals,instrumental"]
    more = ["--metrics", "si_sdr", "--closes", "2030-01-02T12:00"]
    assert evaluator.__main__.main([*add, *more, *place]) == 0
    assert (
        capsys.readouterr().out == "synth: 2 tracks, 1 of them private; instrumental, vocals; sdr, si_sdr\n"
    )
    assert evaluator.__main__.main(["benchmark", "list", *place]) == 0
    assert "2030-01-02 12:00 UTC" in capsys.readouterr().out
    assert evaluator.__main__.main(["benchmark", "close", "synth", "--at", "2026-01-01", *place]) == 0
    assert capsys.readouterr().out == "synth closes 2026-01-01 00:00 UTC\n"
    assert evaluator.__main__.main(["benchmark", "invite", "--url", "https://x.org/", *place]) == 0
    assert capsys.readouterr().out.startswith("https://x.org/invitation/")


def test_a_mistyped_place_is_said_and_not_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = ["--root", str(tmp_path / "mistyped")]
    assert "mistyped: there is no service" in said_of(["benchmark", "list", *place], capsys)
    with pytest.raises(SystemExit):
        evaluator.__main__.main(["benchmark", "invite", "--url", "checker.example.org", *place])
    assert "expected an address that begins with https://" in capsys.readouterr().err
    assert not (tmp_path / "mistyped").exists()


@pytest.mark.slow
def test_everything_else_imports_without_the_extras() -> None:
    names = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in modules()
        if not str(path.relative_to(ROOT)).startswith(sum(OPTIONAL.values(), ()))
    ]
    names += ["evaluator.service.client", "evaluator.service.judge", "evaluator.service.judging"]
    code = (
        "import importlib, sys\n"
        f"for name in {list(OPTIONAL)}: sys.modules[name] = None\n"
        f"for name in {names}: importlib.import_module(name)\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


class Running:
    """`serve` in a process of its own."""

    def __init__(self, root: Path, port: int = 0) -> None:
        command = [sys.executable, "-m", "evaluator", "serve", "--root", str(root), "--port", str(port)]
        self.process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.url = re.sub(r".*answers at (\S+)\n", r"\1", self.process.stdout.readline())
        self.port = int(self.url.rpartition(":")[2])
        self.process.stdout.readline()

    def read_link(self) -> str:
        """The link that is printed where there is no organiser yet."""
        assert self.process.stdout is not None
        self.process.stdout.readline()
        return self.process.stdout.readline().strip()

    def kill(self, number: int = signal.SIGKILL) -> int:
        """End it; returns its exit code."""
        self.process.send_signal(number)
        code = self.process.wait(SECONDS)
        if self.process.stdout is not None:
            self.process.stdout.close()
        return code


@contextmanager
def serving(root: Path, port: int = 0) -> Iterator[Running]:
    running = Running(root, port)
    try:
        yield running
    finally:
        with contextlib.suppress(ProcessLookupError):
            running.kill()


def make_token(running: Running) -> str:
    """Follow the link, make the organiser's account, and a token on its page."""
    headers = {"Sec-Fetch-Site": "same-origin"}
    with httpx2.Client(base_url=running.url, headers=headers, follow_redirects=True) as browser:
        path = running.read_link().removeprefix(running.url)
        assert browser.post(path, data={"name": "Ann", "password": PASSWORD}).status_code == 200
        page = browser.post("/account/tokens", data={"label": "tests", "scope": "submit"}).text
    return str(re.findall(r"sdx_[\w-]{40,}", page)[0])


def copied_demo(folder: Path) -> Path:
    """The demo's own references, as estimates side by side."""
    folder.mkdir()
    for path in (DEMO / "music").glob("*/*.flac"):
        if path.stem != "mixture":
            (folder / f"{path.parent.name}_{path.name}").write_bytes(path.read_bytes())
    return folder


@pytest.mark.slow
@pytest.mark.skipif(not process_tree.HAS_PROC, reason="looks for the worker in /proc")
def test_from_nothing_to_a_board_through_kills_of_server_and_worker(tmp_path: Path) -> None:
    root, folder = tmp_path / "root", copied_demo(tmp_path / "mine")
    with serving(root) as first:
        token = make_token(first)
        sender = Client(first.url, token)
        files = fitting_files(folder, sender.benchmark("demo"))
        entry = sender.begin("demo", {"name": "mine", "visibility": "public"})
        for each in sender.declare(entry, files)[:10]:
            sender.send(each, lambda offset: None)
        workers = process_tree.descendants(first.process.pid)
        assert workers
        first.kill()
        deadline = time.monotonic() + SECONDS
        while workers & process_tree.start_times().keys():
            assert time.monotonic() < deadline, "the worker outlives its server"
            time.sleep(0.05)
    with serving(root, first.port) as second:
        sender = Client(second.url, token)
        assert sender.begin("demo", {"name": "mine"}) == entry
        sending = sender.declare(entry, files)
        assert [each.complete for each in sending].count(True) == 10
        for each in sending:
            sender.send(each, lambda offset: None)
        sender.submit(entry)
        killed = False
        deadline = time.monotonic() + 5 * SECONDS
        while found := httpx2.get(f"{second.url}/api/v1/queue").json()["entries"]:
            assert time.monotonic() < deadline
            if found[0]["state"] == "scoring" and not killed:
                for worker in process_tree.descendants(second.process.pid):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(worker, signal.SIGKILL)
                killed = True
            time.sleep(0.1)
        assert killed
        board = httpx2.get(f"{second.url}/api/v1/leaderboards/demo").json()["rows"]
        assert [(row["entry"], row["place"]) for row in board] == [(entry, 1)]
        assert board[0]["scores"]["mean"] > 100, "the references themselves"
        assert second.kill(signal.SIGTERM) in (0, -signal.SIGTERM)
    assert {path.name for path in (root / "entries").iterdir()} == {str(entry)}
    assert not list((root / "work").glob("*/*"))
