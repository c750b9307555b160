"""What is left by those who were killed is removed after a day, and nothing that is being made, or may be needed."""

import os
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from sqlalchemy import delete, select

from evaluator.service import sweeping
from evaluator.service.tables import Entry
from tests.evaluator.service.test_uploads import CONTENT, NAME
from tests.evaluator.service.world import World


def folder(world: World, number: int, days: float) -> Path:
    """The folder of an entry, in which something was written so many days ago."""
    made = world.settings.entry_folder(number)
    made.mkdir(parents=True, exist_ok=True)
    (made / "upload").write_bytes(b"x")
    age(world, made, days)
    return made


def age(world: World, path: Path, days: float) -> None:
    at = world.now() - days * world.settings.upload_seconds
    os.utime(path, (at, at))


def left(world: World) -> list[str]:
    place = world.settings.root / "entries"
    return sorted(path.name for path in place.iterdir()) if place.is_dir() else []


def without_row(world: World, *numbers: int) -> int:
    """As if entries of these numbers had been begun, whose service was killed; returns that of one after them."""
    while (number := world.begin("ann")) <= max(numbers):
        world.program("ann").delete(f"/api/v1/entries/{number}")
    with world.database.writing() as session:
        session.execute(delete(Entry).where(Entry.id.in_(numbers)))
    return number


def test_a_folder_without_a_row_is_removed_after_a_day(world: World) -> None:
    last = without_row(world, 1, 2)
    for number, days in ((1, 1.1), (2, 0.9), (last, 1.1), (last + 1, 1.1)):
        folder(world, number, days)
    world.worker().sweep()
    assert left(world) == ["2", str(last), str(last + 1)], "that one may be another database's"


def test_a_new_database_beside_old_folders_costs_none_of_them(world: World) -> None:
    for number in range(1, 4):
        folder(world, number, 10)
    world.worker().sweep()
    assert left(world) == ["1", "2", "3"]


def blank(world: World) -> dict[str, Any]:
    """What a row holds beside its number."""
    with world.database.reading() as session:
        found = session.scalars(select(Entry)).first()
    return {name: getattr(found, name) for name in Entry.__table__.columns.keys() if name != "id"}  # noqa: SIM118


def test_there_may_be_any_number_of_folders(world: World) -> None:
    last = without_row(world, 1)
    there = dict.fromkeys(range(1, 70_000), folder(world, 1, 1.1))
    with world.database.reading() as session:
        found = sweeping._unborn(world.settings, session, there, world.now())
    assert found == list(range(1, last))


def test_nobody_makes_an_entry_while_folders_are_moved_away(world: World) -> None:
    """Its row is not seen by others before it is all there."""
    without_row(world, 1)
    made = folder(world, 1, 1.1)
    with ThreadPoolExecutor(1) as pool:
        with world.database.writing() as session:
            session.add(Entry(id=1, **blank(world)))
            session.flush()
            moving = pool.submit(sweeping._move_away, world.settings, world.database, [1], world.now())
            wait([moving], 0.1)
        moving.result()
    assert (made / "upload").exists()


def test_what_was_being_removed_when_the_worker_ended_goes_with_the_next_sweep(world: World) -> None:
    place = world.settings.root / "entries"
    (place / f"{sweeping.GONE}x").mkdir(parents=True)
    world.worker().sweep()
    assert left(world) == []


def test_a_number_that_is_given_again_finds_no_files(world: World) -> None:
    """SQLite gives the number of an entry that was not kept to the next one."""
    folder(world, 1, 0)
    assert world.begin("ann") == 1
    world.declare("ann", 1, {NAME: CONTENT})
    assert [path.name for path in world.settings.entry_folder(1).iterdir()] == []


def test_mixtures_of_a_benchmark_that_was_never_made_are_removed(world: World) -> None:
    place = world.settings.mixtures_file("bench").parent
    for name, days in (("0a.zip", 1.1), ("0b.zip", 0.9), ("mixtures.zip", 9)):
        (place / name).write_bytes(b"x")
        age(world, place / name, days)
    world.worker().sweep()
    assert sorted(path.name for path in place.iterdir()) == ["0b.zip", "mixtures.zip"]
