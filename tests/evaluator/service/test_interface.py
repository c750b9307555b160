"""The interface does what its own description (OpenAPI) says, whatever is asked of it."""

from collections.abc import Mapping
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import booleans
from schemathesis.checks import (
    content_type_conformance,
    not_a_server_error,
    response_schema_conformance,
    status_code_conformance,
)

from evaluator.service.receiving import CONTENT_TYPE
from tests.evaluator.service.test_entries import scored
from tests.evaluator.service.world import World

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]
schemathesis.serializer.alias(CONTENT_TYPE, "application/octet-stream")
HOST = {"Host": "127.0.0.1"}
PLAN = settings(
    max_examples=20,  # of each operation
    derandomize=True,
    deadline=None,
    database=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)


def test_every_operation_is_described(world: World) -> None:
    found = world.program(None).get("/api/v1/openapi.json").json()
    for path, operations in found["paths"].items():
        for method, operation in operations.items():
            told = operation["responses"]
            good = next(value for status, value in told.items() if status.startswith("2"))
            assert operation["description"], path
            assert {"4XX"} <= set(told), path
            kinds = good.get("content", {})
            assert all(kind["schema"] not in ({}, {"type": "object"}) for kind in kinds.values()), (
                path,
                method,
            )
            assert kinds or method in ("head", "options", "delete", "patch") or path.endswith("/uploads"), (
                path
            )
    assert "/api/v1/entries/{number}/submit" in found["paths"]
    assert not any(path.startswith(("/sign-in", "/account")) for path in found["paths"])
    assert "security" in found["paths"]["/api/v1/entries"]["post"]


def statuses_of(operation: Any, there: Mapping[str, Any], headers: Mapping[str, str]) -> set[int]:
    """Ask for an operation in many ways; each answer must be as described. there: asked for half of the time."""
    seen = set()

    @PLAN
    @given(case=operation.as_strategy(), is_there=booleans())
    def ask(case: Any, is_there: bool) -> None:
        if is_there:
            case.path_parameters |= {name: there[name] for name in there.keys() & case.path_parameters.keys()}
        answer = case.call(headers=dict(headers))
        seen.add(answer.status_code)
        case.validate_response(answer, checks=CHECKS)

    ask()
    return seen


@pytest.mark.slow
def test_whatever_is_asked_is_answered_as_described(world: World) -> None:
    """By schemathesis: values that fit the schemas and values that do not, of what is there and of what is not."""
    scored(world, "ann", 3.0, visibility="public")
    entry = world.begin("ann")
    (upload,) = world.declare("ann", entry, {"a_bass.wav": bytes(5000)})
    ours = {
        "/uploads/": {"number": upload["location"].rpartition("/")[2]},
        "/entries/": {"number": entry},
        "": {"name": "bench"},
    }
    schema = schemathesis.openapi.from_asgi("/api/v1/openapi.json", world.app, headers=HOST)
    token = {"Authorization": f"Bearer {world.token('ann')}", **HOST}
    seen: dict[str, set[int]] = {}
    for found in schema.get_all_operations():
        operation = found.ok()  # type: ignore[union-attr]  # both kinds have it
        there = next(values for part, values in ours.items() if part in operation.path)
        seen[f"{operation.method} {operation.path}"] = statuses_of(operation, there, token)
    good = {name for name, statuses in seen.items() if min(statuses) < 300}
    assert len(good) > len(seen) / 2, "not only refusals were seen"
