"""What a supervisor may say: its lines -> events, or nothing.

In a container the supervisor is run by the image's interpreter, which is the submission's if it has a Dockerfile. So
a line is an event only if it has every field of one, of the right kind, and no other.
"""

import signal
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

MOST_CHARACTERS = 20_000
Count = Annotated[int, Field(ge=0)]


def _is_signal(name: str) -> str:
    if name not in signal.Signals.__members__:
        raise ValueError("no signal of this system")
    return name


class _Event(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")


class _Isolation(_Event):
    """As in `limits.Isolation`."""

    event: Literal["isolation"]
    network_off: bool
    references_hidden: bool
    process_namespace: bool
    orphans_ended: bool
    memory: Literal["cgroup v1", "cgroup v2", "watched", "container"] | None
    cpus: Count | None
    process_limit: Count | None
    unprivileged: bool
    calls_filtered: bool
    frozen: bool
    cpu_quota: bool
    disk: Literal["capped", "watched"] | None


class _Room(_Event):
    event: Literal["room"]
    open: bool


class _Worker(_Event):
    event: Literal["worker"]
    line: str  # not trusted: see said.py


class _Used(_Event):
    peak_memory_bytes: Count
    out_of_memory: bool
    out_of_disk: bool


class _Frozen(_Used):
    event: Literal["frozen"]
    held: bool


class _Exited(_Used):
    event: Literal["exited"]
    code: Count | None
    signal: Annotated[str, AfterValidator(_is_signal)] | None


class _Broken(_Event):
    event: Literal["broken"]
    error: Annotated[str, Field(max_length=MOST_CHARACTERS)]


_READER: TypeAdapter[_Event] = TypeAdapter(
    Annotated[_Isolation | _Room | _Worker | _Frozen | _Exited | _Broken, Field(discriminator="event")]
)


def parse(line: bytes) -> Mapping[str, Any] | None:
    """The event in a line, with all its fields; None for anything else."""
    try:
        return _READER.validate_json(line).model_dump()
    except ValidationError:
        return None
