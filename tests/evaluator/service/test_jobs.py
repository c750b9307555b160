"""The queue: every job is done once, whatever is killed, and none is ever stuck."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select, text, update
from sqlalchemy.orm import Session

from evaluator.service import accounts, benchmarks, jobs, organising
from evaluator.service.jobs import Claim, Scored
from evaluator.service.judging import Judge, JudgeError
from evaluator.service.tables import Entry, Job, MeanScore, TrackScore
from tests.evaluator.service.world import World, estimates
from tests.waiting import WAIT_SECONDS, wait_for

FOUND = Scored(
    ["bass"],
    "0" * 64,
    {"a": {"sdr": {"bass": 1.234}}, "b": {"sdr": {"bass": 3.0}}},
    {("public", "bass", "sdr"): 2.12},
    None,
)


def queued(world: World, *people: str) -> list[int]:
    """Entries of these people, waiting."""
    numbers = []
    for name in people:
        numbers.append(world.placed(name, estimates(stems=("bass",))))
        assert world.submit(name, numbers[-1]).status_code == 202
    return numbers


def claim(world: World, worker: str = "one") -> Claim | None:
    with world.database.writing() as session:
        return jobs.claim(session, worker, world.now())


def state(world: World, entry: int) -> str:
    with world.database.reading() as session:
        return session.get_one(Entry, entry).state


def test_many_workers_claim_every_job_once_in_order(world: World) -> None:
    numbers = queued(world, "ann", "bob", "carla", "dora", "emil")
    start = threading.Barrier(4)

    def claim_all(worker: int) -> list[int]:
        start.wait()
        found = []
        while (claimed := claim(world, f"worker {worker}")) is not None:
            found.append(claimed.entry)
        return found

    with ThreadPoolExecutor(4) as pool:
        lists = list(pool.map(claim_all, range(4)))
    assert sorted(number for found in lists for number in found) == numbers
    assert all(found == sorted(found) for found in lists)


def test_a_job_whose_worker_is_gone_goes_to_the_next_and_after_three_fails(world: World) -> None:
    (entry,) = queued(world, "ann")
    for attempt in (1, 2, 3):
        claimed = claim(world, f"worker {attempt}")
        assert claimed is not None
        assert claimed.attempt == attempt
        assert claim(world) is None, "it is claimed"
        world.seconds += jobs.LEASE_SECONDS + 1
    assert claim(world) is None
    assert state(world, entry) == "validating"
    world.worker().sweep()
    found = world.show("ann", entry)
    assert found["state"] == "failed"
    assert found["problems"] == [
        f"the service tried 3 times and could not score it; the last time: {jobs.LOST}"
    ]


def test_nothing_waits_for_a_clock_that_was_ahead(world: World) -> None:
    """Such as that of a machine that starts with another year until it has asked for the time."""
    (entry,) = queued(world, "ann")
    for attempt in (1, 2, 3):
        world.seconds -= 86_400
        claimed = claim(world)
        assert claimed is not None
        assert claimed.attempt == attempt
        assert claim(world) is None, "it is claimed"
    world.seconds -= 86_400
    world.worker().sweep()
    assert state(world, entry) == "failed"


def test_a_worker_that_beats_keeps_its_job(world: World) -> None:
    queued(world, "ann")
    claimed = claim(world)
    assert claimed is not None
    for _ in range(10):
        world.seconds += jobs.HEARTBEAT_SECONDS
        with world.database.writing() as session:
            assert jobs.beat(session, claimed, world.now(), 1)
        assert claim(world, "two") is None


@pytest.mark.parametrize("next_one", ["now", "late"])
def test_who_has_lost_a_job_writes_nothing(next_one: str, world: World) -> None:
    """Also if it has claimed the job again: what it did before is not finished by that."""
    (entry,) = queued(world, "ann")
    late = claim(world, "late")
    world.seconds += jobs.LEASE_SECONDS + 1
    now_has_it = claim(world, next_one)
    assert late is not None
    assert now_has_it is not None
    with world.database.writing() as session:
        assert not jobs.beat(session, late, world.now(), 0)
        assert not jobs.finish(session, late, FOUND, world.now())
        assert not jobs.refuse(session, late, ["no"])
        assert not jobs.give_back(session, late, "no", "", world.now())
        assert not session.scalars(select(TrackScore)).all()
    with world.database.writing() as session:
        assert jobs.finish(session, now_has_it, FOUND, world.now())
        assert not jobs.finish(session, now_has_it, FOUND, world.now()), "once"
    with world.database.reading() as session:
        assert len(session.scalars(select(TrackScore)).all()) == 2
        assert [mean.value for mean in session.scalars(select(MeanScore))] == [2.12]
    assert state(world, entry) == "done"


def test_what_goes_wrong_with_us_is_tried_three_times_with_pauses(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    (entry,) = queued(world, "ann")

    def fail(judge: Judge) -> Judge:
        raise JudgeError("the process that scores ended", "a secret path")

    monkeypatch.setattr(Judge, "__enter__", fail)
    worker = world.worker()
    for attempt in (1, 2, 3):
        assert worker.work_once()
        if attempt < 3:
            assert state(world, entry) == "queued"
            assert not worker.work_once(), "it waits a little"
        world.seconds += jobs.PAUSE_SECONDS * attempt
    found = world.show("ann", entry)
    assert found["state"] == "failed"
    assert "secret" not in str(found)
    world.token("olga", "organiser")
    browser = world.signed_in("olga")
    assert "a secret path" in browser.get("/organiser").text
    browser.post(
        f"/organiser/entries/{entry}/retry", headers={"Content-Type": "application/x-www-form-urlencoded"}
    )
    claimed = claim(world)
    assert claimed is not None
    with world.database.writing() as session:
        assert jobs.finish(session, claimed, FOUND, world.now())
    assert state(world, entry) == "done"


@pytest.mark.parametrize("moment", ["waiting", "claimed", "finished"])
def test_what_is_cancelled_stays_cancelled(world: World, moment: str) -> None:
    (entry,) = queued(world, "ann")
    claimed = None if moment == "waiting" else claim(world)
    assert world.program("ann").delete(f"/api/v1/entries/{entry}").json()["state"] == "cancelled"
    if claimed is not None:
        with world.database.writing() as session:
            held = jobs.beat(session, claimed, world.now(), 0)
            assert not held, "the worker hears of it at the next beat"
            assert not jobs.finish(session, claimed, FOUND, world.now())
    assert claim(world) is None
    assert state(world, entry) == "cancelled"


@pytest.mark.thorough
def test_scoring_again_adds_measures_and_costs_nothing(world: World) -> None:
    entry = world.scored("ann", estimates(0.8, ("bass",)))
    before = world.show("ann", entry)
    world.seconds += 1000
    with world.database.writing() as session:
        assert (
            organising.rescore(session, benchmarks.named(session, "bench"), ("sdr", "si_sdr"), world.now())
            == 1
        )
    waiting = world.show("ann", entry)
    assert (waiting["state"], waiting["means"]["public"]["sdr"]) == ("done", before["means"]["public"]["sdr"])
    assert world.worker().work_once()
    after = world.show("ann", entry)
    assert after["means"]["public"]["sdr"] == before["means"]["public"]["sdr"]
    assert after["means"]["public"]["si_sdr"]["bass"] is not None
    assert after["scored"] == before["scored"]
    left = world.program("ann").get("/api/v1/benchmarks/bench").json()["scores_left"]
    assert left == {"today": 4, "in_all": 99}


def test_the_queue_says_who_is_where(world: World) -> None:
    first, second = queued(world, "ann", "bob")
    claim(world)
    found = world.program(None).get("/api/v1/queue").json()
    assert [(each["entry"], each["state"], each["place"]) for each in found["entries"]] == [
        (first, "validating", 1),
        (second, "queued", 2),
    ]
    assert found["workers"] == 0
    assert "No worker is running" in world.browser().get("/queue").text
    world.worker().sweep()
    assert world.program(None).get("/api/v1/queue").json()["workers"] == 1
    page = world.browser().get("/queue").text
    assert "mine" not in page, "names of entries are not for everybody"


@pytest.mark.slow
def test_a_worker_starts_over_after_a_database_that_was_away(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sqlalchemy.exc import OperationalError

    (entry,) = queued(world, "ann")
    worker = world.worker()
    monkeypatch.setattr("evaluator.service.worker.HEARTBEAT_SECONDS", 0.0)
    work = worker.work_once
    calls: list[int] = []

    def away_at_first() -> bool:
        calls.append(1)
        if len(calls) == 1:
            raise OperationalError("SELECT 1", {}, Exception("away"))
        done = work()
        worker.stopped.set()
        return done

    monkeypatch.setattr(worker, "work_once", away_at_first)
    worker.run()
    assert state(world, entry) == "done"


def test_every_state_of_a_job_leads_on(world: World) -> None:
    """No row can be left that neither a worker nor the sweep would take up."""
    queued(world, "ann")
    for attempts in range(4):
        for job_state in ("waiting", "running"):
            with world.database.writing() as session:
                session.execute(
                    update(Job).values(
                        state=job_state, attempts=attempts, worker="gone", lease_until=world.now() - 1
                    )
                )
            if job_state == "waiting" and attempts >= jobs.MOST_ATTEMPTS:
                continue  # nothing writes such a row: give_back fails it instead
            with world.database.writing() as session:
                taken = jobs.claim(session, "next", world.now()) is not None
                assert taken or jobs.fail_lost(session, world.now())
            with world.database.writing() as session:
                session.execute(update(Entry).values(state="queued"))


@pytest.mark.slow
@pytest.mark.parametrize("world", ["postgresql"], indirect=True)
def test_who_cancels_as_the_worker_finishes_withdraws_and_neither_waits_for_the_other(world: World) -> None:
    """PostgreSQL has several writers; each holds what the other one needs."""
    (entry,) = queued(world, "ann")
    claimed = claim(world)
    assert claimed is not None
    with ThreadPoolExecutor(1) as pool:
        with world.database.writing() as session:
            assert jobs._still(session, claimed, log="")  # as `finish` begins
            stopped = pool.submit(world.program("ann").delete, f"/api/v1/entries/{entry}")
            wait_for(lambda: waits_for_a_lock(world), "the other writer")
            assert jobs.finish(session, claimed, FOUND, world.now())
        assert stopped.result(WAIT_SECONDS).json()["state"] == "withdrawn"
    with world.database.reading() as session:
        assert session.scalars(select(MeanScore)).all() == []


def waits_for_a_lock(world: World) -> bool:
    waiting = text(
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    with world.database.reading() as session:
        return bool(session.scalar(waiting))


@pytest.mark.slow
@pytest.mark.parametrize("world", ["postgresql"], indirect=True)
def test_what_is_cancelled_as_it_is_submitted_is_not_queued(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = world.uploaded("ann", estimates(stems=("bass",)))
    lock = accounts.lock

    def cancel_before(session: Session, account: int) -> None:
        monkeypatch.setattr(accounts, "lock", lock)
        assert world.program("ann").delete(f"/api/v1/entries/{entry}").json()["state"] == "cancelled"
        lock(session, account)

    monkeypatch.setattr(accounts, "lock", cancel_before)
    assert world.submit("ann", entry).status_code == 409
    assert state(world, entry) == "cancelled"
