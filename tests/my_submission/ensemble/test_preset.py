"""Presets of one's own: every mistake has one clear sentence; what is wanted or saved decides what is left of one."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from my_submission.ensemble.preset import Preset, PresetError
from my_submission.ensemble.preset_reader import load_preset

pytestmark = pytest.mark.quick


def test_overrides_hold_everywhere() -> None:
    preset = load_preset("mdx-c").override(overlap=0.1, shifts=3)
    assert {(m.overlap, m.shifts) for step in preset.steps for m in step.members} == {(0.1, 3)}
    assert load_preset("mdx-c").override(None, None) == load_preset("mdx-c")


GOOD = {
    "track": "cinematic",
    "steps": [
        {
            "name": "dialog",
            "input": "mixture",
            "stems": ["dialog"],
            "residual": "rest",
            "members": [{"model": "dnr_a778de4a", "weight": 2}],
        },
        {
            "name": "background",
            "input": "rest",
            "stems": ["effect", "music"],
            "consistency": True,
            "members": [{"model": "dnr_a778de4a"}, {"model": "dnr_dbb4db15", "weights": {"effect": 1}}],
        },
    ],
}


def write(tmp_path: Path, document: Any) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


def changed(*keys: Any, value: Any) -> Any:
    """GOOD with one value replaced, or removed where the value is `...`."""
    document = yaml.safe_load(yaml.safe_dump(GOOD))
    *way, last = keys
    place = document
    for key in way:
        place = place[key]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return document


def test_a_preset_of_ones_own(tmp_path: Path) -> None:
    preset = load_preset(write(tmp_path, GOOD))
    assert preset.name == "mine"
    assert preset.mixture_consistent
    assert preset.steps[1].members[0].weights == {"effect": 1, "music": 1}
    assert preset.steps[1].members[1].weights == {"effect": 1}


def test_a_checkpoint_of_ones_own(tmp_path: Path) -> None:
    """A row in a second manifest file beside the preset, with a path, is enough."""
    row = {"architecture": "htdemucs", "sources": ["effect", "dialog", "music"], "path": "mine.th"}
    (tmp_path / "rows.yaml").write_text(yaml.safe_dump({"checkpoints": {"mine": row}}))
    document = changed("steps", 0, "members", 0, "model", value="mine")
    preset = load_preset(write(tmp_path, {**document, "manifest": "rows.yaml"}))
    assert preset.manifest.checkpoints["mine"].path == tmp_path / "mine.th"
    assert preset.checkpoints[0] == "mine"


FIRST = ("steps", 0)
MEMBER = ("steps", 0, "members", 0)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (changed("trakc", value="music"), r"unknown key 'trakc'; allowed: .* \(did you mean 'track'\?\)"),
        (changed("track", value="film"), "track: found 'film'; allowed: cinematic, music"),
        (changed("steps", value=...), "the key 'steps' is missing"),
        (changed("steps", value=[]), "steps: expected at least one entry, found"),
        (
            changed(*FIRST, "overlaps", value=0.5),
            r"steps\[0\]: unknown key 'overlaps'.*did you mean 'overlap'",
        ),
        (
            changed(*FIRST, "input", value="mix"),
            r"steps\[0\].input: found 'mix', which no earlier step makes",
        ),
        (changed("steps", 1, "name", value="dialog"), r"steps\[1\].name: 'dialog' is the name of an earlier"),
        (changed("steps", 0, "input", value="rest"), "which no earlier step makes"),
        (changed(*FIRST, "stems", value="dialog"), "stems: expected a list of names, found 'dialog'"),
        (changed(*FIRST, "residual", value="dialog"), "makes 'dialog', but that name is taken"),
        (changed(*FIRST, "residual", value="mixture"), "makes 'mixture', but that name is taken"),
        (changed(*FIRST, "consistency", value=True), "shares of it add up to one"),
        (changed(*FIRST, "consistency", value="yes"), "consistency: expected true or false, found 'yes'"),
        (changed(*FIRST, "loudness_lufs", value=27), "loudness_lufs: expected a loudness from -70 to 0"),
        (changed(*FIRST, "normalise", value=True), r"steps\[0\].normalise: found True; allowed: all, mono"),
        (changed(*MEMBER, "model", value="htdemux"), r"members\[0\].model: found 'htdemux'.*mean 'htdemucs'"),
        (
            changed(*MEMBER, "weight", value=-1),
            r"members\[0\].weight: expected a number, 0 or more, found -1",
        ),
        (changed(*MEMBER, "weight", value=0), "the weights sum to zero"),
        (changed(*MEMBER, "weight", value="a"), "expected a number, 0 or more, found 'a'"),
        (changed(*MEMBER, "weights", value={"dialog": 1}), "give either one weight"),
        (changed("steps", 1, "members", 1, "weights", value={"dialog": 1}), "which the step does not make"),
        (changed(*MEMBER, "polarity", value="twice"), r"members\[0\].polarity: found 'twice'; allowed: both"),
        (
            changed(*FIRST, "overlap", value=1),
            r"steps\[0\].overlap: expected a fraction from 0 to 0.99, found 1",
        ),
        (changed(*MEMBER, "shifts", value=1.5), "shifts: expected a whole number from 0 to 100, found 1.5"),
        (
            changed(*FIRST, "residual_shares", value={"music": 1}),
            "residual_shares: found 'music'; allowed: dialog",
        ),
        (changed("steps", 1, "residual_shares", value={}), "consistency: true is an equal share"),
        (
            changed(*FIRST, "residual_shares", value={"dialog": "1/0"}),
            "residual_shares.dialog: expected a share from 0 to 1, such as 0.5 or 1/3, found '1/0'",
        ),
        (changed(*FIRST, "residual_shares", value={"dialog": 1.5}), "expected a share from 0 to 1"),
        (changed(*FIRST, "residual_shares", value=[1]), r"residual_shares: expected a mapping, found \[1\]"),
        (changed(*FIRST, "mix", value={"music": {"dialog": 1}}), "mix: found 'music'; allowed: dialog"),
        (changed(*FIRST, "mix", value={"dialog": {"rest": 1}}), "mix: found 'rest'; allowed: dialog, input"),
        (
            changed(*FIRST, "mix", value={"dialog": {"input": -1001}}),
            "expected a factor from -1,000 to 1,000",
        ),
        (changed(*FIRST, "mix", value={"dialog": {}}), "mix.dialog: expected at least one entry"),
        (changed(*FIRST, "mix", value={"dialog": 1}), "mix.dialog: expected a mapping, found 1"),
        (
            changed(*MEMBER, "segment_samples", value=999),
            "segment_samples: expected a whole number of samples, 1000 or more, found 999",
        ),
        (changed(*FIRST, "segment_samples", value=1e6), "segment_samples: expected a whole number"),
        (
            changed(*MEMBER, "sources", value={"dialog": "speech"}),
            "sources.dialog: found 'speech' in 'speech'",
        ),
        (changed(*MEMBER, "sources", value={"dialog": "input"}), "does not use the model"),
        (changed(*MEMBER, "sources", value={"dialog": "dialog music"}), "expected a sum such as"),
        (changed(*MEMBER, "sources", value={"dialog": "dialog + dialog"}), "each once"),
        (changed(*MEMBER, "sources", value={"voice": "dialog"}), "sources: found 'voice'; allowed: dialog"),
        (changed("steps", 1, "stems", value=["effect", "wind"]), "'wind' has no member with a weight"),
        (changed("steps", 1, "stems", value=["effect"]), "no step makes 'music'"),
        (["steps"], "expected a mapping, found"),
    ],
)
def test_mistakes_name_file_and_key(tmp_path: Path, document: Any, message: str) -> None:
    path = write(tmp_path, document)
    with pytest.raises(PresetError, match=message) as error:
        load_preset(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_step_that_nobody_uses_is_an_error(tmp_path: Path) -> None:
    document = changed(*FIRST, "residual", value="rest")
    unused: dict[str, Any] = {"name": "x", "input": "mixture", "stems": ["a"], "members": []}
    unused["members"] = [{"model": "dnr_a778de4a", "sources": {"a": "music"}}]
    document["steps"].append(unused)
    with pytest.raises(PresetError, match=r"steps\[2\]: nothing uses what it makes: a"):
        load_preset(write(tmp_path, document))


def test_a_model_without_the_stem_says_how_to_read_it_off(tmp_path: Path) -> None:
    document = changed(*MEMBER, value={"model": "Kim_Vocal_1", "weights": {"dialog": 1}})
    with pytest.raises(PresetError, match="Kim_Vocal_1 has no source 'dialog'; say in `sources`"):
        load_preset(write(tmp_path, document))


@pytest.mark.parametrize("name", ["mdx-d", "nowhere.yaml", ""])
def test_unknown_presets_list_the_known_ones(name: str) -> None:
    message = "no such preset file" if "." in name else "one of .*cdx-b, cdx-demo, cdx-dnr"
    with pytest.raises(PresetError, match=message):
        load_preset(name)


@pytest.mark.parametrize("text", ["a: [", "steps: 1\nsteps: 2", "a: !!python/object:os.system x"])
def test_files_that_are_no_plain_yaml(tmp_path: Path, text: str) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(PresetError, match="cannot be read as YAML"):
        load_preset(path)


@pytest.mark.parametrize(
    ("stems", "steps"),
    [
        (["vocals"], ["vocals"]),
        (["bass"], ["vocals", "instruments"]),
        (["vocals", "drums"], ["vocals", "instruments"]),
    ],
)
def test_only_the_steps_that_the_wanted_stems_need(stems: list[str], steps: list[str]) -> None:
    whole = load_preset("mdx-c")
    preset = whole.for_stems(stems)
    assert [step.name for step in preset.steps] == steps
    assert set(preset.instruments) == set(stems)
    assert {economy.step for economy in preset.economies} == set(steps)
    assert not preset.mixture_consistent
    assert len(preset.checkpoints) == (3 if steps == ["vocals"] else 9)
    assert whole.for_stems(whole.instruments) == whole


ECONOMISED = """
track: cinematic
steps:
  - name: all
    input: mixture
    stems: [dialog, effect, music]
    overlap: 0.5
    polarity: both
    members: [{model: dnr_a778de4a}, {model: dnr_dbb4db15, shifts: 2, polarity: plain}]
economies:
"""


def economised(folder: Path, *economies: str) -> Preset:
    path = folder / "cheap.yaml"
    path.write_text(ECONOMISED + "".join(f"  - {economy}\n" for economy in economies))
    return load_preset(path)


def test_economies_are_taken_one_on_top_of_the_other(tmp_path: Path) -> None:
    preset = economised(
        tmp_path,
        "{step: all, polarity: inverted}",
        "{step: all, model: dnr_dbb4db15, shifts: 1}",
        "{step: all, overlap: 0.1}",
        "{step: all, drop: dnr_dbb4db15}",
    )
    settings = [
        [
            (m.polarity.value, m.shifts, m.overlap, bool(m.weights))
            for m in preset.economised(n).steps[0].members
        ]
        for n in range(5)
    ]
    assert settings == [
        [("both", 0, 0.5, True), ("plain", 2, 0.5, True)],
        [("inverted", 0, 0.5, True), ("plain", 2, 0.5, True)],
        [("inverted", 0, 0.5, True), ("plain", 1, 0.5, True)],
        [("inverted", 0, 0.1, True), ("plain", 1, 0.1, True)],
        [("inverted", 0, 0.1, True), ("plain", 1, 0.1, False)],
    ]
    assert preset.economised(4).checkpoints == ("dnr_a778de4a",)
    assert [str(economy) for economy in preset.economies] == [
        "all: all members with one polarity (inverted) in place of both",
        "all: dnr_dbb4db15 with at most 1 shift",
        "all: all members with an overlap of at most 0.1",
        "all: without dnr_dbb4db15",
    ]


@pytest.mark.parametrize(
    ("economies", "message"),
    [
        (["{step: one, overlap: 0}"], r"cheap.yaml: economies\[0\].step: found 'one'; allowed: all"),
        (["{step: all}"], "expected one of drop, overlap, polarity, shifts, found none"),
        (["{step: all, overlap: 0, shifts: 1}"], "found overlap and shifts"),
        (["{step: all, weight: 0}"], "unknown key 'weight'"),
        (["{step: all, overlap: 0.5}"], r"economies\[0\]: saves nothing beyond those before it"),
        (["{step: all, overlap: 1}"], r"economies\[0\].overlap: expected a fraction from 0 to 0.99, found 1"),
        (["{step: all, shifts: -1}"], r"economies\[0\].shifts: expected a whole number"),
        (["{step: all, polarity: both}"], r"economies\[0\].polarity: found 'both'; allowed: inverted, plain"),
        (["{step: all, drop: htdemucs}"], r"economies\[0\].drop: found 'htdemucs'; allowed: dnr_"),
        (
            ["{step: all, drop: dnr_a778de4a, model: dnr_dbb4db15}"],
            "economies.0..model: 'drop' already names the model",
        ),
        (
            ["{step: all, drop: dnr_a778de4a}", "{step: all, drop: dnr_dbb4db15}"],
            r"economies\[1\]: leaves no member for 'dialog' in the step 'all'",
        ),
    ],
)
def test_wrong_economies(tmp_path: Path, economies: list[str], message: str) -> None:
    with pytest.raises(PresetError, match=message):
        economised(tmp_path, *economies)
