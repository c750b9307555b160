"""What an account may send in a day counts by what came, whatever becomes of it and by whatever way it came."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from evaluator.service import received, receiving
from evaluator.service.errors import Refused
from evaluator.service.received import HOUR_SECONDS
from evaluator.service.settings import DAY_SECONDS
from evaluator.service.tables import Received
from tests.evaluator.service import test_mvsep as mvsep
from tests.evaluator.service.test_uploads import CONTENT, NAME
from tests.evaluator.service.world import PATCH, World, zipped


def limit(world: World, size_bytes: int) -> None:
    object.__setattr__(world.settings, "bytes_a_day", size_bytes)


def declared(world: World, entry: int, sha256: str | None = None) -> str | None:
    """The location of a new upload; None where it would be too much in a day."""
    files = {"files": [{"name": NAME, "length": len(CONTENT), "sha256": sha256}]}
    answer = world.program("ann").post(f"/api/v1/entries/{entry}/files", json=files)
    if answer.status_code == 429:
        assert "may send in a day" in answer.json()["error"]
        return None
    assert answer.status_code == 200, answer.text
    return str(answer.json()["uploads"][0]["location"])


@pytest.mark.parametrize("sent", [1000, len(CONTENT)])
def test_what_was_deleted_has_come_all_the_same(world: World, sent: int) -> None:
    limit(world, len(CONTENT) + 2000)
    entry, came = world.begin("ann"), 0
    while (location := declared(world, entry)) is not None:
        headers = {**PATCH, "Upload-Offset": "0"}
        answer = world.program("ann").patch(location, content=CONTENT[:sent], headers=headers)
        assert answer.status_code == 204
        came += sent
        assert world.program("ann").delete(location).status_code == 204
    assert world.settings.bytes_a_day - len(CONTENT) < came <= world.settings.bytes_a_day
    world.seconds += DAY_SECONDS + 1
    assert declared(world, entry) is not None


def test_what_was_deleted_before_it_came_costs_nothing(world: World) -> None:
    limit(world, len(CONTENT))
    entry = world.begin("ann")
    for _ in range(3):
        location = declared(world, entry)
        assert location is not None
        world.program("ann").delete(location)


def test_what_has_another_hash_than_was_said_comes_no_more_often_than_others(world: World) -> None:
    limit(world, 2 * len(CONTENT))
    location = declared(world, world.begin("ann"), hashlib.sha256(b"of others").hexdigest())
    assert location is not None
    assert [world.send("ann", location, CONTENT).status_code for _ in range(3)] == [460, 460, 429]


def test_what_comes_while_it_is_deleted_counts_too(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else nothing would, where each upload is deleted before its first note."""
    limit(world, 2 * len(CONTENT))
    entry, find = world.begin("ann"), receiving._find
    statuses: list[int] = []

    def deleted_then(*asked: Any) -> Any:
        found = find(*asked)
        world.program("ann").delete(location or "")
        found.path.parent.mkdir(exist_ok=True)
        return found

    monkeypatch.setattr(receiving, "_find", deleted_then)
    while (location := declared(world, entry)) is not None and len(statuses) < 5:
        statuses.append(world.send("ann", location, CONTENT).status_code)
    assert statuses == [409, 409]


def test_forms_that_are_not_finished_count_too(world: World, tmp_path: Path) -> None:
    mvsep.synth(world, tmp_path)
    content = zipped(mvsep.files())
    limit(world, 3 * len(content))
    cut = mvsep.form([("api_token", world.token("ann")), ("dataset_type", "0"), ("zipfile", content)])
    cut["content"] = cut["content"][:-8]
    statuses = [
        world.program(None).post(f"{mvsep.ROOT}/add", **cut).json()["data"]["message"] for _ in range(3)
    ]
    assert ["cut short" in each for each in statuses] == [True, True, False]
    assert "may send in a day" in statuses[2]
    assert mvsep.left(world) == []


def test_the_hours_of_a_day_add_up(world: World) -> None:
    world.token("ann")
    account = world.caller("ann").account
    limit(world, 2 * 24 * 10)
    with world.database.writing() as session:
        for hour in range(30):
            world.seconds += HOUR_SECONDS
            for _ in range(2):
                received.note(session, account, 10, world.now())
            left = 2 * 10 * max(0, 23 - hour)
            received.require_left(world.settings, session, account, left, world.now())
            with pytest.raises(Refused):
                received.require_left(world.settings, session, account, left + 1, world.now())
        assert len(session.scalars(select(Received)).all()) == 24, "what is long ago is forgotten"
        received.require_left(world.settings, session, account + 1, 2 * 24 * 10, world.now())
