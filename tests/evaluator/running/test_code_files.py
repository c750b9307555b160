"""The hash of a submission's code: equal for equal code only, and of nothing outside of its folder."""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from evaluator.running import code_files, submission
from evaluator.running.submission import SubmissionError, identify

pytestmark = pytest.mark.quick


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A submission of two files."""
    package = tmp_path / "submission" / "my_submission"
    (package / "more").mkdir(parents=True)
    (package / "user_config.py").write_text("a")
    (package / "more" / "b.py").write_text("b")
    return package.parent


def hashed(folder: Path) -> str:
    return code_files.hash_of(folder, None)


def test_the_hash_is_over_names_and_contents(folder: Path) -> None:
    expected = hashlib.sha256()
    for name, content in (("more/b.py", b"b"), ("user_config.py", b"a")):
        expected.update(f"my_submission/{name}\n{hashlib.sha256(content).hexdigest()}\n".encode())
    assert hashed(folder) == expected.hexdigest()


def test_weights_caches_and_what_is_no_file_do_not_count(folder: Path) -> None:
    before = hashed(folder)
    package = folder / "my_submission"
    with (package / "weights.th").open("wb") as file:
        file.truncate(5_000_000)
    with (package / "without end").open("wb") as file:
        file.truncate(1 << 40)  # without taking any place
    (package / "__pycache__").mkdir()
    (package / "__pycache__" / "b.pyc").write_text("x")
    os.mkfifo(package / "pipe.py")
    assert hashed(folder) == before
    assert code_files.mentions(folder, "SDX_PRESET") is False
    with (package / "code").open("wb") as file:
        file.truncate(4_999_999)
    assert hashed(folder) != before


CHANGES: dict[str, Callable[[Path], object]] = {
    "content": lambda package: (package / "user_config.py").write_text("c"),
    "name": lambda package: (package / "user_config.py").rename(package / "other.py"),
    "new": lambda package: (package / "new.py").write_text(""),
    "link inside": lambda package: (package / "link.py").symlink_to("user_config.py"),
    "link outside": lambda package: (package / "link.py").symlink_to("/etc/hostname"),
    "link to nothing": lambda package: (package / "link.py").symlink_to("nothing"),
    "link to a folder": lambda package: (package / "link").symlink_to("more"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_every_change_of_the_code_shows(name: str, folder: Path) -> None:
    before = hashed(folder)
    CHANGES[name](folder / "my_submission")
    assert hashed(folder) != before


def test_nothing_outside_is_read(folder: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret.py"
    secret.write_text("SDX_PRESET = 1")
    package = folder / "my_submission"
    (package / "link.py").symlink_to(secret)
    (package / "folder").symlink_to(tmp_path)
    before = hashed(folder)
    assert code_files.mentions(folder, "SDX_PRESET") is False
    secret.write_text("SDX_PRESET = 2")
    assert hashed(folder) == before
    (package / "inner.py").write_text("SDX_PRESET")
    assert code_files.mentions(folder, "SDX_PRESET") is True
    package.rename(tmp_path / "moved")
    package.symlink_to(tmp_path / "moved")
    assert code_files.mentions(folder, "SDX_PRESET") is False
    outside = hashed(folder)
    (tmp_path / "moved" / "user_config.py").write_text("changed")
    assert hashed(folder) == outside


def test_a_link_inside_counts_as_what_it_leads_to(folder: Path) -> None:
    (folder / "shared.py").write_text("a")
    (folder / "my_submission" / "link.py").symlink_to("../shared.py")
    linked = hashed(folder)
    (folder / "my_submission" / "link.py").unlink()
    (folder / "my_submission" / "link.py").write_text("a")
    assert hashed(folder) == linked


def test_one_name_does_not_pass_for_several_files(folder: Path) -> None:
    before = hashed(folder)
    package = folder / "my_submission"
    (package / "more" / "b.py").unlink()
    digest = hashlib.sha256(b"b").hexdigest()
    # What is hashed of both files would be the same text, if names could have line ends.
    odd = package / "more" / f"b.py\n{digest}\nmy_submission"
    odd.mkdir()
    (package / "user_config.py").rename(odd / "user_config.py")
    assert hashed(folder) != before


def test_code_without_end_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(code_files, "MOST_ENTRIES", 2)
    with pytest.raises(
        SubmissionError, match="my_submission: more than 2 files; keep what is not code elsewhere"
    ):
        identify(folder, None)
    with pytest.raises(SubmissionError, match="more than 2 files"):
        submission.reads(folder, "SDX_PRESET")
    monkeypatch.setattr(code_files, "MOST_ENTRIES", 3)
    monkeypatch.setattr(code_files, "MOST_BYTES", 1)
    with pytest.raises(SubmissionError, match="my_submission: more than 1 bytes of files under 5 MB"):
        identify(folder, None)


def test_folders_in_folders_without_end_of_our_stack(folder: Path) -> None:
    inside = os.open(folder / "my_submission", os.O_RDONLY)
    for _ in range(150):
        os.mkdir("d", dir_fd=inside)
        deeper = os.open("d", os.O_RDONLY, dir_fd=inside)
        os.close(inside)
        inside = deeper
    os.close(inside)
    with pytest.raises(SubmissionError, match="deeper than"):
        identify(folder, None)


def test_names_that_no_result_can_have_are_refused(folder: Path) -> None:
    odd = folder.with_name("odd\x1b[31m")
    folder.rename(odd)
    with pytest.raises(
        SubmissionError, match=r"odd\\x1b\[31m: has the character \\x1b, which no name may have"
    ):
        identify(odd, None)
    odd.rename(folder)
    with pytest.raises(SubmissionError, match=r"mdx\\u202e: has the character \\u202e"):
        identify(folder, "mdx\u202e")
