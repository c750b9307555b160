"""The paper's experiment: what is run, what is scored of it, and the table in its forms."""

import csv
import io
from pathlib import Path

import pytest
import yaml

from evaluator import tables
from evaluator.runs.published import PublishedRow, PublishedSet
from evaluator.tuning import ablate, table
from evaluator.tuning.estimator import EstimatorError
from evaluator.tuning.table import MODEL, PRESET, Line, Named
from my_submission.ensemble.preset_reader import PRESETS_FOLDER, load_preset
from tests.evaluator import audio
from tests.evaluator.tuning.test_variants import info_of, loaded

STEMS = ("bass", "drums", "other", "vocals")


def named(name: str) -> Named:
    file = PRESETS_FOLDER / f"{name}.yaml"
    return Named(file, ablate.read_document(file), info_of(load_preset(name)))


@pytest.mark.thorough
def test_every_model_by_itself_then_the_presets(tmp_path: Path) -> None:
    presets = [named(name) for name in ("mdx-c", "melband-kim", "music-2026", "kuielab-b")]
    found = table.systems(presets, STEMS)
    made = {variant.name: stems for variant, stems in found}
    assert len(made) == len(found), "each has a name of its own"
    assert [variant.name for variant, _ in found if variant.kind == PRESET] == [one.name for one in presets]
    assert made["mdx-c"] == made["htdemucs"] == made["hdemucs_mmi"] == STEMS
    assert made["Kim_Vocal_1"] == made["melband-kim"] == ("vocals",)
    models = {variant.name for variant, _ in found if variant.kind == MODEL}
    assert "melband-kim" not in models, "a preset of one model is that model"
    assert not any("mixer" in name for name in models), "what refines estimates is nothing by itself"
    inputs = {"mixture"}
    for variant, stems in found:
        preset = loaded(variant, tmp_path)
        assert set(stems) <= set(preset.instruments)
        if variant.kind == MODEL:
            (step,) = preset.steps
            assert step.stems == stems
            assert [member.model for member in step.members] == [variant.name]
            assert {step.input} == inputs


def test_a_model_keeps_how_it_is_run(tmp_path: Path) -> None:
    whole = load_preset("mdx-c")
    for variant, _ in table.systems([named("mdx-c")], STEMS):
        if variant.kind == MODEL:
            (member,) = loaded(variant, tmp_path).steps[0].members
            own = next(one for step in whole.steps for one in step.members if one.model == variant.name)
            assert (member.polarity, member.shifts, member.overlap) == (own.polarity, own.shifts, own.overlap)


def test_columns_are_the_stems_that_are_made_and_there(tmp_path: Path) -> None:
    audio.write_stems(tmp_path, ("piano", "vocals", "instrumental", "bass"))
    presets = [named("melband-kim"), named("umx")]
    assert table.columns(presets, tmp_path) == ("vocals", "instrumental", "bass")
    with pytest.raises(
        EstimatorError, match="preset cdx-dnr makes dialog, effect, music; .* has references of bass"
    ):
        table.columns([named("cdx-dnr")], tmp_path)


SET = PublishedSet("theirs", "music", "their songs", "medians", "somewhere", STEMS, ())
LINES = [
    Line(MODEL, "a_model", {"vocals": 5.0, "mean": 5.0}, 1.0, 10.0),
    Line(PRESET, "whole", {"bass": 1.0, "vocals": 2.0, "mean": 1.5}, 30.0, 10.0),
]
BESIDE = [(SET, PublishedRow("=whole", {"vocals": 3.25, "mean": 3.0}, "whole"))]


def test_a_mean_needs_all_stems() -> None:
    cells = table.as_table(LINES, BESIDE, ("bass", "vocals"))
    assert cells == [
        ["system", "bass", "vocals", "mean", "RTF"],
        ["a_model", "-", "5.000", "-", "0.100"],
        ["whole", "1.000", "2.000", "1.500", "3.000"],
        ["whole, published: theirs", "-", "3.250", "-", ""],
    ]
    assert table.notes(BESIDE * 2) == ["theirs: medians, on their songs; not to be compared with our rows"]
    rows = list(
        csv.DictReader(io.StringIO(tables.as_csv(table.unrounded(LINES, BESIDE, ("bass", "vocals")))))
    )
    assert [row["mean"] for row in rows] == ["", "1.5", ""]
    assert [row["measure"] for row in rows] == ["global SDR", "global SDR", "medians"]


def test_published_rows_are_found_by_preset_and_by_model() -> None:
    found = table.published_of(["melband-kim", "htdemucs", "nobody's"])
    assert {row.preset or row.name for _, row in found} == {"melband-kim", "htdemucs"}
    assert {one.name for one, _ in found} == {"multisong-mvsep", "musdb18-medians"}


def test_documents_of_models_are_complete(tmp_path: Path) -> None:
    """Also with a manifest of one's own, from any folder."""
    mine = {"architecture": "htdemucs", "sources": ["vocals"], "file": "mine.th", "about_bytes": 1}
    rows = {"checkpoints": {"mine": mine}}
    (tmp_path / "rows.yaml").write_text(yaml.safe_dump(rows))
    members = [{"model": "mine"}, {"model": "Kim_Vocal_1"}]
    steps = [{"name": "s", "input": "mixture", "stems": ["vocals"], "members": members}]
    preset = tmp_path / "own.yaml"
    preset.write_text(yaml.safe_dump({"stems": ["vocals"], "manifest": "rows.yaml", "steps": steps}))
    own = Named(preset, ablate.read_document(preset), info_of(load_preset(preset)))
    (tmp_path / "elsewhere").mkdir()
    for variant, _ in table.systems([own], ("vocals",)):
        assert loaded(variant, tmp_path / "elsewhere").instruments == ("vocals",)
