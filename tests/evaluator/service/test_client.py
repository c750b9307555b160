"""`sdx upload`: what does not fit is listed before a byte travels, and a bad line ends nothing."""

from pathlib import Path

import httpx2
import pytest

import evaluator.__main__
from evaluator.commands import upload
from evaluator.running.predictions import PredictionsError
from evaluator.service import client
from evaluator.service.client import Client, UploadError
from tests.evaluator import audio
from tests.evaluator.service.world import BASE, World, estimates, sound


def written(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


class BadLine(httpx2.BaseTransport):
    """Of three pieces it loses one on its way there, and the answer to another on its way back."""

    def __init__(self, inner: httpx2.BaseTransport) -> None:
        self._inner = inner
        self._pieces = 0

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        self._pieces += request.method == "PATCH"
        fate = self._pieces % 3 if request.method == "PATCH" else 0
        if fate == 1:
            raise httpx2.ConnectError("lost on its way there")
        answer = self._inner.handle_request(request)
        if fate == 2:
            answer.close()
            raise httpx2.ReadError("lost on its way back")
        return answer


def connected(world: World, name: str = "ann", bad: bool = False) -> Client:
    inner = world.program(None)._transport
    made = Client(BASE, world.token(name), BadLine(inner) if bad else inner)
    made._pause = lambda seconds: None
    return made


@pytest.mark.usefixtures("judged_here")
@pytest.mark.parametrize("bad", [pytest.param(False, marks=pytest.mark.slow), True])
def test_a_folder_arrives_whatever_the_line_does(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bad: bool
) -> None:
    monkeypatch.setattr(client, "PIECE_BYTES", 3000)
    folder = written(tmp_path / "mine", estimates(0.5, ("bass", "vocals")))
    sender = connected(world, bad=bad)
    files = client.fitting_files(folder, sender.benchmark("bench"))
    assert sorted(files) == ["a_bass.wav", "a_vocals.wav", "b_bass.wav", "b_vocals.wav"]
    entry = sender.begin("bench", {"name": "mine"})
    for sending in sender.declare(entry, files):
        told: list[int] = []
        sender.send(sending, told.append)
        assert told == sorted(told)
    sender.submit(entry)
    assert world.worker().work_once()
    found = sender.wait(entry, lambda state: None)
    assert found["state"] == "done"
    half = 6.02  # dB, of half of each reference
    assert found["means"] == {"public": {"sdr": {"bass": half, "vocals": half}}}


def test_the_same_command_goes_on_where_it_was(world: World, tmp_path: Path) -> None:
    folder = written(tmp_path / "mine", estimates())
    first = connected(world)
    files = client.fitting_files(folder, first.benchmark("bench"))
    entry = first.begin("bench", {"name": "mine"})
    for sending in first.declare(entry, files)[:3]:
        first.send(sending, lambda offset: None)
    again = connected(world)
    assert again.begin("bench", {"name": "mine"}) == entry
    assert [each.complete for each in again.declare(entry, files)] == [True] * 3 + [False] * 5
    assert again.begin("bench", {"name": "other"}) != entry
    assert again.begin("bench", {"name": "mine", "visibility": "public", "team": None}) == entry
    assert world.show("ann", entry)["visibility"] == "public", "what was said last holds"
    assert again.begin("bench", {"name": "mine"}) == entry
    assert world.show("ann", entry)["visibility"] == "public", "and what is not said stays"


@pytest.mark.thorough
def test_what_does_not_fit_is_listed_and_nothing_is_sent(world: World, tmp_path: Path) -> None:
    files = estimates()
    files["a_bass.wav"] = sound(audio.noise(1501))
    files["c_bass.wav"] = files.pop("b_bass.wav")
    folder = written(tmp_path / "mine", files)
    sender = connected(world)
    with pytest.raises(PredictionsError) as caught:
        client.fitting_files(folder, sender.benchmark("bench"))
    assert sorted(caught.value.problems) == [
        "a_bass.wav: length in samples 1501, expected 1500",
        "b_bass.wav: missing (or the same as .flac)",
        "c_bass.wav: extra; it is named after no track of the data",
    ]
    with pytest.raises(PredictionsError, match="no estimates in it; expected files such as a_bass.wav"):
        client.fitting_files(written(tmp_path / "empty", {"x.txt": b""}), sender.benchmark("bench"))


def test_what_the_service_says_no_to_is_said(world: World) -> None:
    sender = connected(world)
    with pytest.raises(UploadError, match="no benchmark nothing"):
        sender.benchmark("nothing")
    with pytest.raises(UploadError, match="token is unknown"):
        Client(BASE, "nonsense", world.program(None)._transport).benchmark("bench")


class Elsewhere(httpx2.BaseTransport):
    """Some other server, or none."""

    def __init__(self, answer: httpx2.Response | None) -> None:
        self._answer = answer

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        if self._answer is None:
            raise httpx2.ConnectError("Connection refused")
        return self._answer


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (None, "cannot be reached .Connection refused."),
        (httpx2.Response(200, text="<html>"), "not as a service of this kit"),
        (httpx2.Response(200, json=[1]), "not as a service of this kit"),
        (httpx2.Response(404, text="nginx"), "the server answers 404 Not Found"),
        (httpx2.Response(502, text="nginx"), "the server answers 502 Bad Gateway"),
    ],
)
def test_other_servers_and_none_are_one_sentence(answer: httpx2.Response | None, expected: str) -> None:
    sender = Client(BASE, "token", Elsewhere(answer))
    sender._pause = lambda seconds: None
    with pytest.raises(UploadError, match=expected):
        sender.benchmark("bench")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["upload", "x", "--server", "checker.example", "--benchmark", "b"], "such as https://HOST"),
        (["upload", "x", "--server", "http://127.0.0.1:1", "--benchmark", "b"], "no token; make one"),
        (
            ["upload", "x", "--server", "http://x", "--benchmark", "b", "--token-file", "nowhere"],
            "nowhere: cannot be read",
        ),
    ],
)
def test_the_command_says_what_it_lacks(
    words: list[str], expected: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SDX_SERVICE_TOKEN", "t" if "checker.example" in words else "")
    assert evaluator.__main__.main(words) == 2
    said = capsys.readouterr().err
    assert expected in said
    assert said.count("\n") == 1


class Watched(httpx2.BaseTransport):
    """A service at which an entry goes through these states, one each time that it is asked for."""

    def __init__(self, states: list[str]) -> None:
        self._states = states

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, json={"state": self._states.pop(0)})


def test_each_state_is_told_once_while_one_waits() -> None:
    states = ["queued", "queued", "validating", "scoring", "scoring", "queued", "done"]
    sender = Client(BASE, "token", Watched(states))
    sender._pause = lambda seconds: None
    told: list[str] = []
    assert sender.wait(1, lambda entry: told.append(entry["state"]))["state"] == "done"
    assert told == ["queued", "validating", "scoring", "queued"]


def test_scores_are_printed_as_boards_show_them(capsys: pytest.CaptureFixture[str]) -> None:
    means = {"public": {"sdr": {"bass": 20.0, "mean": 12.345, "vocals": None}}}
    entry = {"state": "done", "words": "scored", "problems": [], "stems": ["vocals", "bass"], "means": means}
    assert upload._report(entry) == 0
    assert capsys.readouterr().out == "scored\n  sdr (public tracks): mean 12.35, vocals -, bass 20.00\n"
