"""What goes into a container and out of it, as far as that needs no engine."""

import io
import json
import os
import socket
import stat
import struct
import subprocess
import sys
import tarfile
import threading
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from docker.errors import DockerException

from evaluator.commands import evaluate
from evaluator.containers import image, relay, workplace_files
from evaluator.containers.engine import EngineError, connect
from evaluator.containers.first_process import Requests
from evaluator.containers.relay import ContainerSpec, hand_over, host_options, pass_on
from evaluator.containers.runner import (
    CODE,
    FIRST_PROCESS,
    MIXTURES,
    ContainerRunner,
    container_runner,
    wants_gpu,
)
from evaluator.isolation import folders
from evaluator.isolation.sandbox import Limits, Workplace
from evaluator.locations import REPOSITORY
from tests.evaluator import audio
from tests.evaluator.submissions import write_submission

SPEC = ContainerSpec(
    image="image",
    command=["python"],
    folder="/",
    mounts=[("/here", "/there", True)],
    memory_bytes=16 << 30,
    cpus=4,
    max_processes=100,
    scratch_bytes=2 << 30,
    predictions="/sdx/shared/predictions",
    predictions_bytes=300 << 20,
    gpus=True,
    temporary="/work",
)


def test_the_image_holds_what_the_server_needs_and_nothing_else() -> None:
    files = image.context_of(REPOSITORY).files
    assert {"Dockerfile", "aicrowd.json", "requirements.txt", "my_submission/aicrowd_wrapper.py"} <= set(
        files
    )
    assert {Path(name).parts[0] for name in files} <= {
        *("Dockerfile", ".dockerignore", "aicrowd.json", "apt.txt", "requirements.txt"),
        *("my_submission", "sdx", "weights"),
    }
    assert not [name for name in files if "__pycache__" in name]


def test_a_submission_without_a_dockerfile_gets_ours(tmp_path: Path) -> None:
    submission = write_submission(tmp_path, "perfect")
    files = image.context_of(submission).files
    assert files["Dockerfile"] == REPOSITORY / "Dockerfile"
    assert files["my_submission/user_config.py"] == submission / "my_submission" / "user_config.py"
    (submission / "Dockerfile").write_text("FROM scratch\n")
    assert image.context_of(submission).files["Dockerfile"] == submission / "Dockerfile"


def test_an_image_is_known_by_what_goes_into_it(tmp_path: Path) -> None:
    submission = write_submission(tmp_path, "perfect")

    def digest(**arguments: str) -> str:
        return image.context_of(submission).digest(arguments)

    before = digest()
    os.utime(submission / "my_submission" / "user_config.py", (0, 0))
    assert digest() == before
    assert digest(BASE="another") != before
    (submission / "my_submission" / "more.py").write_text("")
    assert digest() != before


def test_a_context_is_the_same_for_every_copy(tmp_path: Path) -> None:
    submission = write_submission(tmp_path, "perfect")
    (submission / "run.sh").write_text("#!/bin/sh\n")
    (submission / "run.sh").chmod(0o700)
    written = io.BytesIO()
    image.context_of(submission).write_tar(written)
    written.seek(0)
    with tarfile.open(fileobj=written) as archive:
        entries = {entry.name: entry for entry in archive}
    assert entries["run.sh"].mode == 0o755
    assert entries["my_submission/user_config.py"].mode == 0o644
    assert {(entry.mtime, entry.uid) for entry in entries.values()} == {(0, 0)}


def test_links_stay_links_and_odd_files_are_left_out(tmp_path: Path) -> None:
    submission = write_submission(tmp_path, "perfect")
    package = submission / "my_submission"
    (tmp_path / "secret").write_text("secret")
    (package / "outwards").symlink_to(tmp_path / "secret")
    (package / "folder").symlink_to(tmp_path)
    (package / "inside").symlink_to("user_config.py")
    (package / "zero").symlink_to("/dev/zero")
    os.mkfifo(package / "pipe")
    Path(os.fsdecode(os.fsencode(package) + b"/\xff")).write_text("odd")
    context = image.context_of(submission)
    before = context.digest({})
    written = io.BytesIO()
    context.write_tar(written)
    written.seek(0)
    with tarfile.open(fileobj=written) as archive:
        entries = {Path(entry.name).name: entry for entry in archive}
    assert entries["inside"].issym()
    assert entries["inside"].linkname == "user_config.py"
    assert "\udcff" in entries
    assert not entries.keys() & {"outwards", "folder", "zero", "pipe"}
    (package / "inside").unlink()
    (package / "inside").symlink_to("aicrowd_wrapper.py")
    assert context.digest({}) != before


@pytest.mark.parametrize("name", ["Dockerfile", "requirements.txt", "apt.txt", ".dockerignore"])
def test_what_a_build_reads_first_is_no_link(name: str, tmp_path: Path) -> None:
    submission = write_submission(tmp_path, "perfect")
    (submission / name).unlink(missing_ok=True)
    (submission / name).symlink_to("/dev/zero")
    with pytest.raises(EngineError, match=f"{name} is a link"):
        image.context_of(submission)


def test_more_than_an_image_could_hold_is_refused_before_it_is_read(tmp_path: Path) -> None:
    submission = write_submission(tmp_path, "perfect")
    with (submission / "large").open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(EngineError, match=r"1100 GB would go into the image; expected at most 69 GB"):
        image.context_of(submission)
    (submission / ".dockerignore").write_text("large\n")
    assert "large" not in image.context_of(submission).files


def test_the_walls_of_a_container() -> None:
    options = host_options(SPEC, podman=False, hands_over=True)
    assert options["network_mode"] == "none"
    assert options["mem_limit"] == options["memswap_limit"] == 16 << 30
    assert options["cpu_quota"] == 4 * options["cpu_period"]
    assert options["pids_limit"] == 100
    assert options["cap_drop"] == ["ALL"]
    assert "no-new-privileges" in options["security_opt"]
    assert options["auto_remove"]
    assert options["mounts"][0]["ReadOnly"]
    assert options["read_only"]
    assert options["tmpfs"]["/tmp"].startswith(f"size={2 << 30},")
    assert {options["tmpfs"][name][:11] for name in ("/run", "/var/tmp")} == {"ro,size=4k,"}
    assert options["shm_size"] == 2 << 30
    assert options["device_requests"][0]["Count"] == -1
    assert host_options(SPEC, podman=True, hands_over=True)["devices"] == ["nvidia.com/gpu=all"]


def test_predictions_have_a_size_or_are_a_folder_of_ours() -> None:
    """Which of the two depends on whether an open folder of the container can be handed over."""
    handed = host_options(SPEC, podman=False, hands_over=True)
    assert handed["tmpfs"][SPEC.predictions].startswith(f"size={300 << 20},")
    assert all(mount["ReadOnly"] for mount in handed["mounts"])
    watched = host_options(SPEC, podman=False, hands_over=False)
    assert SPEC.predictions not in watched["tmpfs"]
    (ours,) = [mount for mount in watched["mounts"] if not mount["ReadOnly"]]
    assert (ours["Source"], ours["Target"]) == ("/work/shared/predictions", SPEC.predictions)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs the kernel's open folders")
def test_folders_of_tracks_are_handed_over_and_nothing_else_is(tmp_path: Path) -> None:
    root = tmp_path / ("long" * 30)
    root.mkdir()
    relay, evaluator = socket.socketpair()
    relay_end = relay.detach()
    hand_over(*workplace_files.make_channel(root), relay_end)
    at = root / "channel" / "socket"
    process_1 = socket.socket(socket.AF_UNIX)
    opened = os.open(root / "channel", os.O_RDONLY | os.O_DIRECTORY)
    process_1.connect(f"/proc/self/fd/{opened}/socket")
    (tmp_path / "predictions").mkdir()
    folder = os.open(tmp_path / "predictions", os.O_RDONLY)
    socket.send_fds(process_1, [b"!"], [folder, folder])
    _, (got, *more), _, _ = socket.recv_fds(evaluator, 1, 8)
    assert os.path.samestat(os.fstat(got), os.fstat(folder))
    assert more == []
    with pytest.raises(FileNotFoundError), socket.socket(socket.AF_UNIX) as another:
        another.connect(f"/proc/self/fd/{opened}/{at.name}")
    process_1.sendall(b"!")
    _, nothing, _, _ = socket.recv_fds(evaluator, 1, 8)
    assert nothing == []
    for descriptor in (got, folder, opened):
        os.close(descriptor)
    process_1.close()
    evaluator.close()


def test_a_container_without_limits_keeps_its_other_walls() -> None:
    unlimited = replace(SPEC, memory_bytes=None, cpus=None, scratch_bytes=None, gpus=False)
    options = host_options(unlimited, podman=False, hands_over=True)
    assert not {"mem_limit", "cpu_quota", "shm_size", "device_requests", "devices"} & set(options)
    assert "size=" not in options["tmpfs"]["/tmp"]
    assert (options["network_mode"], options["read_only"], options["cap_drop"]) == ("none", True, ["ALL"])


@pytest.mark.parametrize(
    ("content", "wanted"), [('{"gpu": true}', True), ('{"gpu": false}', False), ("[]", False), ("{", False)]
)
def test_a_gpu_is_for_those_who_ask(tmp_path: Path, content: str, wanted: bool) -> None:
    assert not wants_gpu(tmp_path)
    (tmp_path / "aicrowd.json").write_text(content)
    assert wants_gpu(tmp_path) is wanted


def test_requests_end_with_their_pipe_or_with_silence() -> None:
    read_end, write_end = os.pipe()
    requests = Requests(read_end, silence_seconds=0.05)
    os.write(write_end, b'{"op": "alive"}\n{"op": "one"}\n{"op":')
    assert requests.next_line() == b'{"op": "one"}\n'
    os.write(write_end, b' "two"}\n')
    assert requests.next_line() == b'{"op": "two"}\n'
    assert requests.next_line() is None  # nothing came in time
    os.close(write_end)
    assert requests.next_line() is None


def test_the_relay_passes_lines_in_and_frames_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evaluator.containers.relay.ALIVE_SECONDS", 0.1)
    engine_side, ours = socket.socketpair()
    (requests, ask), (events, events_in), (log, log_in) = os.pipe(), os.pipe(), os.pipe()
    relay = threading.Thread(target=pass_on, args=(requests, ours, {1: events_in}, log_in))
    relay.start()
    os.write(ask, b'{"op": "usage"}\n')
    lines = engine_side.makefile("rb")
    received = [json.loads(lines.readline())["op"] for _ in range(3)]
    assert set(received) == {"usage", "alive"}
    framed = struct.pack(">BxxxI", 1, 5) + b"event" + struct.pack(">BxxxI", 2, 4) + b"said"
    for start in range(0, len(framed), 3):  # a connection splits where it likes
        engine_side.sendall(framed[start : start + 3])
    engine_side.close()
    lines.close()
    relay.join(10)
    assert not relay.is_alive()
    assert (os.read(events, 100), os.read(log, 100)) == (b"event", b"said")
    for descriptor in (requests, ask, events, events_in, log, log_in):
        os.close(descriptor)
    ours.close()


def test_the_relay_ends_when_the_evaluator_is_gone() -> None:
    engine_side, ours = socket.socketpair()
    requests, ask = os.pipe()
    os.close(ask)
    pass_on(requests, ours, {}, 2)
    os.close(requests)
    engine_side.close()
    ours.close()


def test_the_relay_does_not_wait_for_an_engine_that_takes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "TAKES_SECONDS", 0.1)
    engine_side, ours = socket.socketpair()
    requests, ask = os.pipe()
    request = b'{"op": "' + b"x" * 8_000 + b'"}\n'

    class Engine:
        api = SimpleNamespace(start=lambda identifier: None, attach_socket=lambda identifier, streams: ours)

    def keep_asking() -> None:
        with suppress(OSError):
            while True:
                os.write(ask, request)

    asking = threading.Thread(target=keep_asking)
    asking.start()
    with pytest.raises(TimeoutError), relay._attached(Engine, "id") as link:  # type: ignore[arg-type]
        pass_on(requests, link, {}, 2)
    os.close(requests)
    asking.join(10)
    os.close(ask)
    engine_side.close()


def test_without_an_engine_there_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/socket")
    submission = write_submission(tmp_path, "perfect")
    data = audio.write_music(tmp_path / "data")
    arguments = ["--submission", str(submission), "--data", str(data), "--runner", "docker"]
    assert evaluate.main([*arguments, "--out", str(tmp_path / "out")]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert f"no container engine answers at unix://{tmp_path}/socket" in line


def test_without_rights_to_the_engine_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(timeout: int) -> None:
        try:
            raise PermissionError(13, "Permission denied")
        except PermissionError as error:
            raise DockerException("Error while fetching server API version") from error

    monkeypatch.setattr("docker.from_env", refuse)
    with pytest.raises(EngineError, match="no permission to use the container engine"):
        connect()


def test_a_preset_beside_the_data_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("evaluator.containers.runner.connect", lambda: None)
    submission = write_submission(tmp_path, "perfect")
    preset = tmp_path / "mine.yaml"
    preset.write_text("")
    with pytest.raises(EngineError, match="the data is there, too"):
        container_runner(submission, Limits(), {"SDX_PRESET": str(preset)}, [tmp_path / "data"])
    container_runner(submission, Limits(), {"SDX_PRESET": str(preset)}, [Path("/elsewhere")])


def test_what_is_mounted_is_there_and_can_be_read_by_the_user_inside(tmp_path: Path) -> None:
    """Whatever our umask is, and each time anew: it is removed at the end of a session."""
    submission = write_submission(tmp_path, "perfect")
    workplace = Workplace(tmp_path / "work")
    runner = ContainerRunner(submission, "image", workplace, Limits(), {}, None)
    described = ContainerSpec(**json.loads(runner._launcher.command[-1]))
    before = os.umask(0o077)
    try:
        for _ in range(2):
            workplace_files.make(Path(described.temporary))
            for here, there, _ in described.mounts:
                assert stat.S_IMODE(os.stat(here).st_mode) == 0o755, there
            assert stat.S_IMODE(workplace.predictions.stat().st_mode) == 0o777
            code = tmp_path / "work" / "code"
            assert {stat.S_IMODE(path.stat().st_mode) for path in code.rglob("*.py")} == {0o644}
            folders.remove(described.temporary)
    finally:
        os.umask(before)
    assert [there for _, there, _ in described.mounts] == [CODE, MIXTURES]


def test_process_1_needs_nothing_but_what_is_mounted(tmp_path: Path) -> None:
    """And runs nothing of a package that the submission requires: no site, no .pth file, no variables."""
    assert {"-I", "-S"} <= set(FIRST_PROCESS)
    workplace_files.make(tmp_path / "work")
    code = tmp_path / "work" / "code"
    file = str(code / Path(FIRST_PROCESS[-1]).relative_to(CODE))
    done = subprocess.run(
        [sys.executable, *FIRST_PROCESS[:-1], file],
        cwd="/", capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
