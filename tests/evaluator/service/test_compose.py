"""compose.yaml as a lab would start it: the images build, and an entry goes through TLS to a score, with PostgreSQL.

The service's image is ours. Registries may be out of reach, so PostgreSQL and Caddy are Debian's, by the names that
compose.yaml has and with as much of the official images' behaviour as it asks for (stand_ins/).
"""

import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
import yaml

from evaluator.locations import REPOSITORY
from evaluator.service.client import Client, fitting_files
from tests.evaluator import audio
from tests.evaluator.containers.test_container import REQUIRE_VARIABLE
from tests.evaluator.service.world import FRAMES, PASSWORD, estimates

pytestmark = pytest.mark.container

HERE = Path(__file__).parent
COMPOSE = REPOSITORY / "compose.yaml"
IGNORED = "evaluator/service/Dockerfile.dockerignore"
DATABASE = "postgresql://checker@database/checker"
PROJECT = f"sdx-test-{os.getpid()}"
SECONDS = 120.0


class Composed:
    """The services of compose.yaml, under a name and at ports of the tests' own."""

    def __init__(self, folder: Path) -> None:
        self.data = audio.write_music(folder / "data", FRAMES)
        self.port, plain = free_ports()
        self.url = f"https://localhost:{self.port}"
        self._folder = folder
        self._environment = {
            **os.environ,
            "CHECKER_HOST": "localhost",  # for which Caddy makes a certificate of its own
            "CHECKER_URL": self.url,
            "CHECKER_PASSWORD": "of the tests",
            "CHECKER_DATA": str(self.data),
            "CHECKER_HTTPS_PORT": str(self.port),
            "CHECKER_HTTP_PORT": str(plain),
        }

    def do(self, *words: str) -> str:
        """What podman-compose prints."""
        command = [sys.executable, "-m", "podman_compose", "-p", PROJECT, "-f", str(COMPOSE)]
        return self.run(*command, "--podman-build-args", f"--ignorefile {IGNORED}", *words)

    def run(self, *command: str) -> str:
        done = subprocess.run(
            command, cwd=REPOSITORY, env=self._environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-2000:]}"
        return done.stdout + done.stderr

    def log(self, service: str) -> str:
        return self.run("podman", "logs", f"{PROJECT}_{service}_1")

    def trust(self) -> ssl.SSLContext:
        """What trusts the proxy's own authority, and no other."""
        file = self._folder / "root.crt"
        where = f"{PROJECT}_proxy_1:/data/caddy/pki/authorities/local/root.crt"
        self.run("podman", "cp", where, str(file))
        return ssl.create_default_context(cafile=str(file))


def free_ports() -> list[int]:
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as other:
        return [each.getsockname()[1] for each in (one, other)]


@pytest.fixture(scope="module")
def composed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Composed]:
    base = os.environ.get("SDX_BASE_IMAGE")
    if base is None or shutil.which("podman") is None:
        if os.environ.get(REQUIRE_VARIABLE) == "1":
            pytest.fail("NO PODMAN: source tests/container_engine.sh", pytrace=False)
        pytest.skip("needs Podman and a base image; source tests/container_engine.sh")
    made = Composed(tmp_path_factory.mktemp("compose"))
    names = [
        each["image"]
        for each in yaml.safe_load(COMPOSE.read_text())["services"].values()
        if "build" not in each
    ]
    tags = [word for name in names for word in ("--tag", name)]
    made.run("podman", "build", "--build-arg", f"BASE={base}", *tags, str(HERE / "stand_ins"))
    made.do("build", "--build-arg", f"BASE={base}", "service")
    try:
        made.do("up", "--detach", "--no-build")
        yield made
    finally:
        made.do("down", "--volumes")


def waited(composed: Composed, pattern: str) -> str:
    """The first match in the service's log."""
    deadline = time.monotonic() + SECONDS
    while not (found := re.search(pattern, composed.log("service"))):
        assert time.monotonic() < deadline, composed.log("service")
        time.sleep(1)
    return found[0]


def test_an_entry_is_scored_through_tls(composed: Composed, tmp_path: Path) -> None:
    link = waited(composed, rf"{composed.url}/invitation/[\w-]+")
    trusted = composed.trust()
    headers = {"Sec-Fetch-Site": "same-origin"}
    with httpx2.Client(verify=trusted, headers=headers, follow_redirects=True, timeout=SECONDS) as browser:
        made = browser.post(link, data={"name": "Ann", "password": PASSWORD})
        assert made.status_code == 200
        assert made.history[0].headers["set-cookie"].startswith("__Host-sdx=")
        page = browser.post(f"{composed.url}/account/tokens", data={"label": "tests", "scope": "submit"}).text
    (token,) = re.findall(r"sdx_[\w-]{40,}", page)
    place = ("--root", "/srv/checker", "--database", DATABASE)
    add = ("python3", "-m", "evaluator", "benchmark", "add", "small", "--data", "/srv/data", *place)
    composed.do("exec", "-T", "service", *add)
    for name, content in estimates(0.9, container="FLAC").items():
        (tmp_path / name).write_bytes(content)
    sender = Client(composed.url, token, httpx2.HTTPTransport(verify=trusted))
    files = fitting_files(tmp_path, sender.benchmark("small"))
    entry = sender.begin("small", {"name": "mine", "visibility": "public"})
    for each in sender.declare(entry, files):
        sender.send(each, lambda offset: None)
    sender.submit(entry)
    found = sender.wait(entry, lambda state: None)
    assert (found["state"], found["problems"]) == ("done", [])
    assert found["means"]["public"]["sdr"]["mean"] == pytest.approx(20, abs=0.02), (
        "nine tenths of the references"
    )
    assert "not held" not in composed.log("service"), "all walls of the sandbox stand"


def test_attempts_are_counted_by_who_makes_them(composed: Composed) -> None:
    """The proxy says whose a request is, and nobody else does."""
    waited(composed, rf"{composed.url}/invitation/[\w-]+")
    with httpx2.Client(
        verify=composed.trust(), headers={"Sec-Fetch-Site": "same-origin"}, timeout=SECONDS
    ) as browser:
        answers = [
            browser.post(
                f"{composed.url}/sign-in",
                data={"name": f"nobody {number}", "password": "wrong"},
                headers={"X-Forwarded-For": f"192.0.2.{number}"},
            ).status_code
            for number in range(11)
        ]
    assert answers == [403] * 10 + [429]
