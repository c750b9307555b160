"""However the studio ends, nothing of it stays, and nothing is said that is no error."""

import signal
import socket
import threading
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import uvicorn

from my_submission.__main__ import main
from my_submission.files.model import ModelChoice
from my_submission.files.options import FileOptions
from my_submission.studio.desk import Work
from my_submission.studio.serving import bind, run, studio_folder
from tests.my_submission.files_model import SHARES
from tests.waiting import wait_for


def test_what_a_killed_studio_left_is_deleted_by_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    left, foreign = tmp_path / "sdx-studio-left", tmp_path / "sdx-studio-foreign"
    (left / "001 song").mkdir(parents=True)
    (left / ".lock").touch()
    foreign.mkdir()
    (tmp_path / "sdx-studio-link").symlink_to(foreign)
    with studio_folder(None) as first, studio_folder(None) as second:
        assert first.is_dir()
        assert second.is_dir()
        assert not left.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sdx-studio-foreign", "sdx-studio-link"]


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="Windows has no SIGHUP")
def test_a_closed_terminal_ends_it_in_good_order(monkeypatch: pytest.MonkeyPatch) -> None:
    before = {name: signal.getsignal(name) for name in (signal.SIGTERM, signal.SIGHUP)}
    monkeypatch.setattr(
        "my_submission.commands.studio._serve", lambda options: signal.raise_signal(signal.SIGHUP)
    )
    try:
        with pytest.raises(SystemExit) as ended:
            main(["studio"])
    finally:
        for name, handler in before.items():
            signal.signal(name, handler)
    assert ended.value.code == 128 + signal.SIGTERM


def test_what_the_end_breaks_off_is_no_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("my_submission.studio.serving._STOP_SECONDS", 0.2)
    servers: list[uvicorn.Server] = []
    made = uvicorn.Server

    def noted(config: uvicorn.Config) -> uvicorn.Server:
        servers.append(made(config))
        return servers[0]

    monkeypatch.setattr("uvicorn.Server", noted)
    links: list[str] = []
    work = Work(tmp_path, ModelChoice("known"), FileOptions(), tuple(SHARES))
    with bind(0) as listening:
        thread = threading.Thread(target=run, args=(work, listening, "", links.append))
        thread.start()
        link = urlsplit(wait_for(lambda: links and servers and servers[0].started and links[0]))
        with socket.create_connection((link.hostname, link.port)) as sending:
            sending.sendall(
                f"POST {link.path}songs?name=a HTTP/1.1\r\nHost: 127.0.0.1\r\n"
                "Content-Length: 9\r\n\r\nabc".encode()
            )
            wait_for(lambda: list(tmp_path.glob("*/song")))
            servers[0].should_exit = True
            thread.join(30)
    assert not thread.is_alive()
    assert list(tmp_path.iterdir()) == []
    assert "Traceback" not in capfd.readouterr().err
