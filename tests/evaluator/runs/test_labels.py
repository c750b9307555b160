"""Names, notes and tags: kept, shown, harmless, and no part of what is computed; equal submissions are recognised."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from evaluator import __main__
from evaluator.commands import evaluate_options
from evaluator.runs import baseline, entries, labels, likeness
from evaluator.runs.labels import UNNAMED, Label
from evaluator.runs.leaderboard import Store
from evaluator.runs.results import Result
from tests.evaluator import made_results

EVIL = '=HYPERLINK("http://x")\x1b[2J<b>\u202e'
LABEL = Label("ours, with a new bass", "Trained in September.", ("paper", "bass"))


def named(label: Label = LABEL, level: float = 1.0) -> Result:
    return replace(made_results.result({"a": level}), label=label)


@pytest.mark.parametrize("label", [LABEL, Label("نمی‌خواهم", "👩‍🎤")])
def test_a_label_comes_back(label: Label) -> None:
    assert Result.from_json(named(label).to_json()) == named(label)


def test_a_result_of_before_there_were_labels_has_none() -> None:
    item = named().to_json()
    for key in ("name", "note", "tags"):
        del item[key]
    old = Result.from_json(item)
    assert (old.label, old.name) == (UNNAMED, "mdx-demo")


def test_labels_of_others_are_cut_and_made_visible() -> None:
    item = named().to_json() | {"name": EVIL * 100, "note": EVIL, "tags": [EVIL, EVIL]}
    label = Result.from_json(item).label
    assert len(label.name or "") == labels.NAME_CHARACTERS
    assert len(label.tags) == 1
    assert "\x1b" not in f"{label}"
    assert "\u202e" not in f"{label}"


@pytest.mark.parametrize(
    "words",
    [["--name", ""], ["--name", "x" * 101], ["--note", "a\nb"], ["--tag", "a,b"], ["--tag", "\u202e"],
     ["--name", "a", "--submissions", "there"], [word for i in range(21) for word in ("--tag", str(i))]],
)  # fmt: skip
def test_a_label_that_is_none_is_one_sentence(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        evaluate_options.parse(words, "run_eval.py")
    assert ended.value.code == 2
    assert words[0] in capsys.readouterr().err.splitlines()[-1]


def test_a_run_is_called_as_the_options_say() -> None:
    words = ["--name", " ours ", "--note", "why", "--tag", "b", "--tag", "a", "--tag", "b"]
    options, _, _ = evaluate_options.parse(words, "run_eval.py")
    assert options.label == Label("ours", "why", ("b", "a"))


@pytest.mark.parametrize("form", ["text", "csv", "json", "html"])
def test_the_board_shows_labels_and_nothing_in_them_acts(
    form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store()
    store.record(named(), None)
    item = named().to_json() | {"name": EVIL, "note": EVIL, "tags": [EVIL]}
    store.record(Result.from_json(item), None)
    assert __main__.main(["leaderboard", *([f"--{form}"] if form != "text" else [])]) == 0
    shown = capsys.readouterr().out
    assert all(text in shown for text in ("ours, with a new bass", "paper", "bass", "Trained in September."))
    assert not {c for c in shown if not c.isprintable()} - {"\n"}
    assert "<b>" not in shown or form != "html"
    assert ",=HYPERLINK" not in shown
    assert ',"=HYPERLINK' not in shown


def test_runs_are_listed_by_tag(capsys: pytest.CaptureFixture[str]) -> None:
    for tags in (("a",), ("a", "b"), ()):
        Store().record(named(Label(" ".join(("tags", *tags)), None, tags)), None)
    assert __main__.main(["leaderboard", "--tag", "a", "--tag", "b", "--json"]) == 0
    assert [row["name"] for row in json.loads(capsys.readouterr().out)] == ["tags a b"]


def test_a_baseline_keeps_the_label(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "b.json"
    file.write_text(json.dumps(baseline.to_json(named())))
    assert baseline.read(file).label == LABEL
    assert __main__.main(["baseline", "show", str(file)]) == 0
    assert "ours, with a new bass: #paper, #bass, Trained in September." in capsys.readouterr().out


def test_compare_tells_equal_submissions_and_gives_ids_and_numbers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [named(level=1.0), named(UNNAMED, 2.0)]
    ids = [Store().record(run, None) for run in runs]
    assert __main__.main(["compare", *ids]) == 0
    shown = capsys.readouterr().out
    assert "A and B are the same submission (equal files, preset and weights)" in shown
    assert "A: ours, with a new bass" in shown
    assert __main__.main(["compare", *ids, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [found[side]["run"] for side in "ab"] == ids
    assert (found["a"]["name"], found["a"]["tags"]) == (LABEL.name, list(LABEL.tags))
    assert found["same_submission"] is True
    assert found["differences"]["a"] == pytest.approx(dict.fromkeys(found["differences"]["a"], 1.0))


def test_which_runs_are_of_one_submission() -> None:
    first, again = named(), named(UNNAMED, 2.0)
    assert first.plan.submission is not None
    code = replace(first.plan.submission, files_sha256="0" * 64)
    others = [
        made_results.result({"a": 1.0}, preset="other"),
        replace(first, plan=replace(first.plan, submission=code)),
        replace(first, provenance={**(first.provenance or {}), "weights": None}),
        made_results.result({"a": 1.0}, given=True),
    ]
    kept = [entries.make_entry(run, None) for run in (first, again, *others)]
    assert likeness.equals(kept) == dict.fromkeys((kept[0].id, kept[1].id), (kept[0], kept[1]))


def test_the_board_names_some_runs_of_the_same_submission(capsys: pytest.CaptureFixture[str]) -> None:
    ids = [Store().record(named(level=float(level)), None)[:8] for level in (4, 3, 2, 1)]
    Store().record(made_results.result({"a": 0.0}, preset="other"), None)
    assert __main__.main(["leaderboard"]) == 0
    rows = capsys.readouterr().out.splitlines()[2:]
    assert [f"= {ids[1]} = {ids[2]} and 1 more" in row for row in rows] == [True, False, False, False, False]
    assert f"= {ids[0]} = {ids[1]} and 1 more" in rows[3]
    assert " = " not in rows[4]
    assert __main__.main(["leaderboard", "--json"]) == 0
    keys = [row["submission"] for row in json.loads(capsys.readouterr().out)]
    assert (len(set(keys[:4])), keys[4] in keys[:4]) == (1, False)


def test_the_users_own_data_comes_before_the_demos() -> None:
    own = made_results.result({"a": 1.0})
    demo = made_results.result({"a": 2.0}, data_hash="e" * 64)
    data = replace(demo.plan.data, path="/anywhere/local_data/demo/music")
    demo = replace(demo, plan=replace(demo.plan, data=data))
    groups = entries.rank([entries.make_entry(run, None) for run in (demo, own)])
    assert [group.newest.result for group in groups] == [own, demo]
