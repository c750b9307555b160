"""`python -m my_submission weights …` as a user types it, with the user's own preset and a loopback server."""

import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from evaluator.locations import REPOSITORY
from my_submission import SeparationModel
from my_submission.__main__ import main
from my_submission.ensemble import preset_reader
from my_submission.weights import MissingWeights, WeightsError, WrongContent, load_manifest
from tests.hub_server import HubServer, without_certificates
from tests.my_submission.commands.own_preset import STEMS, run, write_preset


@pytest.fixture
def server() -> Iterator[HubServer]:
    with without_certificates(), HubServer() as server:
        yield server


@pytest.fixture
def preset(tmp_path: Path, server: HubServer) -> Path:
    return write_preset(tmp_path, server)


def test_list_fetch_list_verify(capsys: pytest.CaptureFixture[str], preset: Path, server: HubServer) -> None:
    net = preset.parent / "my_net.th"
    listed = run(capsys, "list", preset)
    assert "missing: 1 file, 0.0 MB" in listed
    assert f"missing{' ' * 32}from {server.endpoint}/plain/my_net.th" in listed
    assert f"fetch with: python -m my_submission weights fetch {preset}" in listed

    fetched = run(capsys, "fetch", preset)
    assert f"my_net: {net}" in fetched
    assert "1 file, 0.0 MB: here and verified" in fetched
    assert f"to submit {preset}: python -m my_submission weights pack . --preset {preset}" in fetched
    assert f"verified (published sha256)            {net}" in run(capsys, "list", preset)
    assert "1 right, 0 wrong, 0 missing" in run(capsys, "verify", preset)


def test_the_advice_is_a_command_that_knows_the_preset(
    capsys: pytest.CaptureFixture[str], preset: Path, tmp_path: Path
) -> None:
    """A preset of one's own is no name that a command finds, and its folder may have spaces in its name."""
    folder = preset.parent.rename(tmp_path / "my own")
    with pytest.raises(
        MissingWeights, match="preset .*my own/mine.yaml: 1 weights file is missing"
    ) as caught:
        SeparationModel(preset=folder / "mine.yaml", device="cpu", download=False)
    *_, advice = str(caught.value).splitlines()
    program, *words = shlex.split(advice.removeprefix("fetch with: "))
    assert (program, words[:2]) == ("python", ["-m", "my_submission"])
    assert main(words[2:]) == 0
    assert "1 file, 0.0 MB: here and verified" in capsys.readouterr().out


def test_a_preset_of_no_challenges_stems_is_not_to_be_submitted(
    capsys: pytest.CaptureFixture[str], preset: Path
) -> None:
    preset.write_text(preset.read_text().replace("track: music", "stems: [vocals, drums]"))
    fetched = run(capsys, "fetch", preset)
    assert f"to use {preset}: python -m my_submission separate --preset {preset} FILE" in fetched
    assert "submit " not in fetched


def test_forms_of_a_row_are_one_file(
    capsys: pytest.CaptureFixture[str], preset: Path, tmp_path: Path
) -> None:
    rows = preset.parent / "rows.yaml"
    document = yaml.safe_load(rows.read_text())
    document["checkpoints"]["my_net"]["forms"] = {"short": {"segment_seconds": 4}}
    rows.write_text(yaml.safe_dump(document))
    written = preset.read_text()
    preset.write_text(written.replace("- model: my_net", "- model: my_net\n  - model: my_net@short"))
    assert "my_net@short" in preset.read_text()
    fetched = run(capsys, "fetch", preset)
    assert "my_net: " in fetched
    assert "1 file, 0.0 MB: here and verified" in fetched
    assert "1 right, 0 wrong, 0 missing" in run(capsys, "verify", preset)
    submission = tmp_path / "submission"
    (submission / "my_submission").mkdir(parents=True)
    assert "1 file for" in run(capsys, "pack", submission, "--preset", preset)
    packed = load_manifest(submission / "my_submission" / "presets" / "rows.yaml").checkpoints
    assert packed["my_net@short"].bytes == packed["my_net"].bytes == 7


def test_what_a_row_of_parts_needs_is_the_files_of_its_parts(capsys: pytest.CaptureFixture[str]) -> None:
    listed = run(capsys, "list", "umxhq")
    assert "umxhq: 4 files, 142.6 MB" in listed
    for stem in STEMS:
        assert f"umxhq_{stem} " in listed
    assert "umxhq_bass" in run(capsys, "list", "umxhq_bass")


def test_a_file_of_unknown_size_that_nobody_serves_has_no_size_and_no_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    row = {"architecture": "htdemucs", "sources": list(STEMS), "file": "my_net.th"}
    (tmp_path / "rows.yaml").write_text(yaml.safe_dump({"checkpoints": {"my_net": row}}))
    listed = run(capsys, "list", tmp_path / "rows.yaml")
    assert "1 file, unknown size; missing: 1 file, unknown size" in listed
    assert f"put your own file here: {tmp_path / 'my_net.th'}" in listed
    assert "fetch with" not in listed


def test_verify_moves_a_wrong_file_aside_and_fails(capsys: pytest.CaptureFixture[str], preset: Path) -> None:
    net = preset.parent / "my_net.th"
    net.write_bytes(b"WEIGHTS")
    assert "WRONG, see verify" in run(capsys, "list", preset)
    assert net.exists(), "listing moves nothing"
    verified = run(capsys, "verify", preset, code=1)
    assert f"it was moved to {net}.rejected1" in verified
    assert "0 right, 1 wrong, 0 missing" in verified
    assert not net.exists()
    assert "missing, so not verified: my_net" in run(capsys, "verify", preset)


def test_verify_leaves_a_file_that_a_row_names_by_path(
    capsys: pytest.CaptureFixture[str], preset: Path
) -> None:
    rows = preset.parent / "rows.yaml"
    document = yaml.safe_load(rows.read_text())
    net = document["checkpoints"]["my_net"]
    del net["file"], net["origins"]
    rows.write_text(yaml.safe_dump({"checkpoints": {"my_net": {**net, "path": "my_net.th"}}}))
    (preset.parent / "my_net.th").write_bytes(b"WEIGHTS")
    verified = run(capsys, "verify", preset, code=1)
    assert "0 right, 1 wrong" in verified
    assert "moved" not in verified
    assert (preset.parent / "my_net.th").exists()


def test_what_cannot_be_fetched_is_an_error_with_a_reason(
    capsys: pytest.CaptureFixture[str], preset: Path, server: HubServer
) -> None:
    rows = preset.parent / "rows.yaml"
    rows.write_text(rows.read_text().replace("plain/my_net.th", "plain/none/my_net.th"))
    failed = run(capsys, "fetch", preset, code=1)
    assert "error: 1 of 1 could not be fetched" in failed
    assert f"{server.endpoint}/plain/none/my_net.th: HTTP 404" in failed
    assert "Traceback" not in failed


@pytest.mark.parametrize("action", ["list", "fetch", "verify"])
@pytest.mark.parametrize(
    ("name", "like"), [("mdx-z", "mdx-c"), ("htdemucs_fx", "htdemucs_ft"), ("Kim_Vocal_3", "Kim_Vocal_2")]
)
def test_a_name_that_is_nothing_is_told_what_is_like_it(
    capsys: pytest.CaptureFixture[str], action: str, name: str, like: str
) -> None:
    failed = run(capsys, action, name, code=1)
    assert (
        f"error: found {name!r} (did you mean {like!r}?); expected a preset, a bag or a checkpoint" in failed
    )
    assert "models` lists" in failed
    assert len(failed) < 300


def test_a_bag_stands_for_its_members(capsys: pytest.CaptureFixture[str]) -> None:
    listed = run(capsys, "list", "htdemucs_ft")
    assert [line.split()[0] for line in listed.splitlines()[1:5]] == [
        f"htdemucs_ft_{stem}" for stem in ("drums", "bass", "other", "vocals")
    ]


def test_a_wrong_preset_is_an_error_not_a_traceback(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path = tmp_path / "odd.yaml"
    path.write_text("track: radio\nsteps: []\n")
    assert "error: " in run(capsys, "list", path, code=1)
    assert "odd.yaml: no such preset" in run(capsys, "list", tmp_path / "no" / "odd.yaml", code=1)


def test_a_manifest_stands_for_its_rows(capsys: pytest.CaptureFixture[str], preset: Path) -> None:
    rows = preset.parent / "rows.yaml"
    assert "missing: 1 file" in run(capsys, "list", rows)
    assert "missing, so not verified: my_net" in run(capsys, "verify", rows)


def test_a_manifest_beside_the_presets_is_no_preset(
    capsys: pytest.CaptureFixture[str], preset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preset_reader, "PRESETS_FOLDER", preset.parent)
    assert preset_reader.preset_names() == ["mine"]
    assert "mine: 1 file" in run(capsys, "list")


def test_errors_of_the_package_have_one_base() -> None:
    assert issubclass(WrongContent, WeightsError)
    assert issubclass(WeightsError, RuntimeError)


@pytest.mark.slow
def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    """As in `… models | head -1`."""
    command = [sys.executable, "-u", "-m", "my_submission", "models"]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 0
