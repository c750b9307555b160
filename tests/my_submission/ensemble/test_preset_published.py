"""Presets: the published ensembles are those of arXiv 2305.07489, section 3, and the others what their makers ran."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from my_submission.ensemble.preset import Preset, PresetError, checkpoint_rows, needed_experts
from my_submission.ensemble.preset_reader import load_preset, preset_names
from my_submission.signal.augment import Normalise, Polarity

pytestmark = pytest.mark.quick


def member(preset: Preset, step: int, index: int) -> Any:
    return preset.steps[step].members[index]


CONSISTENT = (
    *("mdx-c-consistent", "mdx-demo", "cdx-b", "cdx-demo", "melband-kim", "polarformer"),
    *("music-2026", "vocals-2026", "cinematic-2026", "uvr-voc-ft", "uvr-inst-3", "start"),
)


@pytest.mark.parametrize("name", preset_names())
def test_which_presets_promise_that_their_stems_add_up(name: str) -> None:
    preset = load_preset(name)
    assert preset.mixture_consistent == (name in CONSISTENT)
    assert preset.sharing_stems == (len(preset.instruments) if preset.mixture_consistent else 0)


def test_the_released_cinematic_script_runs_one_checkpoint_unless_asked_for_all() -> None:
    one, all_three = load_preset("cdx-dnr-one"), load_preset("cdx-dnr")
    assert one.checkpoints == ("dnr_dbb4db15",)
    (default,), members = one.steps[0].members, all_three.steps[0].members
    assert (default.shifts, default.overlap, default.polarity) == (1, 0.8, Polarity.PLAIN)
    assert default in members
    assert one.steps[0].input == "mixture"


def test_mdx_c_is_the_published_ensemble() -> None:
    preset = load_preset("mdx-c")
    assert preset.challenge == "music"
    vocals, instruments = preset.steps
    assert [(m.model, m.weights, m.polarity, m.overlap, m.shifts) for m in vocals.members] == [
        ("Kim_Vocal_1", {"vocals": 12}, Polarity.PLAIN, 0.6, 0),
        ("Kim_Inst", {"vocals": 8}, Polarity.INVERTED, 0.6, 0),
        ("htdemucs_ft", {"vocals": 3}, Polarity.BOTH, 0.6, 1),
    ]
    assert vocals.members[1].sources == {"vocals": {"input": 1, "instrumental": -1}}
    assert (vocals.input, vocals.residual) == ("mixture", "instrumental")
    assert [(m.model, m.weights, m.polarity, m.overlap, m.shifts) for m in instruments.members] == [
        ("htdemucs_ft", {"bass": 19, "drums": 18, "other": 14}, Polarity.BOTH, 0.5, 1),
        ("htdemucs", {"bass": 4, "drums": 2, "other": 2}, Polarity.BOTH, 0.6, 1),
        ("htdemucs_6s", {"bass": 5, "drums": 4, "other": 5}, Polarity.BOTH, 0.6, 1),
        ("hdemucs_mmi", {"bass": 8, "drums": 9, "other": 10}, Polarity.BOTH, 0.6, 1),
    ]
    assert instruments.members[2].sources["other"] == {"other": 1, "guitar": 1, "piano": 1}
    assert instruments.input == "instrumental"


def test_mdx_c_needs_nine_files_and_each_expert_only_where_it_is_used() -> None:
    preset = load_preset("mdx-c")
    assert len(preset.checkpoints) == 9
    on_mixture = needed_experts(member(preset, 0, 2), preset.manifest)
    on_instrumental = needed_experts(member(preset, 1, 0), preset.manifest)
    assert on_mixture == [("htdemucs_ft_vocals", {"vocals": 1.0})]
    assert [name for name, _ in on_instrumental] == [
        "htdemucs_ft_drums",
        "htdemucs_ft_bass",
        "htdemucs_ft_other",
    ]


def test_mdx_c_kim2_differs_from_the_released_form_in_one_model() -> None:
    one, two = load_preset("mdx-c-released"), load_preset("mdx-c-kim2")
    assert set(one.checkpoints) ^ set(two.checkpoints) == {"Kim_Vocal_1", "Kim_Vocal_2"}
    assert one.steps[1] == two.steps[1]


def test_cdx_b_is_the_published_ensemble() -> None:
    preset = load_preset("cdx-b")
    assert preset.checkpoints == (
        "Kim_Vocal_1",
        "UVR-MDX-NET-Inst_HQ_2",
        "htdemucs_ft_vocals",
        "dnr_a778de4a",
        "dnr_dbb4db15",
        "dnr_e41a5468",
    )
    dialog, background = preset.steps
    assert [m.weights for m in dialog.members] == [{"dialog": 10}, {"dialog": 4}, {"dialog": 2}]
    assert {m.polarity for m in dialog.members} == {Polarity.PLAIN}
    assert {m.overlap for m in dialog.members} == {0.6}
    assert background.stems == ("effect", "music")
    assert background.consistent


def test_kuielab_a_refines_the_estimates_of_its_networks_and_b_has_none() -> None:
    stems = ("bass", "drums", "other", "vocals")
    networks, mixed = load_preset("kuielab-a").steps
    assert [m.model for m in networks.members] == [f"kuielab_a_{stem}" for stem in stems]
    assert mixed.reads == ("mixture", *(f"net_{stem}" for stem in stems))
    mixer, demucs_a = mixed.members
    assert mixer.estimates == {stem: f"net_{stem}" for stem in stems}
    (blended,) = load_preset("kuielab-b").steps
    *of_networks, demucs_b = blended.members
    of_mdx = {"bass": 0.5, "drums": 0.5, "other": 0.7, "vocals": 0.9}
    assert mixer.weights == of_mdx
    assert [m.weights for m in of_networks] == [{stem: weight} for stem, weight in of_mdx.items()]
    for demucs, model in ((demucs_a, "demucs_v2"), (demucs_b, "demucs_v2_extra")):
        assert (demucs.model, demucs.overlap, demucs.shifts) == (model, 0.5, 0)
        assert {stem: round(1 - weight, 9) for stem, weight in demucs.weights.items()} == of_mdx
    assert (demucs_a.normalise, demucs_b.normalise) == (Normalise.ALL, Normalise.MONO)
    mdx = (*networks.members, mixer, *of_networks)
    assert {(m.overlap, m.shifts, m.polarity, m.normalise) for m in mdx} == {(0, 0, Polarity.PLAIN, None)}


@pytest.mark.parametrize("level", ["step", "member"])
def test_what_refines_estimates_cannot_be_normalised(level: str, tmp_path: Path) -> None:
    document = yaml.safe_load(load_preset("kuielab-a").path.read_text())
    step = document["steps"][1]
    (step if level == "step" else step["members"][0])["normalise"] = "mono"
    (tmp_path / "p.yaml").write_text(yaml.safe_dump(document))
    with pytest.raises(PresetError, match=r"members\[0\].normalise: kuielab_a_mixer refines estimates"):
        load_preset(tmp_path / "p.yaml")


def test_the_demucs_presets_run_as_its_command_lines_did() -> None:
    """What is left to the step is in none of the members."""
    expected: dict[str, tuple[Any, ...]] = {
        "demucs-v1": (0, 0, 441_000), "demucs-v2": (0.25, 0, None), "demucs-mdx": (0.25, 1, None),
        "demucs-mdx-extra": (0.25, 1, None), "uvr-demucs": (0.25, 0, None),
    }  # fmt: skip
    for name, settings in expected.items():
        ((only,),) = (step.members for step in load_preset(name).steps)
        assert (only.overlap, only.shifts, only.segment_samples) == settings
        assert only.normalise is Normalise.MONO
    mdx = load_preset("demucs-mdx")
    shares = {name: dict(shares) for name, shares in needed_experts(member(mdx, 0, 0), mdx.manifest)}
    assert shares == {
        "mdx_0d19c1c6": {"drums": 1 / 3, "bass": 1 / 2},
        "mdx_7ecf8ec1": {"bass": 1 / 2},
        "mdx_c511e2ab": {"drums": 1 / 3, "other": 1 / 2, "vocals": 1 / 2},
        "mdx_7d865c68": {"drums": 1 / 3, "other": 1 / 2, "vocals": 1 / 2},
    }


@pytest.mark.parametrize("name", ["umx", "umxhq", "umxl"])
def test_open_unmix_has_a_file_for_each_of_its_targets(name: str) -> None:
    preset = load_preset(name)
    *parts, joint = checkpoint_rows(preset)
    assert [row.name for row in parts] == [f"{name}_{stem}" for stem in preset.instruments]
    assert all(row.has_file for row in parts)
    assert (joint.name, joint.sources, joint.has_file) == (name, preset.instruments, False)
    assert preset.steps[0].members[0].overlap == 0


def test_every_preset_of_the_submission_loads() -> None:
    for name in preset_names():
        assert load_preset(name).instruments
