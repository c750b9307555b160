"""The ablation's table in its three forms."""

import csv
import io
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from evaluator import tables, text_table
from evaluator.tuning import ablate
from evaluator.tuning.ablate import Row
from evaluator.tuning.variants import FULL, Variant

STEMS = ("dialog", "music")
ROWS = [
    Row(Variant(FULL, FULL, {}), ({"dialog": 4.0, "music": 1.0}, {"dialog": 6.0, "music": 3.0}), 30.0, 20.0),
    Row(
        Variant("one member", "dialog: only a | b", {}),
        ({"dialog": 4.5, "music": 1.0}, {"dialog": 4.5, "music": 1.0}),
        5.0,
        20.0,
    ),
]


def test_text_has_means_differences_and_cost() -> None:
    header, _, whole, variant = text_table.ruled(ablate.as_table(ROWS, STEMS)).splitlines()
    assert header.split() == ["variant", "dialog", "music", "mean", "difference", "RTF"]
    assert whole.split()[-5:] == ["5.000", "2.000", "3.500", "-", "1.500"]
    assert variant.split()[-5:] == ["4.500", "1.000", "2.750", "-0.750", "0.250"]


def test_markdown_has_one_cell_a_column() -> None:
    lines = text_table.markdown(ablate.as_table(ROWS, STEMS)).splitlines()
    assert lines[1] == "| --- | ---: | ---: | ---: | ---: | ---: |"
    assert [line.replace("\\|", "").count("|") for line in lines] == [7] * 4


def test_csv_is_unrounded_and_can_be_read_back() -> None:
    rows = list(csv.DictReader(io.StringIO(tables.as_csv(ablate.unrounded(ROWS, STEMS)))))
    assert [row["variant"] for row in rows] == [FULL, "dialog: only a | b"]
    assert float(rows[1]["mean"]) == pytest.approx(2.75, abs=1e-15)
    assert (rows[0]["model_seconds"], rows[0]["audio_seconds"]) == ("30.0", "20.0")


def test_a_variant_finds_the_manifest_from_any_folder(tmp_path: Path) -> None:
    (tmp_path / "preset.yaml").write_text(
        yaml.safe_dump({"manifest": "more/manifest.yaml", "track": "music"})
    )
    document = ablate.read_document(tmp_path / "preset.yaml")
    assert document["manifest"] == str((tmp_path / "more" / "manifest.yaml").resolve())


def test_names_of_variants_do_not_act_in_any_form() -> None:
    name = "=1+1|<img src=x>[a](b)`c`\x1b[2J\nrow"
    rows = [replace(ROWS[0], variant=Variant(name, name, {})), *ROWS[1:]]
    (first, _) = csv.DictReader(io.StringIO(tables.as_csv(ablate.unrounded(rows, STEMS))))
    assert first["variant"] == first["kind"] == f"'{name}".replace("\x1b", "\\x1b")
    text = text_table.ruled(ablate.as_table(rows, STEMS))
    assert "=1+1|<img src=x>[a](b)`c`\\x1b[2J\\nrow" in text
    assert len(text.splitlines()) == 4
    markdown = text_table.markdown(ablate.as_table(rows, STEMS))
    assert "=1+1\\|\\<img src=x\\>\\[a\\](b)\\`c\\`\\\\x1b\\[2J\\\\nrow" in markdown
    assert len(markdown.splitlines()) == 4
    latex = text_table.latex(ablate.as_table(rows, STEMS))
    assert r"=1+1|<img src=x>[a](b)`c`\textbackslash{}x1b[2J\textbackslash{}nrow & 5.000" in latex
    assert len(latex.splitlines()) == 8


def test_latex_has_one_column_for_each_and_acts_on_no_sign() -> None:
    table = [["a_b", "50 %"], ["#1 & {x} $y$ ~^\\", "-0.750"]]
    lines = text_table.latex(table).splitlines()
    assert lines[0] == r"\begin{tabular}{lr}"
    assert lines[2] == r"a\_b & 50 \% \\"
    assert lines[4] == (
        r"\#1 \& \{x\} \$y\$ \textasciitilde{}\textasciicircum{}\textbackslash{} & $-0.750$ \\"
    )
    assert lines[-1] == r"\end{tabular}"
