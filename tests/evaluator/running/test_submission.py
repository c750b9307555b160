"""What a submission says of itself, asked of it where it runs, and nowhere else."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from evaluator.challenge import CINEMATIC, MUSIC, StemSet, of_stems
from evaluator.isolation.said import Described
from evaluator.isolation.sandbox import Outcome
from evaluator.running.submission import (
    Configured,
    SubmissionError,
    challenge_of_manifest,
    check_folder,
    configured,
    identify,
    reads,
)

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="pipes and devices as Linux has them")


class Answering:
    """Describes a submission as it is told to."""

    def __init__(self, answer: Described | Outcome) -> None:
        self._answer = answer

    def describe(self) -> Described | Outcome:
        return self._answer


def described(track: str | None, stems: list[str] | None) -> Configured:
    return configured(Answering(Described(event="described", track=track, stems=stems)))


@pytest.mark.parametrize(
    ("track", "stems", "expected"),
    [
        ("music", None, MUSIC),
        ("cinematic", ["a", "b"], CINEMATIC),  # the challenge counts
        (None, ["vocals", "instrumental"], of_stems(["instrumental", "vocals"])),
        ("film", ["vocals", "bass", "other", "drums"], MUSIC),
        (None, None, None),
        ("film", None, None),
    ],
)
def test_a_challenge_counts_or_else_stems(
    track: str | None, stems: list[str] | None, expected: StemSet | None
) -> None:
    assert described(track, stems) == Configured(expected)


@pytest.mark.parametrize("stems", [[], ["../../etc"], ["mixture"], ["a b"], [""], ["=cmd()"], ["\x1b[2J"]])
def test_names_that_cannot_be_stems_say_nothing(stems: list[str]) -> None:
    assert described(None, stems) == Configured()


def test_one_that_cannot_be_asked_is_a_problem_in_its_words() -> None:
    failed = Outcome("crashed", "ValueError: no such preset", 1.0, 0, "")
    assert configured(Answering(failed)) == Configured(problem="ValueError: no such preset")


def test_a_folder_without_the_layout_is_none(tmp_path: Path) -> None:
    with pytest.raises(
        SubmissionError, match=r"user_config\.py: not found; --submission takes the folder above"
    ):
        check_folder(tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        "3",
        '{"challenge_id": 3}',
        '{"challenge_id": [1]}',
        '{"challenge_id": "other"}',
        "[" * 200_000,
    ],
)
def test_a_manifest_that_names_no_challenge_names_none(tmp_path: Path, content: str) -> None:
    assert challenge_of_manifest(tmp_path) is None
    (tmp_path / "aicrowd.json").write_text(content)
    assert challenge_of_manifest(tmp_path) is None
    (tmp_path / "aicrowd.json").write_text(f'{{"challenge_id": "{CINEMATIC.challenge_id}"}}')
    assert challenge_of_manifest(tmp_path) == CINEMATIC


ENDLESS = {
    "a pipe": os.mkfifo,
    "a link to a device": lambda path: path.symlink_to("/dev/zero"),
    "a link to a file without end": lambda path: path.symlink_to("/proc/kmsg"),
    "a link to nothing": lambda path: path.symlink_to("/nowhere"),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "a folder": Path.mkdir,
}


@linux
@pytest.mark.parametrize("make", ENDLESS.values(), ids=ENDLESS)
def test_files_without_end_are_none(tmp_path: Path, make: Callable[[Path], object]) -> None:
    """Nobody waits for them, and no memory is filled with them."""
    package = tmp_path / "my_submission"
    package.mkdir()
    before = identify(tmp_path, None)
    for name in ("aicrowd.json", "my_submission/x.py"):
        make(tmp_path / name)
    assert not reads(tmp_path, "SDX_PRESET")
    assert challenge_of_manifest(tmp_path) is None
    is_link = (package / "x.py").is_symlink()  # which counts as the path that it holds
    assert (identify(tmp_path, None).files_sha256 == before.files_sha256) is not is_link


def test_a_link_within_the_submission_is_code(tmp_path: Path) -> None:
    (tmp_path / "my_submission").mkdir()
    (tmp_path / "shared.py").write_text("SDX_PRESET")
    (tmp_path / "my_submission" / "a.py").symlink_to("../shared.py")
    assert reads(tmp_path, "SDX_PRESET")


def test_what_it_reads_is_looked_for_and_not_run(tmp_path: Path) -> None:
    (tmp_path / "my_submission").mkdir()
    (tmp_path / "my_submission" / "a.py").write_bytes(b"raise SystemExit\n'\xff SDX_PRESET'")
    assert reads(tmp_path, "SDX_PRESET")
    assert not reads(tmp_path, "SDX_TIME_LIMIT_FACTOR")
