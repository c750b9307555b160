"""The container runner on a real engine: the verdicts, scores and walls of the process runner, and no traces.

tests/container_engine.sh brings an engine up. Without one these tests are skipped, unless
SDX_REQUIRE_ENGINE=1 says that there must be one.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import docker
import pytest

from evaluator.containers import image
from evaluator.containers.engine import LABEL, EngineError, connect
from evaluator.isolation.sandbox import Limits
from evaluator.locations import DEMO, REPOSITORY
from evaluator.running import evaluation
from evaluator.running.job import Observer
from evaluator.running.options import Options
from evaluator.running.preparation import prepare
from evaluator.runs.results import Result
from tests.evaluator import audio, processes
from tests.evaluator.isolation.test_sandbox import GENEROUS, TIGHT, TOO_LONG, VERDICTS
from tests.evaluator.submissions import write_submission

pytestmark = pytest.mark.container

REQUIRE_VARIABLE = "SDX_REQUIRE_ENGINE"
REQUIREMENTS = "numpy\nsoundfile\n"  # of the submissions that misbehave
SAME_DB = 1e-4
SAME_NETWORKS_DB = 0.02  # "auto" may find by trial that a small network is quicker in bfloat16, or not
GONE_SECONDS = 60.0


@pytest.fixture(scope="session")
def client() -> docker.DockerClient:
    try:
        return connect()
    except EngineError as error:
        if os.environ.get(REQUIRE_VARIABLE) == "1":
            pytest.fail(f"NO CONTAINER ENGINE: {error}", pytrace=False)
        pytest.skip(str(error))


@pytest.fixture(autouse=True)
def no_container_is_left(client: docker.DockerClient) -> Iterator[None]:
    yield
    assert wait_until_gone(client, 10.0), [item.id for item in ours(client)]


def ours(client: docker.DockerClient) -> list[docker.models.containers.Container]:
    found: list[docker.models.containers.Container] = client.containers.list(
        all=True, filters={"label": f"{LABEL}=container"}, sparse=True
    )  # sparse: one that goes while it is asked about is an error 500 of Podman's
    return found


def wait_until_gone(client: docker.DockerClient, timeout_seconds: float) -> bool:
    deadline = time.monotonic() + timeout_seconds
    while ours(client):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.2)
    return True


def options(tmp_path: Path, name: str, limits: Limits = GENEROUS) -> Options:
    """Evaluate the submission `name` of submissions.py in a container."""
    (tmp_path / "where.txt").write_text(str(tmp_path))
    submission = tmp_path / name
    if not submission.exists():
        write_submission(tmp_path, name)
        (submission / "my_submission" / "where.txt").write_text(str(tmp_path))
        (submission / "requirements.txt").write_text(REQUIREMENTS)
        audio.write_music(tmp_path / "data")
    return Options(
        submission=submission, data=tmp_path / "data", limits=limits, out=tmp_path / "out", runner="docker"
    )


def evaluate(given: Options) -> Result:
    return evaluation.evaluate(prepare(given), Observer(), resume=False)


@pytest.fixture
def marker(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    value = f"3600.{abs(hash(request.node.nodeid)) % 10**9}"
    monkeypatch.setenv("SDX_TEST_MARKER", value)
    return value


@pytest.mark.parametrize(("name", "status", "reason"), VERDICTS)
def test_verdicts_are_those_of_the_process_runner(
    client: docker.DockerClient, tmp_path: Path, name: str, status: str, reason: str
) -> None:
    result = evaluate(options(tmp_path, name))
    trap, well = result.tracks
    assert (trap.status, trap.scores) == (status, {})
    assert reason in str(trap.reason)
    assert well.status == "ok"
    assert result.score() is None


def test_walls_and_result(client: docker.DockerClient, tmp_path: Path) -> None:
    given = options(tmp_path, "scaled_mixture")
    inside = evaluate(given)
    outside = evaluate(replace(given, runner="process", out=tmp_path / "process"))
    assert inside.score() == pytest.approx(outside.score(), abs=SAME_DB)
    assert inside.to_json().keys() == outside.to_json().keys()
    assert [item.keys() for item in inside.to_json()["tracks"]] == [
        item.keys() for item in outside.to_json()["tracks"]
    ]
    isolation = inside.isolation
    assert isolation is not None
    assert isolation.runner == "docker"
    assert isolation.network_off
    assert isolation.references_hidden
    assert isolation.orphans_ended
    assert isolation.memory == "container"
    assert isolation.process_limit is not None
    assert isolation.open_promises() == ()
    assert isolation.open_limits(GENEROUS) == ()
    assert all(track.peak_memory_bytes for track in inside.tracks)


SPY = """\
import json
import os
import socket
from pathlib import Path


def attempt(action):
    try:
        action()
    except OSError as error:
        return type(error).__name__
    return "worked"


class MySeparationModel:
    instruments = ["bass", "drums", "other", "vocals"]

    def separate_music_file(self, mixed_sound_array, sample_rate):
        mixtures = Path(os.environ["AICROWD_DATASET_DIR"])
        seen = {
            "user": os.getuid(),
            "files": sorted(path.name for path in mixtures.rglob("*.wav")),
            "write a mixture": attempt(lambda: next(mixtures.rglob("*.wav")).write_bytes(b"")),
            "write beside it": attempt(lambda: (mixtures / "x").write_bytes(b"")),
            "write our code": attempt(lambda: Path("/sdx/code/evaluator/isolation/worker.py").write_bytes(b"")),
            "write to home": attempt(lambda: Path.home().joinpath("x").write_bytes(b"")),
            "become root": attempt(lambda: os.setuid(0)),
            "reach out": attempt(lambda: socket.create_connection(("192.0.2.1", 80), 2)),
            "references": [str(p) for p in Path("/").rglob("bass.wav") if "predictions" not in p.parts],
            "privileges": [line for line in open("/proc/self/status") if line.startswith(("CapEff", "NoNewPrivs"))],
        }
        print("SEEN", json.dumps(seen))
        arrays = {stem: mixed_sound_array / 4 for stem in self.instruments}
        return arrays, dict.fromkeys(self.instruments, sample_rate)
"""


def test_what_a_submission_sees(client: docker.DockerClient, tmp_path: Path) -> None:
    given = options(tmp_path, "perfect")
    (tmp_path / "perfect" / "my_submission" / "user_config.py").write_text(SPY)
    result = evaluate(given)
    assert result.status == "ok", result.tracks
    log = (tmp_path / "out" / "logs" / "well.log").read_text()
    (line,) = [line for line in log.splitlines() if line.startswith("SEEN ")]
    seen = json.loads(line.removeprefix("SEEN "))
    privileges = [line.split() for line in seen.pop("privileges")]
    assert privileges == [["CapEff:", "0" * 16], ["NoNewPrivs:", "1"]]
    assert seen == {
        "user": 1001,
        "files": ["mixture.wav"],
        "write a mixture": "OSError",  # a read-only file system
        "write beside it": "OSError",
        "write our code": "OSError",
        "write to home": "worked",  # which is its temporary folder
        "become root": "PermissionError",
        "reach out": "OSError",
        "references": [],
    }


@pytest.mark.parametrize("name", ["sleeps", "sleeps_in_a_grandchild"])
def test_a_sleeper_ends_with_all_it_started(
    client: docker.DockerClient, tmp_path: Path, marker: str, name: str
) -> None:
    trap, well = evaluate(options(tmp_path, name, TIGHT)).tracks
    assert (trap.status, trap.reason) == ("timeout", TOO_LONG)
    assert well.status == "ok"
    assert processes.wait_until(marker, present=False)


def test_forking_a_lot_is_no_failure(client: docker.DockerClient, tmp_path: Path, marker: str) -> None:
    assert evaluate(options(tmp_path, "forks_a_lot")).status == "ok"
    assert processes.wait_until(marker, present=False)


def test_construction_has_its_own_limit(client: docker.DockerClient, tmp_path: Path) -> None:
    limits = replace(GENEROUS, setup_seconds=3.0)
    result = evaluate(options(tmp_path, "never_constructs", limits))
    assert {track.reason for track in result.tracks} == {"setup: setup took longer than 3.0 s"}


def test_an_image_is_built_once(client: docker.DockerClient, tmp_path: Path) -> None:
    submission = options(tmp_path, "perfect").submission
    first = image.ensure_image(submission)
    built = client.images.get(first).attrs["Created"]
    assert image.ensure_image(submission) == first
    assert client.images.get(first).attrs["Created"] == built
    (submission / "my_submission" / "more.py").write_text(f"# {tmp_path}\n")
    assert image.ensure_image(submission) != first


def test_a_build_that_fails_says_why(client: docker.DockerClient, tmp_path: Path) -> None:
    submission = write_submission(tmp_path, "perfect")
    base = os.environ.get(image.BASE_VARIABLE, "python:3.11-slim-bookworm")
    (submission / "Dockerfile").write_text(f"FROM {base}\nRUN echo went as far as this && false\n")
    with pytest.raises(EngineError, match="went as far as this"):
        image.ensure_image(submission)


@pytest.fixture
def running(client: docker.DockerClient, tmp_path: Path, marker: str) -> Iterator[subprocess.Popen[bytes]]:
    """run_eval.py while its submission sleeps in a container."""
    given = options(tmp_path, "sleeps_in_a_grandchild")
    command = [sys.executable, str(REPOSITORY / "run_eval.py"), "--runner", "docker", "--memory", "400m"]
    command += ["--submission", str(given.submission), "--data", str(given.data), "--out", str(given.out)]
    evaluator = subprocess.Popen([*command, "--time-factor", "1000"])
    try:
        assert processes.wait_until(marker, present=True, timeout_seconds=240.0)
        yield evaluator
    finally:
        evaluator.kill()
        evaluator.wait()


def relays() -> list[int]:
    """Ids of the processes that look after a container."""
    return processes.with_argument("evaluator.containers.relay")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_ending_the_evaluator_ends_the_container(
    client: docker.DockerClient, running: subprocess.Popen[bytes], marker: str, number: signal.Signals
) -> None:
    running.send_signal(number)
    running.wait(60)
    assert wait_until_gone(client, GONE_SECONDS)
    assert processes.wait_until(marker, present=False)
    assert processes.wait_until("evaluator.containers.relay", present=False)


def test_killing_the_relay_too_ends_the_container(
    client: docker.DockerClient, running: subprocess.Popen[bytes], marker: str
) -> None:
    (relay,) = relays()
    os.kill(relay, signal.SIGSTOP)  # so that it cannot do its work when the evaluator dies
    running.kill()
    os.kill(relay, signal.SIGKILL)
    assert wait_until_gone(client, GONE_SECONDS)
    assert processes.wait_until(marker, present=False)


@pytest.mark.parametrize("challenge", ["music", "cinematic"])
def test_the_demo_scores_the_same_by_either_runner(
    client: docker.DockerClient, tmp_path: Path, challenge: str
) -> None:
    scores = {}
    first = sorted(path.name for path in (DEMO / challenge).iterdir() if path.is_dir())[0]
    for runner in ("docker", "process"):
        result = evaluate(
            Options(
                submission=REPOSITORY,
                data=DEMO / challenge,
                challenge=challenge,
                only=first,
                limits=Limits(time_factor=None),
                runner=runner,
                out=tmp_path / runner,
            )
        )
        assert result.status == "ok", result.tracks
        scores[runner] = result.score()
    assert scores["docker"] == pytest.approx(scores["process"], abs=SAME_NETWORKS_DB)
