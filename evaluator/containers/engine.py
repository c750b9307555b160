"""The container engine: whatever answers the Docker API where DOCKER_HOST, or Docker's usual socket, says."""

import os
from collections.abc import Iterator

import docker
from docker.errors import DockerException
from requests.exceptions import RequestException

from evaluator.isolation.sandbox import SandboxError

ANSWER_SECONDS = 60
LABEL = "sdx.evaluator"  # on every image and container of ours


class EngineError(SandboxError):
    """The engine cannot be used, or refused something; the message is one sentence."""


def connect(timeout_seconds: int = ANSWER_SECONDS) -> docker.DockerClient:
    """A client of an engine that answers; EngineError says what is wrong and what to do."""
    where = os.environ.get("DOCKER_HOST", "Docker's usual socket")
    try:
        client = docker.from_env(timeout=timeout_seconds)
        client.ping()
    except (DockerException, RequestException, OSError, ValueError) as error:
        causes = list(_causes(error))
        if any(isinstance(cause, PermissionError) for cause in causes):
            problem = (
                f"no permission to use the container engine at {where}; join its group (docker) or use sudo"
            )
        elif any(isinstance(cause, FileNotFoundError | ConnectionRefusedError) for cause in causes):
            problem = f"no container engine answers at {where}; start Docker or `podman system service`"
        else:
            problem = f"the container engine at {where} cannot be used: {error}"
        raise EngineError(f"{problem}; or evaluate with --runner process") from error
    return client


def is_podman(client: docker.DockerClient) -> bool:
    """Whether the engine is Podman, which calls GPUs by another name than Docker."""
    return any("podman" in part["Name"].lower() for part in client.version().get("Components", []))


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The exception, those it came from, and those it carries as arguments."""
    todo, seen = [error], set()
    while todo:
        item = todo.pop()
        if id(item) not in seen:
            seen.add(id(item))
            yield item
            linked = (item.__cause__, item.__context__, getattr(item, "reason", None), *item.args)
            todo += [part for part in linked if isinstance(part, BaseException)]
