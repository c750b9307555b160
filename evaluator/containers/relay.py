"""The small process between the evaluator and a container: it passes lines on, and takes the container away.

To the evaluator it is what isolation/supervisor.py is for the process runner, and speaks the same lines; the
supervisor itself is process 1 of the container (first_process.py). The container is removed when the evaluator is
no longer there, for whatever reason (its end of our standard input closes). If this process is killed as well,
process 1 of the container notices the silence.
"""

import json
import os
import select
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import docker
from docker.errors import DockerException
from docker.types import DeviceRequest, LogConfig, Mount
from requests.exceptions import RequestException

from evaluator.containers import first_process, workplace_files
from evaluator.containers.engine import LABEL, EngineError, connect, is_podman
from evaluator.containers.first_process import ALIVE_SECONDS
from evaluator.isolation import folders
from evaluator.isolation.sandbox import Workplace
from evaluator.isolation.supervisor import emit

PERIOD_MICROSECONDS = 100_000
BLOCK_BYTES = 1 << 16
TAKES_SECONDS = 60.0  # for the engine to take what is sent; a dead one never does
HEADER = struct.Struct(">BxxxI")  # stream, length: Docker's framing of a container's output
STDOUT = 1
USER = "1001:1001"
PODMANS_OWN = ("/run", "/var/tmp")  # without a size, and writable though the root is not
CHANNEL = str(Path(first_process.CHANNEL).parent)
GONE = {
    "event": "exited", "code": None, "signal": "SIGKILL",
    "peak_memory_bytes": 0, "out_of_memory": False, "out_of_disk": False,
}  # fmt: skip


@dataclass(frozen=True)
class ContainerSpec:
    """A container to run; travels from the evaluator to the relay as JSON."""

    image: str
    command: Sequence[str]
    folder: str
    mounts: Sequence[tuple[str, str, bool]]  # (path here, path there, read only), besides that of predictions
    memory_bytes: int | None
    cpus: int | None
    max_processes: int
    scratch_bytes: int | None  # of temporary files; of shared memory as much again
    predictions: str  # the folder there for them
    predictions_bytes: int
    gpus: bool
    temporary: str  # the folder here that is removed at the end


def main(described: str, channel: str | None = None) -> None:
    """Run one container to its end; channel: the descriptor of the socket for open folders."""
    if channel is not None:
        os.set_inheritable(int(channel), False)
    for number in (signal.SIGTERM, signal.SIGINT, getattr(signal, "SIGHUP", signal.SIGTERM)):
        signal.signal(number, _end)
    try:
        client = connect()
        spec = ContainerSpec(**json.loads(described))
        try:
            root = Path(spec.temporary)
            workplace_files.make(root)
            hands_over = channel is not None and shares_kernel(client)
            if channel is not None and hands_over:
                hand_over(*workplace_files.make_channel(root), int(channel))
            with _container(client, spec, hands_over) as identifier, _attached(client, identifier) as link:
                pass_on(0, link, {STDOUT: 1}, default=2)
                emit(GONE)  # the first such event counts, and process 1 has sent one, unless it was killed
        finally:
            folders.remove(spec.temporary)
    except EngineError as error:
        emit({"event": "broken", "error": str(error)})
    except (DockerException, RequestException) as error:
        emit({"event": "broken", "error": f"the container could not be run: {error}"})


def shares_kernel(client: docker.DockerClient) -> bool:
    """Whether containers run on our own kernel, so that an open folder of theirs can be handed over."""
    return sys.platform.startswith("linux") and bool(client.info().get("KernelVersion") == os.uname().release)


def hand_over(listener: socket.socket, path: Path, channel: int) -> None:
    """From now on, pass open folders from process 1, which connects before anything of the submission runs.

    path: of the socket, which goes once process 1 has come: the submission finds none.

    Whoever sends something else there gets no further track.
    """

    def pass_folders() -> None:
        with suppress(OSError), listener:
            connection = listener.accept()[0]
            listener.close()  # nobody else
            path.unlink()
            with connection, socket.socket(fileno=channel) as evaluator:
                while received := socket.recv_fds(connection, 1, 1):
                    if not received[0]:
                        return
                    socket.send_fds(evaluator, [b"!"], received[1])
                    for descriptor in received[1]:
                        os.close(descriptor)

    threading.Thread(target=pass_folders, daemon=True).start()


def _end(number: int, frame: FrameType | None) -> None:
    sys.exit(0)


@contextmanager
def _container(client: docker.DockerClient, spec: ContainerSpec, hands_over: bool) -> Iterator[str]:
    """The id of a new container, which is removed at the end, running or not."""
    created = client.api.create_container(
        spec.image,
        command=list(spec.command[1:]),
        entrypoint=[spec.command[0]],
        user=USER,
        working_dir=spec.folder,
        stdin_open=True,
        labels={LABEL: "container"},
        host_config=client.api.create_host_config(**host_options(spec, is_podman(client), hands_over)),
    )
    try:
        yield created["Id"]
    finally:
        with suppress(DockerException, RequestException):  # it has removed itself
            client.api.remove_container(created["Id"], force=True)


def host_options(spec: ContainerSpec, podman: bool, hands_over: bool) -> dict[str, Any]:
    """The walls around a container, as docker's create_host_config takes them.

    hands_over: predictions are in its memory, and it hands them over; else they are a folder of ours.
    """
    root = Path(spec.temporary)
    tmpfs = {"/tmp": f"{_size(spec.scratch_bytes)}mode=1777,nosuid,nodev,exec"}
    tmpfs |= dict.fromkeys(PODMANS_OWN, "ro,size=4k,mode=755,nosuid,nodev,noexec")
    mounts = [Mount(there, here, type="bind", read_only=only) for here, there, only in spec.mounts]
    if hands_over:
        tmpfs[spec.predictions] = f"{_size(spec.predictions_bytes)}mode=1777,nosuid,nodev,noexec"
        mounts.append(Mount(CHANNEL, str(root / workplace_files.CHANNEL), type="bind", read_only=True))
    else:
        mounts.append(Mount(spec.predictions, str(Workplace(root).predictions), type="bind"))
    options: dict[str, Any] = {
        "auto_remove": True,
        "network_mode": "none",
        "read_only": True,
        "tmpfs": tmpfs,
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges", "label=disable"],  # else SELinux would hide what is mounted
        "pids_limit": spec.max_processes,
        "log_config": LogConfig(type="none"),
        "mounts": mounts,
    }
    if spec.scratch_bytes is not None:
        options["shm_size"] = spec.scratch_bytes
    if spec.memory_bytes is not None:
        options |= {"mem_limit": spec.memory_bytes, "memswap_limit": spec.memory_bytes}  # no swap beyond it
    if spec.cpus is not None:
        options |= {"cpu_period": PERIOD_MICROSECONDS, "cpu_quota": PERIOD_MICROSECONDS * spec.cpus}
    if spec.gpus and podman:
        options["devices"] = ["nvidia.com/gpu=all"]
    elif spec.gpus:
        options["device_requests"] = [DeviceRequest(count=-1, capabilities=[["gpu"]])]
    return options


def _size(size_bytes: int | None) -> str:
    """Option of files in memory; None: as much as the container's cap on that allows."""
    return "" if size_bytes is None else f"size={size_bytes},"


@contextmanager
def _attached(client: docker.DockerClient, identifier: str) -> Iterator[socket.socket]:
    """Start a container and give the two-way connection to it; nothing comes before something is sent."""
    client.api.start(identifier)
    streams = {"stdin": 1, "stdout": 1, "stderr": 1, "stream": 1}
    response = client.api.attach_socket(identifier, streams)
    link: socket.socket = getattr(response, "_sock", response)
    link.settimeout(TAKES_SECONDS)
    try:
        yield link
    finally:
        response.close()


def pass_on(requests: int, link: socket.socket, outputs: Mapping[int, int], default: int) -> None:
    """Pass lines from the descriptor `requests` to the container, and its output to descriptors by stream.

    Returns when either of the two ends; sends a sign of life at least every ALIVE_SECONDS.
    """
    unsent, unread = b"", b""
    alive = json.dumps({"op": "alive"}).encode() + b"\n"
    last_sign = time.monotonic()
    while True:
        readable = select.select([requests, link.fileno()], [], [], ALIVE_SECONDS / 2)[0]
        if requests in readable:
            given = os.read(requests, BLOCK_BYTES)
            if not given:
                return
            lines, end, unsent = (unsent + given).rpartition(b"\n")
            link.sendall(lines + end)
        if link.fileno() in readable:
            received = link.recv(BLOCK_BYTES)
            if not received:
                return
            unread = _write_frames(unread + received, outputs, default)
        if time.monotonic() - last_sign >= ALIVE_SECONDS / 2:
            link.sendall(alive)
            last_sign = time.monotonic()


def _write_frames(received: bytes, outputs: Mapping[int, int], default: int) -> bytes:
    """Write the complete frames of `received` to where they belong and return the rest."""
    start = 0
    while len(received) - start >= HEADER.size:
        stream, length = HEADER.unpack_from(received, start)
        end = start + HEADER.size + length
        if end > len(received):
            break
        _write_all(outputs.get(stream, default), memoryview(received)[start + HEADER.size : end])
        start = end
    return received[start:]


def _write_all(descriptor: int, content: memoryview) -> None:
    while content:
        content = content[os.write(descriptor, content) :]


if __name__ == "__main__":
    main(*sys.argv[1:])
    os._exit(0)  # without waiting for the thread that hands over
