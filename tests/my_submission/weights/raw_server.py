"""A server on loopback that says what it likes, and a checkpoint that comes from it."""

import contextlib
import hashlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from my_submission.weights import Checkpoint
from my_submission.weights.allowance import Patience
from my_submission.weights.fetch import fetch
from my_submission.weights.manifest import read_manifests
from tests.hub_server import without_certificates

CONTENTS = bytes(range(256)) * 40  # 10,240 bytes
SHA256 = hashlib.sha256(CONTENTS).hexdigest()
REPOSITORY = "owner/nets"
PATIENT = Patience(
    connect_seconds=5, read_seconds=60, attempts=3, first_pause_seconds=0.01, longest_pause_seconds=0.05
)  # fmt: skip
BRIEF = replace(
    PATIENT, grace_seconds=0.1, least_bytes_per_second=1e6
)  # where the download is to be given up

Conversation = Callable[[socket.socket, bytes], None]
"""What a server does with a connection, once it has the request."""


@contextlib.contextmanager
def serving(talk: Conversation) -> Iterator[str]:
    """The address of a server that treats every connection so, until the client goes away."""
    listener = socket.create_server(("127.0.0.1", 0))

    def one(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            request = b""
            while b"\r\n\r\n" not in request:
                received = connection.recv(65_536)
                if not received:
                    return
                request += received
            talk(connection, request)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=one, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        with without_certificates():
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def head(status: str = "200 OK", **headers: object) -> bytes:
    lines = [f"HTTP/1.1 {status}", *(f"{key.replace('_', '-')}: {value}" for key, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode()


def answer(body: bytes = CONTENTS, status: str = "200 OK", **headers: object) -> Conversation:
    """One whole answer."""
    content = head(status, Content_Length=len(body), Connection="close", **headers) + body
    return lambda connection, _: connection.sendall(content)


def endless(connection: socket.socket, _: bytes) -> None:
    """A body without a stated size that never ends."""
    connection.sendall(head(Transfer_Encoding="chunked"))
    while True:
        connection.sendall(b"10000\r\n" + bytes(0x10000) + b"\r\n")


def dribbling(before: bytes, drop: bytes) -> Conversation:
    """Something, and then a drop every now and then, for ever."""

    def talk(connection: socket.socket, _: bytes) -> None:
        connection.sendall(before)
        while True:
            connection.sendall(drop)
            time.sleep(0.02)

    return talk


def one_byte_each_time(connection: socket.socket, request: bytes) -> None:
    """One more byte to every request, and then the connection ends."""
    lines = request.decode().splitlines()
    start = next((int(line.split("=")[1].rstrip("-")) for line in lines if line.startswith("Range")), 0)
    place = {"Content_Range": f"bytes {start}-{len(CONTENTS) - 1}/{len(CONTENTS)}"} if start else {}
    connection.sendall(
        head("206 Partial Content" if start else "200 OK", Content_Length=len(CONTENTS) - start, **place)
    )
    connection.sendall(CONTENTS[start : start + 1])


def sending_again_and_again(connection: socket.socket, request: bytes) -> None:
    """Half a file, and then another range than was asked for, so that all begins anew."""
    if b"Range:" in request:
        connection.sendall(head("206 Partial Content", Content_Range="bytes 7-8/9", Content_Length=2) + b"xx")
    else:
        connection.sendall(head(Content_Length=len(CONTENTS)) + CONTENTS[:5000])


def circle(connection: socket.socket, _: bytes) -> None:
    connection.sendall(head("302 Found", Location="/net.th", Content_Length=0, Connection="close"))


def rows(folder: Path, url: str, **changes: object) -> list[Checkpoint]:
    """One checkpoint `net` that comes from there, of known size and hash."""
    folder.mkdir(exist_ok=True)
    row = {
        "architecture": "htdemucs", "sources": ["vocals"], "file": "net.th", "bytes": len(CONTENTS),
        "sha256": SHA256, "licence": "MIT", "origins": [{"url": f"{url}/net.th"}], **changes,
    }  # fmt: skip
    (folder / "manifest.yaml").write_text(yaml.safe_dump({"checkpoints": {"net": row}}))
    return list(read_manifests(folder / "manifest.yaml").checkpoints.values())


def fetched(weights: Path, talk: Conversation, patience: Patience = PATIENT, **changes: object) -> Path:
    with serving(talk) as url:
        return fetch(rows(weights, url, **changes), patience=patience)["net"]


NOTHING_KNOWN: dict[str, Any] = {"bytes": None, "sha256": None}


def first(status: str, **headers: str) -> Conversation:
    """That to the first request, the file to those after it."""
    replies = iter([answer(b"", status, **headers)])
    return lambda connection, request: next(replies, answer())(connection, request)
