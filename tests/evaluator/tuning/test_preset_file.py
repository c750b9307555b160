"""New weights go into a preset, and everything else stays."""

from pathlib import Path

import pytest
import yaml

from evaluator.tuning.preset_file import with_manifest_for, with_used_steps, with_weights
from my_submission.ensemble.preset_reader import PRESETS_FOLDER, load_preset, preset_names
from tests.thinned import one_in

TEXT = """\
# What this is.
description: "a preset"  # in quotes
track: cinematic
steps:
  - name: dialog
    input: mixture
    stems: [dialog]
    residual: rest
    members:
      - {model: Kim_Vocal_1, sources: {dialog: vocals}, weight: 3}  # flow style
      # about the second
      - model: Kim_Inst
        sources:
          dialog: input - instrumental
        # the end of the first step

  - name: background
    input: rest
    stems: [effect, music]
    members:
      - model: dnr_a778de4a
      - model: dnr_dbb4db15
        weight: 2  # a weight
      - model: dnr_e41a5468
        overlap: 0.5

# the end of the file
"""
COMMENTS = [
    "# What this is.", "# in quotes", "# flow style", "# about the second", "# the end of the first step",
    "# a weight", "# the end of the file",
]  # fmt: skip


def loaded_weights(text: str, tmp_path: Path) -> list[list[tuple[str, dict[str, float]]]]:
    path = tmp_path / "preset.yaml"
    path.write_text(text)
    return [
        [(member.model, dict(member.weights)) for member in step.members] for step in load_preset(path).steps
    ]


def test_weights_are_replaced_and_comments_stay(tmp_path: Path) -> None:
    dialog = [{"dialog": 0.25}, {"dialog": 0.75}]
    background = [{"effect": 0.5, "music": 0.1}, {"effect": 0.3, "music": 0.2}, {"effect": 0.2, "music": 0.7}]
    text = with_weights(TEXT, "dialog", dialog, ["On some tracks."])
    text = with_weights(text, "background", background, ["On other tracks.", "It is better."])
    found = loaded_weights(text, tmp_path)
    assert [weights for _, weights in found[0]] == dialog
    assert [weights for _, weights in found[1]] == background
    for comment in COMMENTS:
        assert text.count(comment) == 1
    assert "    # tuned (dialog): On some tracks.\n    members:\n" in text
    assert (
        "    # tuned (background): On other tracks.\n    # tuned (background): It is better.\n    members:\n"
        in text
    )
    assert text.index("# the end of the first step") < text.index("name: background")


def test_only_lines_about_weights_change() -> None:
    text = (PRESETS_FOLDER / "mdx-c.yaml").read_text()
    changed = with_weights(text, "vocals", [{"vocals": 0.5}, {"vocals": 0.3}, {"vocals": 0.2}], ["So."])
    before, after = text.splitlines(), changed.splitlines()
    removed, added = (
        [line for line in before if line not in after],
        [line for line in after if line not in before],
    )
    assert removed == ["        weight: 12", "        weight: 8", "        weight: 3"]
    assert added == [
        "    # tuned (vocals): So.",
        "        weight: 0.5",
        "        weight: 0.3",
        "        weight: 0.2",
    ]
    assert [line for line in before if line not in removed] == [line for line in after if line not in added]


def test_a_member_without_weight_goes_and_takes_no_comment_along(tmp_path: Path) -> None:
    text = with_weights(TEXT, "dialog", [{"dialog": 1}, {"dialog": 0}], ["So."])
    assert loaded_weights(text, tmp_path)[0] == [("Kim_Vocal_1", {"dialog": 1})]
    assert "# the end of the first step" in text
    unequal = [{"effect": 1, "music": 0}, {"effect": 0, "music": 1}, {"effect": 0, "music": 0}]
    text = with_weights(text, "background", unequal, ["So."])
    assert loaded_weights(text, tmp_path)[1] == [
        ("dnr_a778de4a", {"effect": 1}),
        ("dnr_dbb4db15", {"music": 1}),
    ]
    assert "# the end of the file" in text


def test_a_second_tuning_replaces_the_comments_of_the_first() -> None:
    once = with_weights(TEXT, "dialog", [{"dialog": 0.2}, {"dialog": 0.8}], ["First.", "More."])
    other = with_weights(once, "background", [{"effect": 1, "music": 1}] * 3, ["Other."])
    twice = with_weights(other, "dialog", [{"dialog": 0.4}, {"dialog": 0.6}], ["Second."])
    assert "First." not in twice
    assert "More." not in twice
    assert "# tuned (dialog): Second." in twice
    assert "# tuned (background): Other." in twice


REFINED = """\
challenge: music
steps:
  - name: networks
    input: mixture
    stems: [b, d, o, v]
    members:
      - model: htdemucs
        sources: {b: bass, d: drums, o: other, v: vocals}
  # what is made of them
  - name: stems
    input: mixture
    stems: [bass, drums, other, vocals]
    members:
      - model: kuielab_a_mixer
        estimates: {bass: b, drums: d, other: o, vocals: v}
      - model: htdemucs_6s
economies:
  - {step: networks, overlap: 0.1}
  - {step: stems, overlap: 0}
"""


def test_a_step_goes_with_the_last_member_that_took_its_signals(tmp_path: Path) -> None:
    stems = ("bass", "drums", "other", "vocals")
    some = [dict.fromkeys(stems, 0.5), dict.fromkeys(stems, 0.5)]
    kept = with_weights(REFINED, "stems", some, [])
    assert with_used_steps(kept, stems) == kept
    assert len(loaded_weights(kept, tmp_path)) == 2
    text = with_weights(REFINED, "stems", [dict.fromkeys(stems, 0), dict.fromkeys(stems, 1)], [])
    text = with_used_steps(text, stems)
    assert loaded_weights(text, tmp_path) == [[("htdemucs_6s", dict.fromkeys(stems, 1))]]


@pytest.mark.parametrize("name", one_in(6, preset_names()))
def test_published_presets_survive_with_their_own_weights(name: str, tmp_path: Path) -> None:
    preset = load_preset(name)
    text = (PRESETS_FOLDER / f"{name}.yaml").read_text()
    for step in preset.steps:
        text = with_weights(text, step.name, [dict(member.weights) for member in step.members], [])
    path = tmp_path / "again.yaml"
    path.write_text(text)
    assert load_preset(path).steps == preset.steps


def test_a_manifest_is_found_from_another_folder(tmp_path: Path) -> None:
    text = "# mine\nmanifest: weights/mine.yaml\ntrack: music\n"
    old, new = tmp_path / "a", tmp_path / "b" / "c"
    moved = with_manifest_for(text, old, new)
    assert (new / yaml.safe_load(moved)["manifest"]).resolve() == (old / "weights" / "mine.yaml").resolve()
    assert moved.startswith("# mine\n")
    assert with_manifest_for(text, old, old) == text
    assert with_manifest_for(TEXT, old, new) == TEXT


def test_a_member_that_goes_takes_the_economies_of_its_step_with_it(tmp_path: Path) -> None:
    text = (PRESETS_FOLDER / "mdx-c.yaml").read_text()
    changed = with_weights(text, "vocals", [{"vocals": 3}, {"vocals": 0}, {"vocals": 1}], [])
    path = tmp_path / "preset.yaml"
    path.write_text(changed)
    kept = [economy for economy in load_preset("mdx-c").economies if economy.step == "instruments"]
    assert list(load_preset(path).economies) == kept
    path.write_text(with_weights(text, "vocals", [{"vocals": 3}, {"vocals": 1}, {"vocals": 1}], []))
    assert load_preset(path).economies == load_preset("mdx-c").economies
    (tmp_path / "all.yaml").write_text(
        with_weights(
            changed, "instruments", [dict.fromkeys(("bass", "drums", "other"), w) for w in (1, 0, 0, 0)], []
        )
    )
    assert load_preset(tmp_path / "all.yaml").economies == ()
