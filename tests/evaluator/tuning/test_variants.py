"""An ablation takes away one thing at a time, never a stem, and every variant is a preset."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from evaluator.tuning.estimator import MemberInfo, PresetInfo, StepInfo
from evaluator.tuning.variants import FULL, Variant, variants
from my_submission.ensemble.plan import step_passes
from my_submission.ensemble.preset import Preset, as_bag
from my_submission.ensemble.preset_reader import PRESETS_FOLDER, load_preset
from my_submission.ensemble.study import blend_of


def info_of(preset: Preset) -> PresetInfo:
    """What the child says of a preset."""
    steps = []
    for step in preset.steps:
        members = []
        for member in step.members:
            bag = as_bag(member.model, preset.manifest)
            offers = tuple(sorted({source for _, shares in bag.members for source in shares}))
            members.append(MemberInfo(member.model, dict(member.weights), offers))
        blend = blend_of(step)
        steps.append(
            StepInfo(
                step.name,
                step.input,
                step.stems,
                step.residual,
                dict(step.residual_shares),
                blend,
                tuple(members),
                tuple(signal for signal in step.reads if signal != step.input),
            )
        )
    return PresetInfo(preset.instruments, "cpu", "float32", tuple(steps))


def variants_of(name: str) -> dict[str, Variant]:
    document = yaml.safe_load((PRESETS_FOLDER / f"{name}.yaml").read_text())
    return {variant.name: variant for variant in variants(document, info_of(load_preset(name)))}


def loaded(variant: Variant, tmp_path: Path) -> Preset:
    path = tmp_path / "variant.yaml"
    path.write_text(yaml.safe_dump(variant.document))
    return load_preset(path)


@pytest.mark.thorough
@pytest.mark.parametrize("name", ["mdx-c", "mdx-c-released", "cdx-b", "cdx-dnr"])
def test_every_variant_is_a_preset_that_differs(name: str, tmp_path: Path) -> None:
    found = variants_of(name)
    assert next(iter(found)) == FULL
    presets = [loaded(variant, tmp_path) for variant in found.values()]
    for index, preset in enumerate(presets):
        assert preset.steps not in [other.steps for other in presets[:index]]


def test_of_mdx_c_all_parts_are_taken_away() -> None:
    kinds = [variant.kind for variant in variants_of("mdx-c").values()]
    assert kinds.count("without a member") == 7
    assert kinds.count("without TTA") == 9  # polarity, shifts and both, of either step and of all
    assert kinds.count("without a part") == 2  # the shares of the residual, and the separate vocal removal
    assert kinds.count("one member") == 7 + 4


@pytest.mark.thorough
@pytest.mark.parametrize(("name", "key"), [("mdx-c", "residual shares"), ("mdx-c-consistent", "consistency")])
def test_shares_of_the_residual_are_a_part_that_every_other_variant_keeps(
    name: str, key: str, tmp_path: Path
) -> None:
    whole = load_preset(name).steps[1]
    for title, variant in variants_of(name).items():
        steps = {step.name: step for step in loaded(variant, tmp_path).steps}
        if title == f"instruments: without {key}":
            assert steps["instruments"].residual_shares == {}
        elif "the step vocals" not in title and "instruments" in steps:
            assert steps["instruments"].residual_shares == whole.residual_shares


def passes_of(preset: Preset) -> set[tuple[str, str, Any, float]]:
    return {
        (step.name, one.checkpoint, one.augmentation, one.overlap)
        for step in preset.steps
        for one in step_passes(step, preset, seed=0)
    }


@pytest.mark.thorough
def test_what_is_left_is_run_as_before(tmp_path: Path) -> None:
    whole = passes_of(load_preset("mdx-c"))
    for name, variant in variants_of("mdx-c").items():
        passes = passes_of(loaded(variant, tmp_path))
        if "without a member" in variant.kind or ": only" in name:
            assert passes < whole, name
        if name.endswith("polarity TTA"):
            assert passes < whole, name


def test_without_separate_vocal_removal_the_other_step_makes_the_vocals(tmp_path: Path) -> None:
    (step,) = loaded(variants_of("mdx-c")["without the step vocals"], tmp_path).steps
    assert (step.input, step.stems) == ("mixture", ("bass", "drums", "other", "vocals"))
    published = load_preset("mdx-c").steps[1]
    for member, before in zip(step.members, published.members, strict=True):
        assert member.weights["vocals"] == 1 / 4
        for stem, weight in before.weights.items():
            total = sum(other.weights[stem] for other in published.members)
            assert member.weights[stem] == pytest.approx(weight / total)
    (step,) = loaded(variants_of("cdx-b")["without the step dialog"], tmp_path).steps
    assert step.stems == ("effect", "music", "dialog")


def test_a_model_alone_makes_all_stems_with_the_settings_it_had(tmp_path: Path) -> None:
    (step,) = loaded(variants_of("mdx-c")["htdemucs_6s alone"], tmp_path).steps
    (member,) = step.members
    assert step.stems == ("bass", "drums", "other", "vocals")
    assert (member.model, member.polarity, member.overlap, member.shifts) == ("htdemucs_6s", "both", 0.6, 1)
    assert member.sources["other"] == {"other": 1, "guitar": 1, "piano": 1}
    assert not step.residual_shares


def test_of_two_members_one_left_out_is_the_other_alone() -> None:
    document = yaml.safe_load((PRESETS_FOLDER / "cdx-dnr.yaml").read_text())
    del document["steps"][0]["members"][2]
    info = info_of(load_preset("cdx-dnr"))
    (step,) = info.steps
    two = StepInfo(
        step.name, step.input, step.stems, step.residual, step.residual_shares, step.blend, step.members[:2]
    )
    names = [v.name for v in variants(document, PresetInfo(info.instruments, "cpu", "float32", (two,)))]
    assert "stems: without dnr_a778de4a = stems: only dnr_dbb4db15" in names
    assert len(names) == 4  # the whole, either member, without shifts


def test_loudness_is_a_part_like_others() -> None:
    document = yaml.safe_load((PRESETS_FOLDER / "cdx-dnr.yaml").read_text())
    document["steps"][0]["loudness_lufs"] = -27
    found = {variant.name: variant for variant in variants(document, info_of(load_preset("cdx-dnr")))}
    assert "loudness_lufs" not in found["stems: without loudness"].document["steps"][0]
    assert found[FULL].document["steps"][0]["loudness_lufs"] == -27


def test_a_member_twice_is_told_apart() -> None:
    (step,) = info_of(load_preset("cdx-dnr")).steps
    first, second, _ = step.members
    twice = StepInfo("s", "mixture", step.stems, None, {}, {}, (first, second, first))
    assert twice.member_names == ("dnr_a778de4a #1", "dnr_dbb4db15", "dnr_a778de4a #2")
