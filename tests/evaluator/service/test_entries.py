"""Entries: who sees what, quotas, dates, and what is left of one that was withdrawn."""

import re
from typing import Any

import pytest
from sqlalchemy import String, delete, update

from evaluator.service import entries, jobs, organising
from evaluator.service.errors import Refused
from evaluator.service.jobs import Scored
from evaluator.service.settings import DAY_SECONDS
from evaluator.service.tables import Benchmark, Entry, MeanScore
from tests import thinned
from tests.evaluator.service.world import World, estimates

FILES = estimates(stems=("bass",))


def scored(
    world: World, name: str, value: float = 1.0, content: str = "", suspicion: str | None = None, **said: Any
) -> int:
    """An entry with this score, without anything being computed; title: its name, since `name` is its author's."""
    if title := said.pop("title", ""):
        said["name"] = title
    entry = world.placed(name, FILES, said)
    with world.database.writing() as session:
        entries.submit(session, world.caller(name), entries.find(session, entry), world.now())
        session.flush()
        claimed = jobs.claim(session, "one", world.now())
        assert claimed is not None
        means = {("public", stem, "sdr"): value for stem in ("mean", "bass", "drums", "other", "vocals")}
        tracks = {"a": {"sdr": {"bass": value}}}
        digest = (content or f"{entry:x}").rjust(64, "0")
        assert jobs.finish(session, claimed, Scored(["bass"], digest, tracks, means, suspicion), world.now())
    return entry


def refusal(world: World, name: str) -> str:
    """What submitting one more says."""
    entry = world.placed(name, FILES)
    answer = world.submit(name, entry)
    assert answer.status_code in (409, 429), answer.text
    world.program(name).delete(f"/api/v1/entries/{entry}")
    return str(answer.json()["error"])


def test_five_scores_a_day_and_a_number_in_all(world: World) -> None:
    with world.database.writing() as session:
        session.execute(update(Benchmark).values(in_all=7))
    for _ in range(5):
        scored(world, "ann")
    assert "5 scores of bench within a day" in refusal(world, "ann")
    scored(world, "bob")
    world.seconds += DAY_SECONDS + 1
    scored(world, "ann")
    scored(world, "ann")
    assert "7 scores of bench, which is all there is" in refusal(world, "ann")


@pytest.mark.thorough
def test_what_was_withdrawn_has_cost_its_score(world: World) -> None:
    for _ in range(5):
        world.program("ann").delete(f"/api/v1/entries/{scored(world, 'ann')}")
    assert "within a day" in refusal(world, "ann")


@pytest.mark.thorough
def test_the_same_bytes_and_what_was_refused_cost_nothing_but_attempts(world: World) -> None:
    for _ in range(7):
        scored(world, "ann", content="f")
    left = world.program("ann").get("/api/v1/benchmarks/bench").json()["scores_left"]
    assert left == {"today": 4, "in_all": 99}
    for _ in range(13):
        scored(world, "ann", content="f")
    assert "refused or cancelled" in refusal(world, "ann")


def test_one_entry_of_an_account_is_scored_at_a_time(world: World) -> None:
    first = world.placed("ann", FILES)
    assert world.submit("ann", first).status_code == 202
    assert world.submit("ann", first).status_code == 202, "asked twice"
    assert "Another entry of yours" in refusal(world, "ann")


def test_dates_hold(world: World) -> None:
    world.token("ann")
    entry = world.placed("ann", FILES)
    with world.database.writing() as session:
        session.execute(update(Benchmark).values(opens=world.now() + 10, closes=world.now() + 20))
    new = {"benchmark": "bench", "name": "late"}
    ann = world.program("ann")
    assert "not open yet" in ann.post("/api/v1/entries", json=new).json()["error"]
    world.seconds += 20
    assert "is closed" in ann.post("/api/v1/entries", json=new).json()["error"]
    assert "is closed" in world.submit("ann", entry).json()["error"]


def test_only_what_is_there_in_full_is_submitted(world: World) -> None:
    entry = world.begin("ann")
    assert "no files yet" in world.submit("ann", entry).json()["error"]
    world.declare("ann", entry, FILES)
    assert "not uploaded in full: a_bass.wav, b_bass.wav" in world.submit("ann", entry).json()["error"]


def test_a_reader_and_a_token_to_read_submit_nothing(world: World) -> None:
    world.token("ron", "reader")
    new = {"benchmark": "bench", "name": "x"}
    assert world.program("ron").post("/api/v1/entries", json=new).status_code == 403
    assert world.program(None).post("/api/v1/entries", json=new).status_code == 401


@pytest.mark.parametrize(
    ("visibility", "seen", "author"),
    [("private", False, None), ("anonymous", True, "anonymous"), ("public", True, "ann")],
)
def test_who_sees_an_entry(world: World, visibility: str, seen: bool, author: str | None) -> None:
    entry = scored(world, "ann", visibility=visibility)
    for name in ("bob", None):
        answer = world.program(name).get(f"/api/v1/entries/{entry}")
        assert answer.status_code == (200 if seen else 404)
        assert world.program(name).get(f"/entries/{entry}").status_code == answer.status_code
        rows = world.program(name).get("/api/v1/leaderboards/bench").json()["rows"]
        assert [row["author"] for row in rows] == ([author] if seen else [])
        if seen:
            assert answer.json()["author"] == author
            assert ("ann" in world.program(name).get(f"/entries/{entry}").text) == (author == "ann")
    assert world.show("ann", entry)["author"] == "ann"
    assert world.program("bob").delete(f"/api/v1/entries/{entry}").status_code == (403 if seen else 404)


def test_an_anonymous_entry_gets_its_name_on_its_date(world: World) -> None:
    entry = scored(world, "ann", visibility="anonymous", named_from=world.now() + 100)
    assert world.show(None, entry)["author"] == "anonymous"
    world.seconds += 100
    assert world.show(None, entry)["author"] == "ann"


def test_an_entry_that_is_not_scored_is_its_authors_alone(world: World) -> None:
    entry = world.placed("ann", FILES, {"visibility": "public"})
    assert world.program("bob").get(f"/api/v1/entries/{entry}").status_code == 404
    assert world.program("bob").get(f"/api/v1/entries/{10**12}").status_code == 404


def test_a_withdrawn_entry_leaves_its_number(world: World) -> None:
    entry = scored(world, "ann", visibility="public")
    other = scored(world, "bob", visibility="public")
    world.program("ann").delete(f"/api/v1/entries/{entry}")
    board = world.program(None).get("/api/v1/leaderboards/bench").json()
    assert ([row["entry"] for row in board["rows"]], board["withdrawn"]) == ([other], [entry])
    assert f"#{entry}" in world.browser().get("/benchmarks/bench").text
    found = world.show(None, entry)
    assert (found["state"], found["means"]) == ("withdrawn", None)
    with world.database.reading() as session:
        assert session.get_one(Entry, entry).is_counted


@pytest.mark.thorough
def test_the_organiser_sees_who_asks_for_many_scores_also_of_one_stem_and_of_what_was_withdrawn(
    world: World,
) -> None:
    """Either would hide who probes."""
    for value in (1.0, 1.5):
        scored(world, "ann", value)
    with world.database.writing() as session:
        session.execute(delete(MeanScore).where(MeanScore.stem == "mean"))
    world.program("ann").delete(f"/api/v1/entries/{scored(world, 'ann', 9.0)}")
    with world.database.reading() as session:
        (team,) = organising.teams(session)
    assert (team.account, team.scores, team.first, team.best, team.gain) == ("ann", 3, 1.0, 1.5, 0.5)
    assert team.stem != "mean"


def test_of_stems_that_gained_alike_the_organiser_sees_the_mean(world: World) -> None:
    scored(world, "ann", 1.0)
    with world.database.reading() as session:
        assert [team.stem for team in organising.teams(session)] == ["mean"]
    world.token("olga", "organiser")
    assert "bench, sdr (mean)" in world.signed_in("olga").get("/organiser").text


def test_the_organiser_shows_what_was_held_back(world: World) -> None:
    entry = scored(world, "ann", visibility="public", suspicion="bass is silent in 2 of 2 tracks")
    world.token("olga", "organiser")
    olga = world.signed_in("olga")
    assert "bass is silent in 2 of 2 tracks" in olga.get("/organiser").text
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert world.program("ann").post(f"/organiser/entries/{entry}/show", headers=form).status_code == 403
    assert world.show("ann", entry)["means"] is None
    olga.post(f"/organiser/entries/{entry}/show", headers=form)
    assert world.show("ann", entry)["means"] is not None
    assert world.show(None, entry)["held_back"] is False


@pytest.mark.parametrize(
    ("said", "expected"),
    thinned.one_in(
        2,
        [
            ({"name": ""}, "name"),
            ({"name": "x" * 101}, "name"),
            ({"link": 'https://x"onmouseover=alert(1)'}, "https"),
            ({"link": "http://example.org"}, "https"),
            ({"visibility": "secret"}, "visibility"),
            ({"link": "javascript:alert(1)"}, "https"),
            ({"link": "https://example.org/" + "\u202e" * 50}, "at most 400"),
            ({"state": "done"}, "state"),
            ({"description": "x" * 5001}, "description"),
            ({"named_from": "soon"}, "named_from"),
        ],
    ),
)
def test_what_cannot_be_said_of_an_entry(world: World, said: dict[str, Any], expected: str) -> None:
    given = {"benchmark": "bench", "name": "mine", **said}
    answer = world.program("ann").post("/api/v1/entries", json=given)
    assert answer.status_code == 422
    assert expected in str(answer.json()["problems"])


def test_an_entry_is_edited_by_its_author(world: World) -> None:
    entry = scored(world, "ann")
    changed = {
        "name": "better\u202ename",
        "visibility": "public",
        "description": "one\r\ntwo\x1b[31m",
        "link": "https://example.org/ä/\u202egpj.exe",
    }
    found = world.program("ann").patch(f"/api/v1/entries/{entry}", json=changed).json()
    assert found["name"] == "better\\u202ename"
    assert found["description"] == "one\ntwo\\x1b[31m"
    assert found["link"] == "https://example.org/ä/%E2%80%AEgpj.exe"
    again = world.program("ann").patch(f"/api/v1/entries/{entry}", json={"name": "third"}).json()
    assert again == {**found, "name": "third"}, "what is not said stays"
    assert world.program("bob").patch(f"/api/v1/entries/{entry}", json=changed).status_code == 403
    hidden = world.program("ann").patch(f"/api/v1/entries/{entry}", json={"visibility": "private"}).json()
    assert hidden == {**again, "visibility": "private"}, "nor need the name be said"
    for name in ("", None):
        refused = world.program("ann").patch(f"/api/v1/entries/{entry}", json={"name": name})
        assert refused.status_code == 422


@pytest.mark.parametrize("character", ["\u202e", "x"])
def test_what_is_kept_of_a_text_fits_its_column(character: str) -> None:
    """SQLite would take more, PostgreSQL none of it."""
    for key, longest in entries.LONGEST_TEXTS.items():
        said = entries.details({"name": "x", key: longest * character})
        column = Entry.__table__.c[key].type
        assert isinstance(column, String)
        assert column.length is not None
        assert len(getattr(said, key)) == longest <= column.length


def test_the_form_leaves_the_moment_of_a_name_what_a_program_has_said(world: World) -> None:
    moment = world.now() + 18.5 * 3600
    entry = world.begin("ann", said={"visibility": "anonymous", "named_from": moment})
    browser = world.signed_in("ann")
    (day,) = re.findall(r'name="named_from" value="([^"]*)"', browser.get(f"/entries/{entry}/edit").text)
    for given, expected in ((day, moment), ("2027-02-01", 1_801_440_000.0), ("", None)):
        form = {"name": "mine", "visibility": "anonymous", "named_from": given}
        assert browser.post(f"/entries/{entry}/edit", data=form).status_code == 303
        assert world.show("ann", entry)["named_from"] == expected


def test_a_failed_entry_that_is_given_up_is_not_tried_again(world: World) -> None:
    entry = world.placed("ann", FILES)
    assert world.submit("ann", entry).status_code == 202
    for _ in range(jobs.MOST_ATTEMPTS):
        with world.database.writing() as session:
            claimed = jobs.claim(session, "one", world.now())
            assert claimed is not None
            assert jobs.give_back(session, claimed, "no", "why", world.now())
        world.seconds += 100
    assert world.show("ann", entry)["state"] == "failed"
    given_up = world.program("ann").delete(f"/api/v1/entries/{entry}").json()
    assert given_up["state"] == "cancelled", "its files are gone"
    with world.database.writing() as session, pytest.raises(Refused):
        organising.decide(session, entries.find(session, entry), "retry", world.now())


@pytest.mark.parametrize("text", ["2027-01-15T08:00", "2027-01-15T10:00+02:00", "2027-01-15T03:00-05:00"])
def test_dates_are_in_utc_unless_they_say_another_zone(text: str) -> None:
    assert organising.moment_of(text) == 1_800_000_000.0
