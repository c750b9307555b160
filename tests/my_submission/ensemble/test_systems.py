"""All systems in one list: presets, bags and checkpoints, each once, with what is known of them."""

import json
from pathlib import Path

import pytest
import yaml

from my_submission.__main__ import main
from my_submission.commands.models import headline
from my_submission.ensemble import systems
from my_submission.ensemble.preset_reader import preset_names
from my_submission.ensemble.systems import Published, System, all_systems, rows_by_licence
from my_submission.weights import load_manifest


@pytest.fixture(scope="module")
def every() -> list[System]:
    return list(all_systems())


@pytest.fixture(scope="module")
def listed(every: list[System]) -> dict[str, System]:
    return {one.name: one for one in every}


def test_every_preset_and_every_file_of_the_manifest_is_there(
    every: list[System], listed: dict[str, System]
) -> None:
    assert [name for name, one in listed.items() if one.kind == "preset"] == preset_names()
    manifest = load_manifest()
    assert {row.name for one in listed.values() for row in one.files} == {
        row.name for row in manifest.checkpoints.values() if row.has_file and row.form is None
    }
    assert len(listed) == len(every), "a name that two systems have"


def test_what_cannot_be_told_apart_is_listed_once(listed: dict[str, System]) -> None:
    """A checkpoint that a preset runs alone, or that is a part of another row or a member of a bag."""
    manifest = load_manifest()
    files = {
        kind: {one.files for one in listed.values() if one.kind == kind} for kind in ("preset", "checkpoint")
    }
    assert {len(each) for each in files["checkpoint"]} == {1}
    assert not files["checkpoint"] & files["preset"]
    members = {name for bag in manifest.bags.values() for name, _ in bag.members}
    assert not members & {each[0].name for each in files["checkpoint"]}
    assert not {part for row in manifest.checkpoints.values() for part in row.parts} & listed.keys()


def test_sizes_licences_and_stems_are_those_of_the_files(listed: dict[str, System]) -> None:
    bag = listed["htdemucs_ft"]
    assert bag.kind == "bag"
    assert set(bag.makes) == {"drums", "bass", "other", "vocals"}
    assert bag.bytes == sum(row.about_bytes or 0 for row in bag.files)
    assert rows_by_licence(bag.files) == {"MIT": tuple(row.name for row in bag.files)}
    mixed = rows_by_licence(listed["mdx-c"].files)
    assert sorted(name for names in mixed.values() for name in names) == sorted(
        row.name for row in listed["mdx-c"].files
    )
    assert "no licence stated" in mixed


@pytest.mark.thorough
def test_scores_belong_to_the_preset_the_checkpoint_or_both(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rows = [
        {"name": "in words", "preset": "melband-kim", "vocals": 1.25},
        {"name": "UVR-MDX-NET-Voc_FT", "instrumental": 3.0, "vocals": 2.5},
        {"name": "htdemucs", "mean": 4.0, "bass": 5.0},
        {"name": "somebody else's", "mean": 9.0},
    ]
    sets = [{"name": "set", "data": "these", "measure": "that", "rows": rows}]
    (tmp_path / "scores.yaml").write_text(yaml.safe_dump(sets, sort_keys=False))
    monkeypatch.setattr(systems, "PUBLISHED_SCORES", tmp_path / "scores.yaml")
    found = {one.name: one for one in all_systems() if one.published}
    assert set(found) == {"melband-kim", "uvr-voc-ft", "htdemucs"}
    assert found["uvr-voc-ft"].published == (
        Published("set", "these", "that", {"vocals": 2.5, "instrumental": 3.0}),
    )
    assert headline(found["htdemucs"]) == "mean 4.00 (set)"
    assert headline(found["uvr-voc-ft"]) == "vocals 2.50 (set)"


@pytest.mark.thorough
def test_the_command_lists_them(capsys: pytest.CaptureFixture[str], listed: dict[str, System]) -> None:
    assert main(["models"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:-1]] == list(listed)
    assert main(["models", "--json", "--makes", "dialog"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {one["name"] for one in found} == {name for name, one in listed.items() if "dialog" in one.makes}
    assert main(["models", "--json", "mdx-demo", "mdx-c", "--here"]) == 0
    (demo,) = json.loads(capsys.readouterr().out)
    assert (demo["name"], demo["kind"]) == ("mdx-demo", "preset")
    assert demo["files_here"] == len(demo["files"]) > 0
    assert demo["licences"] == {"MIT": demo["files"]}


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nothing"], "found 'nothing'; expected a name"),
        (["--makes", "vocls"], "--makes: found 'vocls', expected one of"),
        (["mdx-demo", "--weights-dir", "/nowhere"], "weights_dir: /nowhere is not a folder"),
    ],
)
def test_a_wrong_name_is_one_sentence(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", *words]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert said in captured.err
    assert captured.err.count("\n") == 1
