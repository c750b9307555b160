"""Published scores below a board: named with their data and measure, chosen by the organiser, never ranked."""

import csv
import io
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import text

import evaluator.__main__
from evaluator.runs import published
from evaluator.service import benchmarks, database
from evaluator.service.errors import SetupError
from evaluator.service.settings import Settings
from evaluator.service.tables import Base
from tests.evaluator import audio
from tests.evaluator.service.test_entries import scored
from tests.evaluator.service.world import World

SET = "mdx23-final"


def refer(world: World, *names: str) -> None:
    with world.database.writing() as session:
        benchmarks.refer(benchmarks.named(session, "bench"), names)


def board(world: World, **query: str) -> dict[str, Any]:
    return dict(world.program(None).get("/api/v1/leaderboards/bench", params=query).json())


def test_published_rows_stand_apart_and_are_not_ranked(world: World) -> None:
    scored(world, "ann", 1.25, visibility="public")
    before = board(world)
    page, exported = (
        world.program(None).get(path).text
        for path in ("/benchmarks/bench", "/api/v1/leaderboards/bench/export/csv")
    )
    assert before["published"] == []
    assert "Published scores" not in page
    latex = "/api/v1/leaderboards/bench/export/latex"
    alone = world.program(None).get(latex).text
    refer(world, SET)
    (known,) = (found for found in published.load() if found.name == SET)

    after = board(world)
    assert after["rows"] == before["rows"], "places and rows stay"
    (found,) = after["published"]
    assert (found["set"], found["data"], found["measure"]) == (SET, known.data, known.measure)
    assert {row["name"]: row["scores"]["vocals"] for row in found["rows"]} == {
        row.name: row.scores["vocals"] for row in known.rows
    }

    beside = world.program(None).get(latex).text.removeprefix(alone)
    assert beside.count(r"\toprule") == 1, "a table of its own"
    assert beside.count(r"\\") == 1 + len(known.rows)
    assert f"{known.rows[0].scores['vocals']:.{known.digits}f}" in beside

    page = world.browser().get("/benchmarks/bench").text
    assert page.index("</table>") < page.index(known.data) < page.index("SAMI-ByteDance")
    assert f"Measure: {known.measure}." in page

    rows = list(
        csv.DictReader(io.StringIO(world.program(None).get("/api/v1/leaderboards/bench/export/csv").text))
    )
    assert len(rows) == 1 + len(known.rows)
    assert rows[0]["sdr mean"] == next(csv.DictReader(io.StringIO(exported)))["sdr mean"] == "1.25"
    for row in rows[1:]:
        assert not row["place"]
        assert not row["sdr mean"], "what is by another measure has no column of ours"
        assert (row["published set"], row["published data"], row["published measure"]) == (
            SET,
            known.data,
            known.measure,
        )
    assert rows[1]["published mean"] == str(max(row.scores["mean"] for row in known.rows))


def test_they_are_sorted_by_the_stem_and_stay_whatever_rows_are_wanted(world: World) -> None:
    refer(world, "multisong-mvsep", SET)
    found = board(world, stem="vocals", text="nobody")["published"]
    assert [each["set"] for each in found] == ["multisong-mvsep", SET]
    values = [row["scores"]["vocals"] for row in found[0]["rows"]]
    there = [value for value in values if value is not None]
    assert there == sorted(there, reverse=True)
    assert values == there + [None] * (len(values) - len(there))


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["mdx23"], "reference: found mdx23, expected one of .*mdx23-final"),
        ([SET, SET], "mdx23-final twice"),
        (["dnr-test"], "has scores of dialog, effect, music; expected some of bass"),
    ],
)
def test_sets_that_cannot_be(world: World, names: list[str], expected: str) -> None:
    for attempt in (
        lambda: refer(world, *names),
        lambda: world.add("other", published_sets=tuple(names)),
    ):
        with pytest.raises(SetupError, match=expected):
            attempt()
    assert board(world)["published"] == []
    assert [each["name"] for each in world.program(None).get("/api/v1/benchmarks").json()] == ["bench"]


def test_a_set_that_this_kit_does_not_have_is_said_to_be_missing(world: World) -> None:
    with world.database.writing() as session:
        benchmarks.named(session, "bench").published_sets = ["of another version", SET]
    assert "of another version is not among" in world.browser().get("/benchmarks/bench").text
    assert [each["set"] for each in board(world)["published"]] == [SET]


NEWER_THAN_THE_FIRST = (
    "ALTER TABLE benchmarks DROP COLUMN published_sets",
    "DROP TABLE resets",
    "DROP TABLE identities",
    "ALTER TABLE entries DROP COLUMN derives_instrumental",
    "ALTER TABLE entries DROP COLUMN team",
    "ALTER TABLE accounts DROP COLUMN closed",
    "DROP TABLE received",
    "UPDATE alembic_version SET version_num = '0001'",
)


def test_a_database_from_before_gets_what_is_new(world: World) -> None:
    with world.database.writing() as session:
        for statement in NEWER_THAN_THE_FIRST:
            session.execute(text(statement))
    database.migrate(world.database)
    with world.database.reading() as session:
        assert compare_metadata(MigrationContext.configure(session.connection()), Base.metadata) == []
    assert board(world)["published"] == []
    refer(world, SET)
    assert [each["set"] for each in board(world)["published"]] == [SET]


def test_an_organiser_chooses_them_at_the_command_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = audio.write_stems(tmp_path / "data", ("instrumental", "vocals"))
    place = ["--root", str(tmp_path / "root")]
    add = ["benchmark", "add", "synth", "--data", str(data), "--stems", "vocals,instrumental"]
    assert evaluator.__main__.main([*add, "--reference", "multisong-mvsep", *place]) == 0
    connected = database.connect(Settings(tmp_path / "root"))

    def chosen() -> list[str]:
        with connected.reading() as session:
            return benchmarks.named(session, "synth").published_sets

    assert chosen() == ["multisong-mvsep"]
    assert evaluator.__main__.main(["benchmark", "reference", "synth", "musdb18-medians", *place]) == 0
    assert chosen() == ["musdb18-medians"]
    capsys.readouterr()
    assert evaluator.__main__.main(["benchmark", "reference", "synth", *place]) == 0
    assert capsys.readouterr().out == "synth: no published scores below its board\n"
    assert chosen() == []
    connected.close()
