"""What is done already is skipped, unless anything about it has changed."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from my_submission import separate_file
from my_submission.files import (
    FileOptions,
    OutputExists,
)
from tests.my_submission.files.recordings import noise, write
from tests.my_submission.files_model import KnownShares

Array = Any


def _changed(field: str, value: object) -> Callable[[Path], bytes]:
    return lambda journal: json.dumps({**json.loads(journal.read_text()), field: value}).encode()


# What a journal may hold that no run of ours wrote, or one of another version: found by fuzzing.
ODD_LINES: dict[str, Callable[[Path], bytes]] = {
    "not UTF-8": lambda journal: b"\x80" + journal.read_bytes(),
    "too deep": lambda journal: b"[" * 100_000,
    "a list of outputs": _changed("outputs", []),
    "outputs without a path": _changed("outputs", {"bass": {"bytes": 1}}),
    "outputs that are text": _changed("outputs", {"bass": "bass.wav"}),
    "a path that none can be": _changed("outputs", {"bass": {"path": "a\0", "sha256": ""}}),
    "another summary": _changed("summary", {"seconds": 1.0}),
    "no summary": _changed("summary", None),
}


class TestResume:
    RESUME = FileOptions(resume=True)

    @pytest.fixture
    def source(self, tmp_path: Path) -> Path:
        return write(tmp_path / "a.wav", noise(1_000))

    def test_what_is_done_is_skipped(self, tmp_path: Path, source: Path) -> None:
        model = KnownShares()
        first = separate_file(source, tmp_path / "out", model=model, options=self.RESUME)
        again = separate_file(source, tmp_path / "out", model=model, options=self.RESUME)
        assert (first.skipped, again.skipped, model.calls) == (False, True, 1)
        assert (again.files, again.samples, again.clipped) == (first.files, first.samples, first.clipped)

    def test_another_outcome_of_the_trial_of_precision_is_no_change(
        self, tmp_path: Path, source: Path
    ) -> None:
        model = KnownShares()
        separate_file(source, tmp_path, model=model, options=self.RESUME)
        model.precision = "bfloat16"
        assert separate_file(source, tmp_path, model=model, options=self.RESUME).skipped

    @pytest.mark.parametrize("change", ["output", "source", "preset", "bits", "cut", *ODD_LINES])
    def test_what_has_changed_is_not(self, tmp_path: Path, source: Path, change: str) -> None:
        out, model, options = tmp_path / "out", KnownShares(), self.RESUME
        result = separate_file(source, out, model=model, options=options)
        match change:
            case "output":
                data = bytearray(result.files["bass"].read_bytes())
                data[-1] ^= 1
                result.files["bass"].write_bytes(data)
            case "source":
                write(source, noise(1_000, seed=1))
            case "preset":
                model = KnownShares(preset="another")
            case "bits":
                options = FileOptions(resume=True, bits="24")
            case "cut":
                journal = out / ".separated.jsonl"
                journal.write_text(journal.read_text()[:-30])
            case _:
                (out / ".separated.jsonl").write_bytes(ODD_LINES[change](out / ".separated.jsonl"))
        with pytest.raises(OutputExists, match="--resume does not skip it; --overwrite replaces it"):
            separate_file(source, out, model=model, options=options)

    def test_a_missing_file_is_made_again(self, tmp_path: Path, source: Path) -> None:
        first = separate_file(source, tmp_path, model=KnownShares(), options=self.RESUME)
        for path in first.files.values():
            path.unlink()
        assert not separate_file(source, tmp_path, model=KnownShares(), options=self.RESUME).skipped

    def test_the_journal_is_one_line_a_recording(self, tmp_path: Path, source: Path) -> None:
        separate_file(source, tmp_path, model=KnownShares())
        (line,) = (tmp_path / ".separated.jsonl").read_text().splitlines()
        assert json.loads(line)["outputs"]["bass"]["path"] == "a/bass.wav"
