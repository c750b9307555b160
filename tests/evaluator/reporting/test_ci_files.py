"""What CI systems read: JUnit, Markdown and badges, of any run and with any text in it."""

import json
import os
import re
import shlex
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

from evaluator.commands import ci_files, evaluate, evaluate_options
from evaluator.commands.ci_files import CiFiles
from evaluator.locations import REPOSITORY
from evaluator.reporting import badge, junit, summary
from evaluator.runs import baseline, results, run_scores
from evaluator.runs.leaderboard import Store
from evaluator.runs.records import LeftOut
from evaluator.runs.results import Result
from tests.evaluator import audio
from tests.evaluator.made_results import result

NASTY = '</code>|<script>alert(1)</script> **b** `c` ![x](http://x.y) @all #1 ]]> & "q" \\ www.x.com \ufffe'
# Children of each element, in order, in Jenkins' schema and Ant's: at most one of the choice in a test case.
CHILDREN = {
    "testsuites": ["testsuite"],
    "testsuite": ["properties", "testcase", "system-out", "system-err"],
    "properties": ["property"],
    "testcase": ["failure", "skipped"],
}
REQUIRED = {
    "testsuite": {
        *("name", "package", "id", "timestamp", "hostname", "tests", "failures", "errors", "skipped", "time"),
    },
    "property": {"name", "value"},
    "testcase": {"name", "classname", "time"},
    "failure": {"type", "message"},
    "skipped": {"message"},
}


@pytest.fixture(autouse=True)
def no_step_summary(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where these tests run in a job of GitHub's, its summary is none of theirs."""
    monkeypatch.delenv(ci_files.STEP_SUMMARY_VARIABLE, raising=False)


def check_schema(element: ElementTree.Element) -> None:
    """The element's children and attributes are those that both schemas have."""
    order = CHILDREN.get(element.tag, [])
    tags = [child.tag for child in element]
    assert tags == sorted(tags, key=order.index)
    assert element.attrib.keys() == REQUIRED.get(element.tag, set())
    if element.tag == "testcase":
        assert len(tags) <= 1
    for name in ("time", "tests", "failures", "errors", "skipped"):
        assert float(element.attrib.get(name, 0)) >= 0
    for child in element:
        check_schema(child)


def parsed(made: Result, check: baseline.Check | None = None) -> ElementTree.Element:
    root = ElementTree.fromstring(junit.document(made, check))
    check_schema(root)
    suite = root[0]
    cases = suite.findall("testcase")
    assert int(suite.attrib["tests"]) == len(cases)
    assert int(suite.attrib["failures"]) == sum(case.find("failure") is not None for case in cases)
    assert int(suite.attrib["skipped"]) == sum(case.find("skipped") is not None for case in cases)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", suite.attrib["timestamp"])
    return suite


def left_out(made: Result, *names: str) -> Result:
    data = replace(made.plan.data, left_out=tuple(LeftOut(name, "it is damaged") for name in names))
    return replace(made, plan=replace(made.plan, data=data))


def test_a_test_case_for_each_track_with_status_and_reason() -> None:
    suite = parsed(left_out(result({"a": 3.0, "b": "timeout"}), "c"))
    cases = {case.attrib["name"]: case for case in suite.findall("testcase")}
    assert list(cases) == ["a", "b", "c"]
    assert not list(cases["a"])
    failure = cases["b"].find("failure")
    assert failure is not None
    assert failure.attrib["type"] == "timeout"
    assert failure.attrib["message"]
    skipped = cases["c"].find("skipped")
    assert skipped is not None
    assert skipped.attrib["message"] == "left out: it is damaged"


def test_a_regression_is_a_failure_of_its_own() -> None:
    before, now = (run_scores.of_result(result({"a": score}), "x") for score in (5.0, 3.0))
    suite = parsed(result({"a": 3.0}), baseline.check(before, now))
    *_, case = suite.findall("testcase")
    failure = case.find("failure")
    assert failure is not None
    assert failure.attrib["message"].startswith("REGRESSION against x")
    assert "bass" in (failure.text or "")
    passed = parsed(result({"a": 3.0}), baseline.check(now, now)).findall("testcase")[-1]
    assert passed.attrib["name"] == "no regression against x"
    assert not list(passed)


def nasty() -> Result:
    """A run in which every text of others is a trap."""
    made = left_out(result({"a": 3.0, "b": "crashed"}), NASTY)
    tracks = tuple(
        replace(track, name=f"{track.name}{NASTY}", reason=track.reason and NASTY) for track in made.tracks
    )
    return replace(made, tracks=tracks, provenance={"preset": NASTY})


def test_text_of_others_stays_text_in_xml() -> None:
    suite = parsed(nasty())
    names = [case.attrib["name"] for case in suite.findall("testcase")]
    assert names[0] == f"a{NASTY}".replace("\ufffe", "\\ufffe") or names[0] == f"a{NASTY}".replace(
        "\ufffe", "�"
    )


def test_text_of_others_stays_text_in_markdown() -> None:
    text = summary.document(nasty(), None)
    outside = re.sub(r"<code>[^<>]*</code>", "", text)
    for mark in ("<script", "alert", "http", "www", "@all", "![", "**"):
        assert mark not in outside
    for inside in re.findall(r"<code>(.*?)</code>", text):
        assert not re.search(r"[<>|*`!\[\]()@\\\"_~:.]|#(?!\d+;)|&(?!#\d+;)", inside)


def columns(line: str) -> int:
    return line.count("|") - 1


def test_tables_of_the_summary_are_whole() -> None:
    made = nasty()
    lines = summary.document(made, None).splitlines()
    header = next(line for line in lines if line.startswith("| track"))
    rows = [line for line in lines if line.startswith("| <code>")]
    assert len(rows) == 2
    assert {columns(row) for row in rows} == {columns(header)}


def test_the_summary_says_what_counts() -> None:
    text = summary.document(left_out(result({"a": 3.0}), "b"), None)
    assert "3.000 dB, of 1 of 2 tracks" in text.splitlines()[0]
    failed = summary.document(result({"a": 3.0, "b": "timeout"}), None)
    assert failed.startswith("## ❌")
    assert "no score (1 of 2 tracks worked)" in failed
    assert "### Tracks that failed" in failed


def test_a_long_run_has_its_failures_in_the_summary() -> None:
    scores: dict[str, float | str] = {f"t{number:04}": 1.0 for number in range(500)}
    text = summary.document(result({**scores, "z": "timeout"}), None)  # type: ignore[arg-type]
    assert "300 more are in the result" in text or "301 more are in the result" in text
    assert "<code>z</code> | timeout" in text


@pytest.mark.parametrize(
    ("made", "message", "colour"),
    [
        (result({"a": 3.0}), "3.000 dB", "brightgreen"),
        (left_out(result({"a": 3.0}), "b"), "3.000 dB (1 of 2 tracks)", "yellow"),
        (result({"a": 3.0, "b": "timeout"}), "1 of 2 tracks", "red"),
    ],
)
def test_badges(made: Result, message: str, colour: str) -> None:
    found = badge.of_result(made)
    said = json.loads(badge.as_json(found))
    assert (said["schemaVersion"], said["label"], said["message"], said["color"]) == (
        1,
        "SDR music",
        message,
        colour,
    )
    picture = ElementTree.fromstring(badge.as_svg(found))
    texts = [element.text for element in picture.iter() if element.tag.endswith("}text")]
    assert texts == ["SDR music", message]


def test_a_regression_is_red() -> None:
    assert badge.of_result(result({"a": 3.0}), regressed=True).colour == "red"


def test_files_are_written_and_the_step_summary_is_added_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = tmp_path / "step.md"
    step.write_text("before\n")
    monkeypatch.setenv(ci_files.STEP_SUMMARY_VARIABLE, str(step))
    new = tmp_path / "new" / "folder"
    files = CiFiles(new / "junit.xml", new / "summary.md", (new / "badge.svg", new / "badge.json"))
    made = result({"a": 3.0})
    assert ci_files.write(files, made, None)
    assert sorted(path.name for path in new.iterdir()) == [
        "badge.json",
        "badge.svg",
        "junit.xml",
        "summary.md",
    ]
    assert step.read_text() == "before\n" + (new / "summary.md").read_text()


def test_a_step_summary_that_is_named_is_added_to_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = tmp_path / "step.md"
    step.write_text("before\n")
    monkeypatch.setenv(ci_files.STEP_SUMMARY_VARIABLE, str(step))
    made = result({"a": 3.0})
    assert ci_files.write(CiFiles(summary=step), made, None)
    assert step.read_text() == "before\n" + summary.document(made, None)


def test_a_pipe_or_a_device_is_written_to_and_stays(tmp_path: Path) -> None:
    """As /dev/stdout, which root could replace."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    made = result({"a": 3.0})
    said = (
        lambda: ci_files.write(CiFiles(summary=pipe), made, None),
        lambda: results.write(pipe, made.to_json()),
    )
    with ThreadPoolExecutor(1) as reading:
        for write in said:
            content = reading.submit(pipe.read_text)
            write()
            assert "demo" in content.result(10)
    assert pipe.is_fifo()
    assert list(tmp_path.iterdir()) == [pipe]


def test_what_cannot_be_written_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert not ci_files.write(CiFiles(junit=tmp_path / "file" / "junit.xml"), result({"a": 3.0}), None)
    assert "junit.xml: not written" in capsys.readouterr().err


@pytest.mark.parametrize(("option", "recorded"), [("--json", 1), ("--out", 0)])
def test_a_place_that_cannot_be_written_is_a_sentence_and_the_run_is_on_record(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, recorded: int
) -> None:
    (tmp_path / "file").write_text("mine")
    given = ["--data", str(audio.write_music(tmp_path / "data", {"a": 3000}))]
    audio.write_track(tmp_path / "given" / "a", {"vocals": audio.noise(3000)})
    given += ["--predictions", str(tmp_path / "given"), option, str(tmp_path / "file" / "x")]
    before = len(Store().entries())
    assert evaluate.main(given) == 2
    assert f"{tmp_path / 'file' / 'x'}: " in capsys.readouterr().err
    assert len(Store().entries()) == before + recorded


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (["--badge", "x.png"], "ends in .json or .svg"),
        (["--junit", "."], "a folder"),
        (["--submissions", ".", "--out", "x", "--junit", "x.xml"], "do not go with --submissions"),
    ],
)
def test_options_that_cannot_be(
    options: list[str], expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        evaluate.main(options)
    assert caught.value.code == 2
    assert expected in " ".join(capsys.readouterr().err.split())


def test_a_run_writes_them_and_a_part_of_the_baseline_is_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SDX_LEADERBOARD", str(tmp_path / "board.sqlite"))
    data = audio.write_music(tmp_path / "data", {"a": 3000, "b": 3000})
    for track in "ab":
        stem = 0.9 * audio.noise(3000, seed="ab".index(track))
        audio.write_track(
            tmp_path / "given" / track, dict.fromkeys(("bass", "drums", "other", "vocals"), stem)
        )
    usual = ["--data", str(data), "--predictions", str(tmp_path / "given")]
    assert evaluate.main([*usual, "--json", str(tmp_path / "full.json")]) == 0
    part = [*usual, "--only", "a", "--check", str(tmp_path / "full.json")]
    assert evaluate.main([*part, "--junit", str(tmp_path / "junit.xml")]) == 0
    assert "--only leaves them aside: 1 track of the baseline" in capsys.readouterr().out
    assert "no regression against" in (tmp_path / "junit.xml").read_text()

    (data / "b" / "bass.wav").write_bytes(b"no sound")
    assert evaluate.main([*usual, "--skip-bad", "--check", str(tmp_path / "full.json")]) == 1
    assert "b: ok -> left out" in capsys.readouterr().out

    audio.write_music(data, {"a": 2900})
    for name in ("bass", "drums", "other", "vocals"):
        audio.write_track(tmp_path / "given" / "a", {name: audio.noise(2900)})
    assert evaluate.main(part) == 2
    assert "was made with another a" in capsys.readouterr().err


def test_a_baseline_without_hashes_of_tracks_cannot_be_checked_in_part(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("SDX_LEADERBOARD", str(tmp_path / "board.sqlite"))
    data = audio.write_music(tmp_path / "data", {"a": 3000, "b": 3000})
    for track in "ab":
        audio.write_track(tmp_path / "given" / track, {"vocals": audio.noise(3000)})
    usual = ["--data", str(data), "--predictions", str(tmp_path / "given")]
    file = tmp_path / "full.json"
    assert evaluate.main([*usual, "--json", str(file)]) == 0
    item = json.loads(file.read_text())
    del item["data"]["tracks"]
    file.write_text(json.dumps(item))
    assert evaluate.main([*usual, "--check", str(file)]) == 0
    assert evaluate.main([*usual, "--only", "a", "--check", str(file)]) == 2
    assert "save it again" in capsys.readouterr().err


def test_the_workflow_to_copy_calls_what_there_is() -> None:
    workflow = yaml.safe_load((REPOSITORY / "docs" / "ci-workflow.yml").read_text())
    steps = workflow["jobs"]["score"]["steps"]
    (command,) = [step["run"] for step in steps if "run_eval.py" in step.get("run", "")]
    _, _, *arguments = shlex.split(command)
    options, outputs, several = evaluate_options.parse(arguments, "run_eval.py")
    assert (options.only, several) == ("song_[12]", None)
    assert outputs.check is not None
    assert (REPOSITORY / outputs.check).is_file()
    assert outputs.ci.junit is not None
    assert len(outputs.ci.badges) == 2
