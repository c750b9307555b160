"""Benchmarks and their database: one schema, stable splits and zips, rules that cannot be."""

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import select

from evaluator.running.dataset import DataError
from evaluator.service import accounts, benchmarks, database
from evaluator.service.benchmarks import Rules
from evaluator.service.errors import SetupError
from evaluator.service.settings import Settings
from evaluator.service.tables import Base, Benchmark
from tests.evaluator import audio
from tests.evaluator.service.world import FRAMES, World


def test_the_migrations_make_the_tables(world: World) -> None:
    database.migrate(world.database)  # a second time changes nothing
    with world.database.reading() as session:
        assert compare_metadata(MigrationContext.configure(session.connection()), Base.metadata) == []


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("nonsense", "not a usable URL"),
        ("mysql+nothing://x/y", "not a usable URL"),
        ("sqlite:////nowhere/at/all/service.sqlite", "unable to open database file"),
        ("postgresql://user:secret@127.0.0.1:1/x", "cannot be used"),
    ],
)
def test_a_database_that_cannot_be_used_is_one_sentence(tmp_path: Path, url: str, expected: str) -> None:
    with pytest.raises(SetupError, match=expected) as caught:
        database.connect(Settings(tmp_path, database=url))
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value).partition(": the database")[0]


def test_what_is_raised_leaves_nothing_behind(world: World) -> None:
    class OtherError(Exception):
        pass

    with pytest.raises(OtherError), world.database.writing() as session:  # noqa: PT012
        benchmarks.named(session, "bench").title = "other"
        raise OtherError
    with world.database.reading() as session:
        assert benchmarks.named(session, "bench").title == "bench"


def test_the_split_is_by_names_and_seed_alone() -> None:
    names = [f"song_{index}" for index in range(100)]
    first = benchmarks.split(names, 0.5, 0)
    assert sorted(first.values()).count("private") == 50
    assert benchmarks.split(names[::-1], 0.5, 0) == first
    assert benchmarks.split(names, 0.5, 1) != first
    assert set(benchmarks.split(names[:1], 0.9, 0).values()) == {"public"}
    assert set(benchmarks.split(names, 0.0, 0).values()) == {"public"}


def test_the_zip_of_mixtures_is_the_same_each_time_and_holds_them(world: World) -> None:
    answer = world.program(None).get("/api/v1/benchmarks/bench/mixtures.zip")
    assert answer.headers["content-type"] == "application/zip"
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.namelist() == ["a_mixture.wav", "b_mixture.wav"]
        for seed, (track, frames) in enumerate(FRAMES.items()):
            found, rate = soundfile.read(io.BytesIO(archive.read(f"{track}_mixture.wav")))
            assert rate == 44100
            np.testing.assert_allclose(found, 4 * audio.noise(frames, seed=seed), atol=1e-9)
    world.add("again")
    assert world.settings.mixtures_file("again").read_bytes() == answer.content


def test_a_mixture_in_two_files_is_one_file_of_two_channels(world: World, tmp_path: Path) -> None:
    world.add("film", audio.write_cinematic(tmp_path / "film"))
    with zipfile.ZipFile(world.settings.mixtures_file("film")) as archive:
        assert archive.namelist() == ["one_mixture.wav", "two_mixture.wav"]
        assert soundfile.info(io.BytesIO(archive.read("one_mixture.wav"))).channels == 2


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        ({"name": "Über"}, "no name of a benchmark"),
        ({"name": "../x"}, "no name of a benchmark"),
        ({"name": "bench"}, "choose another"),
        ({"name": "x", "measures": ("sdr", "taste")}, "found taste"),
        ({"name": "x", "private_share": 1.0}, "less than 1"),
        ({"name": "x", "opens": 2.0, "closes": 1.0}, "swap the dates"),
    ],
)
def test_rules_that_cannot_be(world: World, rules: dict[str, object], expected: str) -> None:
    with pytest.raises(SetupError, match=expected):
        world.add(**rules)  # type: ignore[arg-type]


def test_data_that_cannot_be_used_makes_no_benchmark(world: World, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not a folder"):
        world.add("x", tmp_path / "nowhere")
    assert [each["name"] for each in world.program(None).get("/api/v1/benchmarks").json()] == ["bench"]


def test_a_benchmark_is_added_while_others_write(world: World) -> None:
    """Reading all of its data takes minutes, for which nobody waits; the name may be taken meanwhile."""

    def taken(track: object, total: int) -> None:
        with world.database.writing() as session:
            if session.scalar(select(Benchmark.id).where(Benchmark.name == "new")) is None:
                benchmarks.add(world.settings, session, Rules("new", world.data), world.now())

    first = benchmarks.add_beside_others(
        world.settings, world.database, Rules("first", world.data, progress=_invite(world)), world.now()
    )
    assert first.id > 0
    rules = Rules("new", world.data, title="late", progress=taken)
    with pytest.raises(SetupError, match="there is a benchmark of this name"):
        benchmarks.add_beside_others(world.settings, world.database, rules, world.now())
    with world.database.reading() as session:
        assert benchmarks.named(session, "new").title == "new"
    for name in ("first", "new"):
        assert [each.name for each in world.settings.mixtures_file(name).parent.iterdir()] == ["mixtures.zip"]


def _invite(world: World) -> Callable[[object, int], None]:
    """Something else that is written meanwhile."""

    def invite(track: object, total: int) -> None:
        with world.database.writing() as session:
            accounts.invite(session, "reader", world.now())

    return invite
