"""The image of a submission: built from its Dockerfile, or ours; built again only when what goes into it changes."""

import hashlib
import json
import logging
import os
import tarfile
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import docker
from docker.errors import DockerException, ImageNotFound
from docker.utils.build import exclude_paths
from requests.exceptions import RequestException

from evaluator import regular_files
from evaluator.containers.engine import LABEL, EngineError, connect
from evaluator.isolation import view
from evaluator.locations import REPOSITORY

log = logging.getLogger(__name__)

NAME = "sdx-submission"
DOCKERFILE = "Dockerfile"
BASE_VARIABLE = "SDX_BASE_IMAGE"  # instead of the Dockerfile's own base
SUPPLIED = (DOCKERFILE, "requirements.txt", "apt.txt")  # ours where a submission has none
IGNORE_FILE = ".dockerignore"
IGNORED = (".git", "**/__pycache__", ".venv")  # where a submission has no such file
BUILD_SECONDS = 3600  # without a sign of life from the engine
KEPT_IMAGES = 3
MOST_BYTES = 64 << 30  # of all files, weights included
IGNORE_BYTES = 1 << 20
LOG_LINES = 15
PROXY_ARGUMENTS = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")


@dataclass(frozen=True)
class Context:
    """What is sent to the engine: files and links by their names in the build context. A link is sent as a link."""

    files: dict[str, Path]

    def digest(self, arguments: dict[str, str]) -> str:
        """A hash of the names, contents and execute bits of all files, of links, and of the build arguments."""
        total = hashlib.sha256(json.dumps(arguments, sort_keys=True).encode())
        for name, path in sorted(self.files.items()):
            if path.is_symlink():
                what = f"-> {os.readlink(path)}"
            else:
                content, _ = regular_files.sha256_of(path, MOST_BYTES, links=False)
                what = f"{os.access(path, os.X_OK)}\0{content}"
            total.update(os.fsencode(f"{name}\0{what}\n"))
        return total.hexdigest()

    def write_tar(self, target: IO[bytes]) -> None:
        """The files without what differs between copies of one commit: times and owners."""
        with tarfile.open(fileobj=target, mode="w") as archive:
            for name, path in sorted(self.files.items()):
                entry = tarfile.TarInfo(name)
                if path.is_symlink():
                    entry.type, entry.linkname = tarfile.SYMTYPE, os.readlink(path)
                    archive.addfile(entry)
                    continue
                with regular_files.opened(path, links=False) as file:
                    entry.size = os.fstat(file.fileno()).st_size
                    entry.mode = 0o755 if os.access(path, os.X_OK) else 0o644
                    archive.addfile(entry, file)


def context_of(submission: Path) -> Context:
    """The build context of a submission: whatever its .dockerignore leaves, plus our files where it has none.

    A stranger's folder: links are never followed, and those that lead out of it are left out, as is what is neither
    file nor folder. Raises EngineError if what a build reads first is a link, or if there is more than an image
    could hold.
    """
    for name in (*SUPPLIED, IGNORE_FILE):
        if (submission / name).is_symlink():
            raise EngineError(f"{submission / name} is a link; expected a file, as it is sent to the engine")
    names = exclude_paths(str(submission), _ignored(submission / IGNORE_FILE), dockerfile=DOCKERFILE)
    found = {Path(name).as_posix(): submission / name for name in names}
    top = submission.resolve()
    files = {
        name: path
        for name, path in found.items()
        if (view.end_of(path).is_relative_to(top) if path.is_symlink() else path.is_file())
    }
    size_bytes = sum(path.lstat().st_size for path in files.values())
    if size_bytes > MOST_BYTES:
        raise EngineError(
            f"{submission}: {size_bytes / 1e9:.0f} GB would go into the image; expected at most "
            f"{MOST_BYTES / 1e9:.0f} GB; leave out what is not needed in {IGNORE_FILE}"
        )
    supplied = {name: REPOSITORY / name for name in SUPPLIED if name not in files}
    return Context({**supplied, **files})


def _ignored(file: Path) -> list[str]:
    """The patterns of a .dockerignore, or those that hold without one."""
    if not file.exists():
        return list(IGNORED)
    try:
        text = regular_files.read(file, IGNORE_BYTES).decode()
    except (OSError, UnicodeDecodeError) as error:
        raise EngineError(
            f"{file} cannot be read: {error}; expected patterns, one a line, in UTF-8"
        ) from None
    lines = [line.strip() for line in text.splitlines()]
    return [line for line in lines if line and not line.startswith("#")]


def build_arguments() -> dict[str, str]:
    """The base image, if another is asked for, and the proxies of this machine."""
    arguments = {name: os.environ[name] for name in PROXY_ARGUMENTS if name in os.environ}
    if BASE_VARIABLE in os.environ:
        arguments["BASE"] = os.environ[BASE_VARIABLE]
    return arguments


def ensure_image(submission: Path) -> str:
    """The name of the submission's image in the engine; it is built if it does not exist yet.

    EngineError if there is no engine, or with the end of the build's output if that fails.
    """
    client = connect()
    context = context_of(submission)
    arguments = build_arguments()
    base = arguments.get("BASE")
    tag = f"{NAME}:{context.digest({**arguments, 'base id': _image_id(client, base)})[:16]}"
    try:
        if _image_id(client, tag):
            return tag
        log.info("building the image %s from %s; the first time takes minutes", tag, submission)
        started = time.monotonic()
        with tempfile.TemporaryFile() as archive:
            context.write_tar(archive)
            archive.seek(0)
            _build(connect(BUILD_SECONDS), archive, tag, arguments)
        size = client.images.get(tag).attrs["Size"]
        log.info("built in %.0f s; %.2f GB", time.monotonic() - started, size / 1e9)
        _remove_old(client, tag)
    except (DockerException, RequestException) as error:
        raise EngineError(f"the image could not be built: {error}") from error
    return tag


def _image_id(client: docker.DockerClient, name: str | None) -> str:
    try:
        return "" if name is None else str(client.images.get(name).id)
    except ImageNotFound:
        return ""


def _build(client: docker.DockerClient, archive: IO[bytes], tag: str, arguments: dict[str, str]) -> None:
    steps = client.api.build(
        fileobj=archive,
        custom_context=True,
        dockerfile=DOCKERFILE,
        tag=tag,
        buildargs=arguments,
        labels={LABEL: "image"},
        rm=True,
        forcerm=True,
        decode=True,
    )
    printed: list[str] = []
    for step in steps:
        printed = [*printed, *_lines(step)][-LOG_LINES:]
        if "error" in step:
            raise EngineError("the image could not be built:\n" + "\n".join(printed))


def _lines(step: dict[str, Any]) -> Iterator[str]:
    for line in str(step.get("stream") or step.get("error") or "").splitlines():
        if line.strip():
            log.debug("%s", line)
            yield line


def _remove_old(client: docker.DockerClient, tag: str) -> None:
    """Keep only our newest images, so that many submissions do not fill the disk."""
    ours = client.images.list(name=NAME, filters={"label": f"{LABEL}=image"})
    newest_first = sorted(ours, key=lambda image: str(image.attrs.get("Created")), reverse=True)
    for image in newest_first[KEPT_IMAGES:]:
        for name in image.tags:
            if not name.endswith(tag):
                try:
                    client.images.remove(name)
                except DockerException as error:
                    log.debug("%s is kept: %s", name, error)  # in use by another evaluation
