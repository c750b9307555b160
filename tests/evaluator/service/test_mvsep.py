"""MVSep's interface: what its public clients send, and what they read of the answers."""

import os
import re
from pathlib import Path
from typing import Any

import httpx2
import pytest

from evaluator.service.one_piece import MOST_OF_NOBODY, NOBODYS
from evaluator.service.uploads import INCOMING, Writer
from tests import thinned
from tests.evaluator import audio
from tests.evaluator.service.world import FRAMES, World, estimates, sound, zipped

ROOT = "/api/quality_checker"
METRIC = re.compile(r"Metric\s+(\S+)\s+for\s+(\S+):\s+([-\d.]+)")  # as a client reads them


def synth(world: World, tmp_path: Path) -> None:
    """A benchmark of vocals and instrumental, which its clients know as 0."""
    data = audio.write_stems(tmp_path / "synth", ("instrumental", "vocals"), tuple(FRAMES))
    world.add("synth", data, stems=("instrumental", "vocals"), dataset_type=0)


def files(level: float = 0.8) -> dict[str, bytes]:
    return {
        f"{track}_{stem}.wav": sound(level * audio.noise(20000, seed=seed))
        for seed, track in enumerate(FRAMES)
        for stem in ("vocals", "instrum")
    }


def add(world: World, content: bytes, **fields: Any) -> httpx2.Response:
    """As `requests.post(url, data=…, files=…)` has it: the fields first."""
    data = {
        "api_token": world.token("ann"), "algo_name": "Mine", "main_text": "by me", "dataset_type": "0",
        "ensemble": "0", "password": "", **fields,
    }  # fmt: skip
    return world.program(None).post(f"{ROOT}/add", data=data, files={"zipfile": ("mine.zip", content)})


def entry(world: World, number: int) -> dict[str, Any]:
    answer = world.program(None).get(f"{ROOT}/entry", params={"id": number}).json()
    assert answer["success"] is True
    return dict(answer["data"])


@pytest.mark.usefixtures("judged_here")
def test_an_entry_from_its_zip_to_its_metrics(world: World, tmp_path: Path) -> None:
    synth(world, tmp_path)
    added = add(world, zipped(files()), ensemble="1")
    assert added.status_code == 200, added.text
    number = added.json()["data"]["id"]
    assert added.json()["data"]["link"] == f"http://127.0.0.1:8000/entries/{number}"
    queue = world.program(None).get(f"{ROOT}/queue").json()
    assert [each["id"] for each in queue["data"]["queue"]] == [number]
    assert (entry(world, number)["proc"], entry(world, number)["metrics"]) == (0, "")
    assert world.worker().work_once()
    found = entry(world, number)
    assert found["proc"] == 2
    assert (found["algo_name"], found["main_text"], found["is_ensemble"], found["dataset_type"]) == (
        "Mine", "by me", 1, 0,
    )  # fmt: skip
    metrics = {f"{name}_{stem}": float(value) for name, stem, value in METRIC.findall(found["metrics"])}
    assert set(metrics) == {"sdr_vocals", "sdr_instrum"}
    assert {key: found[key] for key in metrics} == metrics
    board = (
        world.program(None).get(f"{ROOT}/leaderboard", params={"dataset_type": 0, "sort": "vocals"}).json()
    )
    assert [row["id"] for row in board["data"]["list"]] == [number]
    assert "sdr_instrum" in board["data"]["sortables"]


@pytest.mark.slow
def test_boards_are_read_in_parts_and_filtered(world: World, tmp_path: Path) -> None:
    synth(world, tmp_path)
    for level, name in ((0.5, "Low"), (0.9, "High")):
        add(world, zipped(files(level)), algo_name=name)
        assert world.worker().work_once()

    def names(**query: Any) -> list[str]:
        found = world.program(None).get(f"{ROOT}/leaderboard", params={"dataset_type": 0, **query}).json()
        return [row["algo_name"] for row in found["data"]["list"]]

    assert names() == ["High", "Low"]
    assert names(start=1) == ["Low"]
    assert names(limit=1) == ["High"]
    assert names(algo_name_filter="lo") == ["Low"]
    assert world.program(None).get(f"{ROOT}/leaderboard?dataset_type=0&sort=taste").status_code == 400


@pytest.mark.parametrize(
    ("fields", "status", "expected"),
    [
        ({"api_token": "nonsense"}, 401, "api_token"),
        ({"dataset_type": "7"}, 400, "expected one of 0 (synth)"),
        ({"dataset_type": "x"}, 400, "expected one of 0 (synth)"),
        ({"algo_name": ""}, 400, "name"),
        ({"main_text": "x" * 20_000}, 400, "fields"),
    ],
)
def test_refusals_leave_nothing(
    world: World, tmp_path: Path, fields: dict[str, str], status: int, expected: str
) -> None:
    synth(world, tmp_path)
    answer = add(world, zipped(files()), **fields)
    assert (answer.status_code, answer.json()["success"]) == (status, False)
    assert expected in answer.json()["data"]["message"]
    assert not (world.settings.root / "entries").exists() or not list(
        (world.settings.root / "entries").iterdir()
    )


def test_a_form_that_is_none_or_cut_short_or_too_long(world: World, tmp_path: Path) -> None:
    synth(world, tmp_path)
    program = world.program(None)
    assert program.post(f"{ROOT}/add", json={}).status_code == 400
    assert "zipfile: missing" in program.post(f"{ROOT}/add", files={"x": (None, "y")}).text
    head = {"Content-Type": "multipart/form-data; boundary=b"}
    token = world.token("ann")
    fields = "".join(
        f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in (("api_token", token), ("algo_name", "x"), ("dataset_type", "0"))
    )
    start = (
        f'{fields}--b\r\nContent-Disposition: form-data; name="zipfile"; filename="x.zip"\r\n\r\n'.encode()
    )
    cut = program.post(f"{ROOT}/add", content=start + b"PK", headers=head)
    assert "cut short" in cut.text
    size = (20000 * 2 * 8 + (1 << 16)) * len(FRAMES) * 2 + 1
    long = program.post(f"{ROOT}/add", content=start + bytes(size) + b"\r\n--b--\r\n", headers=head)
    assert "more than the" in long.text
    assert not list((world.settings.root / "entries").glob("*"))
    assert left(world) == []


@pytest.mark.slow
def test_an_entry_is_deleted_by_its_password_alone(world: World, tmp_path: Path) -> None:
    synth(world, tmp_path)
    number = add(world, zipped(files()), password="secret").json()["data"]["id"]
    without = world.scored("bob", estimates(), visibility="public")  # the other entry's turn comes first
    assert world.worker().work_once()
    program = world.program(None)
    for given in ({"id": number, "password": "wrong"}, {"id": without, "password": ""}, {"id": "x"}, {}):
        assert program.post(f"{ROOT}/delete", data=given).status_code == 400
    assert program.post(f"{ROOT}/delete", data={"id": number, "password": "secret"}).json()["success"]
    assert "withdrawn" in entry(world, number)["msg"]
    assert not world.settings.entry_folder(number).exists()
    for _ in range(10):
        program.post(f"{ROOT}/delete", data={"id": without, "password": "guess"})
    assert "Too many attempts" in program.post(f"{ROOT}/delete", data={"id": without, "password": "x"}).text


def test_more_fields_than_anybody_needs_are_refused(world: World) -> None:
    many = {f"field{number}": "x" for number in range(31)}
    answer = world.program(None).post(f"{ROOT}/delete", data=many)
    assert answer.status_code == 400
    assert answer.json()["data"]["message"] == "The form has more than 30 fields."


@pytest.mark.thorough
def test_unknown_and_private_entries_are_jobs_not_found(world: World) -> None:
    private = world.scored("ann", estimates(stems=("bass",)))
    for number in ("9999", private, "x", "-1"):
        answer = world.program(None).get(f"{ROOT}/entry", params={"id": number})
        assert answer.status_code == 400
        assert answer.json() == {"success": False, "data": {"message": "Job not found"}}


def form(parts: list[tuple[str, str | bytes]]) -> dict[str, Any]:
    """A form with its parts in this order; bytes are the zip."""
    body = b"".join(
        f'--xyz\r\nContent-Disposition: form-data; name="{name}"'.encode()
        + (b'; filename="x.zip"\r\n\r\n' + value if isinstance(value, bytes) else f"\r\n\r\n{value}".encode())
        + b"\r\n"
        for name, value in parts
    )
    kind = {"Content-Type": "multipart/form-data; boundary=xyz"}
    return {"content": body + b"--xyz--\r\n", "headers": kind}


def left(world: World) -> list[str]:
    """What a form has left on the disk that is no entry's."""
    return [path.name for path in (world.settings.root / INCOMING).glob("*")]


@pytest.mark.parametrize("place", thinned.one_in(4, [1, 0, 3, 6]))
@pytest.mark.thorough
def test_the_zip_may_be_anywhere_in_the_form(world: World, tmp_path: Path, place: int) -> None:
    """PowerShell sends the parts in an order of its own, and MVSep's page has the zip second."""
    synth(world, tmp_path)
    fields: list[tuple[str, str | bytes]] = [
        ("api_token", world.token("ann")), ("algo_name", "Mine"), ("main_text", "by me"), ("dataset_type", "0"),
        ("ensemble", "1"), ("password", "of the entry"),
    ]  # fmt: skip
    fields.insert(place, ("zipfile", zipped(files())))
    added = world.program(None).post(f"{ROOT}/add", **form(fields))
    assert added.status_code == 200, added.text
    number = added.json()["data"]["id"]
    assert world.worker().work_once()
    found = entry(world, number)
    assert (found["proc"], found["algo_name"], found["is_ensemble"]) == (2, "Mine", 1)
    assert left(world) == []
    gone = world.program(None).post(f"{ROOT}/delete", data={"id": number, "password": "of the entry"})
    assert gone.json()["success"] is True


def test_nobody_fills_the_disk_with_zips_before_saying_who_they_are(world: World, tmp_path: Path) -> None:
    synth(world, tmp_path)
    late: list[tuple[str, str | bytes]] = [
        ("zipfile", zipped(files())),
        ("dataset_type", "0"),
        ("algo_name", "x"),
    ]
    token = ("api_token", world.token("ann"))
    statuses = []
    for fields in (*[late] * 10, late, [token, *late]):
        statuses.append(world.program(None).post(f"{ROOT}/add", **form(fields)).status_code)
        assert left(world) == []
    assert statuses == [401] * 10 + [400, 200], "an address has ten attempts; who says so is no attempt"
    world.seconds += 901
    app = world.app.state.service
    for what in (
        f"{NOBODYS} at testclient",
        NOBODYS,
    ):  # another one of this address, and those of four others
        app.busy[what] = 1 if "at" in what else MOST_OF_NOBODY
        refused = world.program(None).post(f"{ROOT}/add", **form(late))
        assert "send the api_token before the zip" in refused.json()["data"]["message"]
        assert app.busy.keys() == {what}
        app.busy.clear()
    again = world.program(None).post(f"{ROOT}/add", **form([token, *late]))
    assert "Another entry of yours is being scored" in again.json()["data"]["message"]
    assert not app.busy
    assert left(world) == []
    assert len(list((world.settings.root / "entries").iterdir())) == 1


def test_a_zip_is_moved_once_it_is_closed(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows moves no file that is open."""
    synth(world, tmp_path)
    acts = []
    rename, close = Path.rename, Writer.close

    def move(path: Path, target: Path) -> Path:
        acts.append("move")
        return rename(path, target)

    def end(writer: Writer) -> None:
        acts.append("close")
        close(writer)

    monkeypatch.setattr(Path, "rename", move)
    monkeypatch.setattr(Writer, "close", end)
    assert add(world, zipped(files())).status_code == 200
    assert acts == ["close", "move", "close"]


def test_what_a_form_had_sent_when_the_service_ended_is_removed_after_a_day(world: World) -> None:
    place = world.settings.root / INCOMING
    place.mkdir()
    for name, age in (("old", 1.1), ("new", 0.9)):
        (place / name).touch()
        os.utime(place / name, (world.now(), world.now() - age * world.settings.upload_seconds))
    (place / "taken").symlink_to(place / "gone")  # as what an entry takes between two looks
    world.worker().sweep()
    assert sorted(left(world)) == ["new", "taken"]
