"""A class: an organiser submits for teams, and code that was handed in goes onto the board."""

from pathlib import Path

import pytest

from evaluator.commands import evaluate_several, upload
from evaluator.service import organising
from tests.evaluator.run_eval_here import run_eval_here
from tests.evaluator.service.test_client import connected
from tests.evaluator.service.test_entries import scored
from tests.evaluator.service.world import World, estimates
from tests.evaluator.submissions import write_submission


def rows(world: World, **query: bool) -> list[tuple[str, str, int]]:
    found = world.program(None).get("/api/v1/leaderboards/bench", params=query).json()["rows"]
    return [(row["author"], row["method"], row["place"]) for row in found]


@pytest.mark.slow
def test_each_team_has_its_best_entry_and_its_own_quota(world: World) -> None:
    world.token("olga", "organiser")
    world.add("strict", per_day=1)
    for team, level in (("A", 0.5), ("B", 0.8), ("A", 0.9)):
        world.scored("olga", estimates(level), team=team, visibility="public", method=f"{team} {level}")
    world.scored("olga", estimates(0.7), visibility="public", method="mine")
    assert rows(world, best=True) == [("A", "A 0.9", 1), ("B", "B 0.8", 2), ("olga", "mine", 3)]
    assert len(rows(world)) == 4
    for team in ("A", "B"):  # one score a day for each
        world.scored("olga", estimates(0.5 if team == "A" else 0.6), "strict", team=team)
    entry = world.uploaded("olga", estimates(0.4), {"team": "A"}, "strict")
    assert world.submit("olga", entry).status_code == 429


@pytest.mark.thorough
def test_the_same_estimates_are_counted_once_for_each_team(world: World) -> None:
    world.token("olga", "organiser")
    for team in ("A", "A", "B", None):
        scored(world, "olga", content="5a", team=team)
    with world.database.reading() as session:
        assert {team.account: team.scores for team in organising.teams(session)} == {
            "A": 1,
            "B": 1,
            "olga": 1,
        }


@pytest.mark.thorough
def test_who_may_submit_for_a_team(world: World) -> None:
    world.token("olga", "organiser")
    said = {"benchmark": "bench", "name": "mine"}
    for name, team, status in (
        ("ann", "A", 403),
        ("olga", "a\u202eb", 422),
        ("olga", "", 422),
        ("olga", "A", 201),
    ):
        answer = world.program(name).post("/api/v1/entries", json={**said, "team": team})
        assert answer.status_code == status, answer.text
    hidden = world.scored("olga", estimates(0.5), team="A", visibility="anonymous")
    assert world.show("olga", hidden)["team"] == "A"
    assert (world.show(None, hidden)["team"], world.show(None, hidden)["author"]) == (None, "anonymous")
    assert sender_finds_its_own(world)


def sender_finds_its_own(world: World) -> bool:
    """Whether an entry that was begun for one team is not gone on with for another."""
    sender = connected(world, "olga")
    numbers = [sender.begin("bench", {"name": "x", "team": team}) for team in ("A", "B", "A")]
    return numbers[0] == numbers[2] != numbers[1]


@pytest.mark.slow
def test_submissions_go_onto_the_board(world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world.token("olga", "organiser")
    monkeypatch.setattr(upload, "connect", lambda server: connected(world, "olga"))
    (tmp_path / "class" / "notes").mkdir(parents=True)  # which is no submission, and has no score
    for name in ("scaled_mixture", "perfect"):
        write_submission(tmp_path / "class", name)
    command = [
        *(
            "--submissions",
            str(tmp_path / "class"),
            "--data",
            str(world.data),
            "--out",
            str(tmp_path / "out"),
        ),
        *("--time-factor", "6000", "--server", "http://checker", "--benchmark", "bench"),
    ]
    done = run_eval_here(command)
    assert done.returncode == 1
    assert done.stdout.count("entry ") == 2, done.stderr
    while world.worker().work_once():
        pass
    assert sorted(author for author, _, _ in rows(world)) == ["perfect", "scaled_mixture"]
    again = run_eval_here([*command, "--resume"])
    assert again.stdout.count("on the board already") == 2, again.stderr
    assert "entry " not in again.stdout


@pytest.mark.parametrize(
    ("name", "found"), [(41 * "x", "found 41 characters"), ("a\u202eb", "visible characters")]
)
def test_folders_that_cannot_be_teams_are_said_before_any_is_run(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, found: str
) -> None:
    world.token("olga", "organiser")
    monkeypatch.setattr(upload, "connect", lambda server: connected(world, "olga"))
    monkeypatch.setattr(evaluate_several, "_evaluated", None)
    for each in ("fine", name):
        (tmp_path / "class" / each).mkdir(parents=True)
    done = run_eval_here(
        [
            *("--submissions", str(tmp_path / "class"), "--data", str(world.data)),
            *("--out", str(tmp_path / "out"), "--server", "http://checker", "--benchmark", "bench"),
        ]
    )
    assert done.returncode != 0
    assert "rename them" in done.stderr
    assert found in done.stderr
    assert "fine" not in done.stderr
    entry = {"benchmark": "bench", "name": "x", "team": name}
    assert world.program("olga").post("/api/v1/entries", json=entry).status_code == 422, (
        "nor does the service"
    )


def test_a_token_that_submits_for_no_team_is_said_before_any_is_run(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.token("olga", "organiser")
    monkeypatch.setattr(evaluate_several, "run", lambda *arguments: 0)
    command = [
        *("--submissions", str(tmp_path), "--data", str(world.data), "--out", str(tmp_path / "out")),
        *("--server", "http://checker", "--benchmark", "bench"),
    ]
    for name, code in (("olga", 0), ("ann", 2)):
        monkeypatch.setattr(upload, "connect", lambda server, name=name: connected(world, name))
        done = run_eval_here(command)
        assert done.returncode == code
        assert ("expected one of an organiser" in done.stderr) == (name == "ann")


def test_options_that_go_together(tmp_path: Path) -> None:
    for words in (["--server", "http://x"], ["--server", "http://x", "--benchmark", "b"]):
        with pytest.raises(SystemExit):
            run_eval_here(words)
