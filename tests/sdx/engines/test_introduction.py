"""Which version of the kit a worker has, and whose fault it is where that is another one."""

from pathlib import Path

import pytest

from sdx.engines import engine, kit_version
from sdx.engines.engine import Introduction, introduce, unfit_for_us

pytestmark = pytest.mark.quick


def test_every_module_counts_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "evaluator").mkdir()
    monkeypatch.setattr(kit_version, "ROOT", tmp_path)
    monkeypatch.setattr(kit_version, "OURS", tmp_path / "sdx")
    seen = [kit_version.sha256_now()]
    for name, text in (("a.py", "1"), ("a.py", "2"), ("b.py", "2"), ("notes.txt", "2")):
        (tmp_path / "evaluator" / name).write_text(text)
        seen.append(kit_version.sha256_now())
    assert len(set(seen)) == 4
    assert seen[-1] == seen[-2]


def test_a_kit_that_changed_here_is_no_other_version_of_the_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """It was started, or started again, after somebody had edited the checkout that all share."""
    ours = introduce()
    assert unfit_for_us(ours) is None
    other = Introduction("there", "0" * 64)
    assert "has another version of the kit: found 000000000000" in (unfit_for_us(other) or "")
    monkeypatch.setattr(engine, "sha256_now", lambda: "0" * 64)
    assert "which has changed since this run began" in (unfit_for_us(other) or "")
    assert unfit_for_us(ours) is None
