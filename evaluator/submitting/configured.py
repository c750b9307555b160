"""What a repository of our layout would submit, asked of its own code, in the sandbox.

That is: the preset, the challenge, the weights. The environment is that of a server: none of our variables, and no
cache of weights.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from evaluator.isolation.process_runner import ProcessRunner
from evaluator.isolation.sandbox import Limits, Workplace

OWN_PREFIX = "SDX_"
CACHES = ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "TORCH_HOME", "XDG_CACHE_HOME")
VERIFIED = ("sha256", "recorded", "prefix", "tail_md5")
"""What a hash was compared with; see `weights list --json`."""


class ConfigurationError(Exception):
    """The submission cannot say what it would submit; the message is its own."""


@dataclass(frozen=True)
class Weights:
    """One checkpoint of the configured preset; `state` as in `weights list --json`."""

    name: str
    file: str
    path: Path | None
    bytes: int | None
    state: str
    problem: str | None
    architecture: str | None = None

    @property
    def verified(self) -> bool:
        """Whether its hash is what the manifest says."""
        return self.state in VERIFIED


@dataclass(frozen=True)
class Configured:
    """The preset in user_config.py and what it needs."""

    preset: str
    challenge: str
    weights: tuple[Weights, ...]


def server_like(environment: Mapping[str, str], empty_cache: Path) -> dict[str, str]:
    """`environment` as far as a server would have it: our variables gone, caches pointing to an empty folder."""
    dropped = ("PYTHONPATH", *CACHES)
    kept = {
        name: value
        for name, value in environment.items()
        if not name.startswith(OWN_PREFIX) and name not in dropped
    }
    return kept | {"HF_HOME": str(empty_cache), "TORCH_HOME": str(empty_cache)}


@contextmanager
def as_on_a_server(empty_cache: Path) -> Iterator[None]:
    """Processes started inside see the environment of `server_like`."""
    before = dict(os.environ)
    changed = server_like(before, empty_cache)
    os.environ.clear()
    os.environ.update(changed)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def ask(root: Path, empty_cache: Path) -> Configured:
    """What the submission in `root` would submit; hashes its weights.

    Raises ConfigurationError with what the submission printed where it has no valid answer.
    """
    with as_on_a_server(empty_cache):
        runner = ProcessRunner(root, Workplace(empty_cache / "asked"), Limits(), {}, hidden=[])
        outcome, answer = runner.list_weights()
    if answer is None:
        raise ConfigurationError(outcome.reason or outcome.status)
    if answer.failed:
        lines = outcome.log.strip().splitlines() or ["it fails without a word"]
        raise ConfigurationError(lines[-1].removeprefix("error: "))
    return parse(answer.text)


class _Row(BaseModel):
    model_config = ConfigDict(strict=True)

    name: str
    file: str
    path: str | None
    bytes: Annotated[int, Field(ge=0)] | None
    state: str
    problem: str | None
    architecture: str | None = None  # from kits before 1.0


class _Preset(BaseModel):
    model_config = ConfigDict(strict=True)

    name: str
    track: str | None
    checkpoints: list[_Row]


_ANSWER = TypeAdapter(Annotated[list[_Preset], Field(min_length=1, max_length=1)])


def parse(text: str) -> Configured:
    """The answer of `weights list --submitted --json`; ConfigurationError for anything else."""
    try:
        (preset,) = _ANSWER.validate_json(text)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False, include_context=False)[0]
        raise ConfigurationError(f"its answer cannot be read ({problem['type']})") from None
    if preset.track is None:
        raise ConfigurationError(
            f"preset {preset.name} does not make the stems of a challenge, so it cannot be submitted"
        )
    weights = tuple(
        Weights(
            row.name,
            row.file,
            None if row.path is None else Path(row.path),
            row.bytes,
            row.state,
            row.problem,
            row.architecture,
        )
        for row in preset.checkpoints
    )
    return Configured(preset.name, preset.track, weights)
