"""What "auto" chose, kept beside the estimates."""

from pathlib import Path

import pytest

from evaluator.tuning.kept_precisions import FILE, KeptPrecisions

pytestmark = pytest.mark.quick


def test_the_first_choice_stays_for_every_process(tmp_path: Path) -> None:
    one, two = KeptPrecisions(tmp_path), KeptPrecisions(tmp_path)
    assert one.get("a") is None
    one.keep({"a": "float32"})
    two.keep({"a": "bfloat16", "b": "bfloat16"})
    assert (one.get("a"), one.get("b")) == ("float32", "bfloat16")


@pytest.mark.parametrize("text", ["", "[1]", "{", "\xff"])
def test_a_damaged_file_is_as_none_and_is_replaced(text: str, tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(text, encoding="latin-1")
    kept = KeptPrecisions(tmp_path)
    assert kept.get("a") is None
    kept.keep({"a": "float32"})
    assert kept.get("a") == "float32"
