"""The tables of presets in the documents follow from presets, manifest and published scores; and every shipped preset
has something to leave out."""

import re
from pathlib import Path

import pytest

from docs import preset_tables
from evaluator.runs import published
from my_submission.ensemble.plan import step_passes
from my_submission.ensemble.preset import Preset
from my_submission.ensemble.preset_reader import load_preset, preset_names
from my_submission.ensemble.systems import all_systems

DEMO = ("mdx-demo", "cdx-demo")


@pytest.mark.parametrize("path", preset_tables.TABLES, ids=lambda path: path.name)
def test_the_documents_have_the_tables_of_now(path: Path) -> None:
    """Else: python docs/preset_tables.py"""
    text = path.read_text(encoding="utf-8")
    assert preset_tables.with_table(text, preset_tables.TABLES[path]()) == text


def test_only_the_demos_files_are_said_to_be_of_this_repository() -> None:
    ours = [line for line in preset_tables.weights_table().splitlines() if "this repository" in line]
    assert len(ours) == 4
    assert all("`demo-" in line for line in ours)


def test_the_page_names_every_preset_whose_stems_add_up() -> None:
    text = (preset_tables.REPOSITORY / "docs" / "separate.md").read_text(encoding="utf-8")
    (named,) = re.findall(r"with the presets that promise it \((.*?)\)", text)
    consistent = {name for name in preset_names() if load_preset(name, outline=True).mixture_consistent}
    assert {*re.findall("`(.*?)`", named), *DEMO} == consistent


def test_a_table_replaces_what_is_between_its_marks() -> None:
    document = f"before\n{preset_tables.START}\n{preset_tables.END}\nafter\n"
    first = preset_tables.with_table(document, "| a |")
    assert first == f"before\n{preset_tables.START}\n| a |\n{preset_tables.END}\nafter\n"
    assert preset_tables.with_table(preset_tables.with_table(first, "| b |"), "| a |") == first
    for lacking in (document.replace(preset_tables.START, ""), document.replace(preset_tables.END, "")):
        with pytest.raises(ValueError, match="expected the lines"):
            preset_tables.with_table(lacking, "| a |")


@pytest.mark.thorough
def test_the_time_table_has_the_challenges_ensembles_and_all_since() -> None:
    table = preset_tables.time_table()
    of_2023 = {name for name in preset_names() if name.startswith(("mdx-c", "cdx-"))} - set(DEMO)
    assert {name for name in preset_names() if f"`{name}`" in table} == {*of_2023, *preset_tables.TODAY}


def test_a_limit_takes_as_few_economies_as_it_needs() -> None:
    costs = [300.0, 160.0, 100.0]
    assert preset_tables.fits(costs, 1_000.0) == "whole: 0.30"
    assert preset_tables.fits(costs, 120.0) == "1 of 2 economies: 1.33"
    assert preset_tables.fits(costs, 50.0) == "no: 2.00"


def test_operations_are_those_of_all_passes() -> None:
    """An overlap of a half is two chunks at a time; both polarities are two passes; a bag runs what is used of it."""
    gflop = preset_tables.GFLOP
    assert preset_tables.operations(load_preset("melband-kim")) == 2 * gflop["melband-kim"]
    assert preset_tables.operations(load_preset("cdx-dnr")) == pytest.approx(3 * 5 * gflop["dnr_dbb4db15"])
    music = load_preset("music-2026")
    expected = 2 * sum(gflop[name] for name in ("melband-kim", "polarformer", "mdx23c-vocals"))
    expected += 4 * gflop["scnet-xl-ihf"] + 2 * gflop["bsroformer-musdb"] + 3 * 2 * gflop["htdemucs"]
    assert preset_tables.operations(music) == expected


def work(preset: Preset) -> float:
    """Passes, each by its chunks; a pass that is delayed reads a little more."""
    return sum(
        (1 + 0.001 * (one.augmentation.delay_samples > 0)) / (1 - one.overlap)
        for step in preset.steps
        for one in step_passes(step, preset, seed=0)
    )


@pytest.mark.parametrize("name", preset_names())
def test_every_shipped_preset_has_economies_unless_it_has_nothing_to_spare_and_each_saves_work(
    name: str,
) -> None:
    preset = load_preset(name)
    spare = any(
        member.overlap > 0
        or member.shifts > 1
        or member.polarity == "both"
        or any(other is not member and other.weights.keys() & member.weights.keys() for other in step.members)
        for step in preset.steps
        for member in step.members
    )
    assert bool(preset.economies) == spare
    works = [work(preset.economised(count)) for count in range(len(preset.economies) + 1)]
    assert works == sorted(set(works), reverse=True)
    cheapest = preset.economised(len(preset.economies))
    assert all(any(stem in member.weights for member in step.members) for step in cheapest.steps
               for stem in step.stems)  # fmt: skip


def test_every_set_of_published_scores_names_its_measure_and_its_data() -> None:
    sets = published.load()
    for one in sets:
        assert one.data
        assert one.measure
        assert one.source
    assert len({(one.data, one.measure) for one in sets}) == len(sets), "one set for each data and measure"
    assert preset_tables.SETS.keys() <= {one.name for one in sets}
    named = {row.preset for one in sets for row in one.rows if row.preset}
    assert named <= set(preset_names())
    systems = {one.name: one for one in all_systems()}
    for name, score in (("bsroformer-1297", 10.87), ("melband-deux", 11.3695)):
        assert systems[name].published[0].scores["vocals"] == score
    singles = {name for name in preset_tables.TODAY if not name.endswith("-2026")}
    assert singles - named == {"bandit-v2-multi"}, "nobody published a score of it that was seen"
