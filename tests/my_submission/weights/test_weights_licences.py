"""Files whose licence is not one for any use are fetched only once the user has accepted it, who is asked once."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from my_submission import user_config
from my_submission.__main__ import main
from my_submission.ensemble.preset import checkpoint_rows
from my_submission.ensemble.preset_reader import load_preset
from my_submission.weights import Checkpoint, LicenceNotAccepted, WeightsError, load_manifest, require
from my_submission.weights.fetch import fetch
from my_submission.weights.licences import accept, is_free, licence_text, not_accepted, record_path
from my_submission.weights.manifest import read_manifests
from tests.hub_server import HubServer, without_certificates

FREE, LIMITED = "MIT", "CC BY-NC 4.0"


@pytest.fixture
def server() -> Iterator[HubServer]:
    with without_certificates(), HubServer() as server:
        yield server


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the kit writes: what one test accepts is no other's."""
    monkeypatch.setenv("SDX_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


@pytest.fixture
def manifest(tmp_path: Path, server: HubServer) -> Path:
    """Three rows on the server: for any use, for some, and without a licence."""
    rows = {}
    for name, licence in {"free": FREE, "limited": LIMITED, "unstated": None}.items():
        served = tmp_path / name
        served.write_bytes(name.encode())
        rows[name] = {
            "architecture": "htdemucs", "sources": ["vocals"], "file": f"{name}.th", "licence": licence,
            "origins": [{"url": server.publish_plain(f"{name}.th", served)}],
        }  # fmt: skip
    path = tmp_path / "rows" / "rows.yaml"
    path.parent.mkdir()
    path.write_text(yaml.safe_dump({"checkpoints": rows}))
    return path


@pytest.fixture
def rows(manifest: Path) -> dict[str, Checkpoint]:
    return dict(read_manifests(manifest).checkpoints)


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path, code: int = 0) -> str:
    """`weights fetch …`; its output, on both streams."""
    assert main(["weights", "fetch", *map(str, arguments)]) == code
    out, err = capsys.readouterr()
    return out + err


def at_a_terminal(monkeypatch: pytest.MonkeyPatch, answer: str | type[BaseException]) -> list[str]:
    """Somebody sits at a terminal and gives this answer, or leaves; what was asked comes into the list."""
    asked: list[str] = []

    def answers(question: str) -> str:
        asked.append(question)
        if isinstance(answer, str):
            return answer
        raise answer

    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", answers)
    return asked


@pytest.mark.parametrize(
    "licence",
    [
        "MIT", "mit", "MIT by the author's statement", "Apache-2.0", "Apache License 2.0", "BSD 3-Clause", "ISC",
        "CC0 1.0", "CC BY 4.0", "CC-BY-SA-4.0", "Creative Commons Attribution 4.0", "GPL-3.0-only", "AGPLv3",
        "GNU General Public License v3", "MPL-2.0", "The Unlicense", "public domain", "MIT-0 (MIT No Attribution)",
    ],
)  # fmt: skip
def test_licences_for_any_use(licence: str) -> None:
    assert is_free(licence)


@pytest.mark.parametrize(
    "licence",
    [
        None, "", " ", "none stated", "unknown", "not confirmed", "CC BY-NC 4.0", "cc-by-nc-sa-4.0", "CC_BY_NC_ND",
        "Creative Commons Attribution-NonCommercial 4.0", "MIT, non-commercial", "MIT (no commercial use)",
        "research only", "academic use", "MIT (the code)", "MIT, but not for the weights", "permitted", "ask me",
        "MITRE", "proprietary",
    ],
)  # fmt: skip
def test_licences_that_are_not_stated_limited_or_not_known(licence: str | None) -> None:
    assert not is_free(licence)


@pytest.mark.parametrize("preset", ["mdx-demo", "cdx-demo"])
def test_a_default_preset_asks_for_nothing(preset: str) -> None:
    """What is fetched where nobody names a preset has a licence for any use."""
    assert not_accepted(checkpoint_rows(load_preset(preset))) == ()


def test_without_a_name_the_submitted_preset_is_fetched(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(user_config, "PRESET", "cdx-demo")
    fetched = run(capsys)
    assert "here and verified" in fetched
    assert "to submit cdx-demo" in fetched


def test_every_licence_in_the_manifest_is_known_or_asked_about() -> None:
    """A stated licence that is not recognised would ask for nothing that anybody decided."""
    for row in load_manifest().checkpoints.values():
        limited = row.licence is None or "NC" in row.licence
        assert is_free(row.licence) != limited, row.name


def test_nobody_to_ask_means_one_sentence_and_nothing_fetched(
    capsys: pytest.CaptureFixture[str], manifest: Path, server: HubServer
) -> None:
    said = run(capsys, manifest, code=1)
    assert server.requests == []
    (error,) = [line for line in said.splitlines() if line.startswith("error: ")]
    assert error == (
        "error: nothing was fetched, since the terms of limited (CC BY-NC 4.0), unstated (no licence stated) have to"
        f" be accepted first: run `python -m my_submission weights fetch {manifest}` on a terminal, which asks, or"
        " add --accept-licence to it"
    )


@pytest.mark.thorough
def test_every_licence_is_printed(capsys: pytest.CaptureFixture[str], manifest: Path) -> None:
    lines = run(capsys, manifest, "--accept-licence").splitlines()
    assert [line.split(maxsplit=3)[-1] for line in lines[:3]] == [FREE, LIMITED, "no licence stated"]
    assert [line.split()[0] for line in lines[:3]] == ["free", "limited", "unstated"]


@pytest.mark.thorough
def test_accepted_once_is_not_asked_again(
    capsys: pytest.CaptureFixture[str], manifest: Path, home: Path
) -> None:
    said = run(capsys, manifest, "--accept-licence")
    assert f"accepted the terms of limited, unstated; kept in {record_path()}" in said
    assert record_path().is_relative_to(home)
    (manifest.parent / "unstated.th").unlink()
    assert "accepted the terms" not in run(capsys, manifest)
    kept = json.loads(record_path().read_text()).values()
    assert {entry["checkpoint"]: entry["licence"] for entry in kept} == {"limited": LIMITED, "unstated": None}


@pytest.mark.parametrize("change", [{"licence": "CC BY-NC-ND 4.0"}, {"licence": None}, {"file": "other.th"}])
def test_a_row_that_changes_asks_again(rows: dict[str, Checkpoint], change: dict[str, str | None]) -> None:
    accept([rows["limited"]])
    assert not_accepted([rows["limited"]]) == ()
    manifest = rows["limited"].manifest
    document = yaml.safe_load(manifest.read_text())
    document["checkpoints"]["limited"].update(change)
    manifest.write_text(yaml.safe_dump(document))
    changed = read_manifests(manifest).checkpoints["limited"]
    assert not_accepted([changed]) == (changed,)
    accept([changed])
    assert not_accepted([changed, rows["limited"]]) == (), "what was accepted before stays so"


@pytest.mark.thorough
def test_a_terminal_is_asked_once_for_all(
    capsys: pytest.CaptureFixture[str], manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = at_a_terminal(monkeypatch, "y")
    said = run(capsys, manifest)
    assert len(asked) == 1
    assert "  limited: CC BY-NC 4.0\n  unstated: no licence stated\n" in said
    assert "3 files, 0.0 MB: here and verified" in said
    (manifest.parent / "limited.th").unlink()
    run(capsys, manifest)
    assert len(asked) == 1


@pytest.mark.parametrize("answer", ["", "n", "maybe", EOFError, KeyboardInterrupt])
def test_anything_but_yes_fetches_nothing(
    capsys: pytest.CaptureFixture[str],
    manifest: Path,
    server: HubServer,
    monkeypatch: pytest.MonkeyPatch,
    answer: str | type[BaseException],
) -> None:
    at_a_terminal(monkeypatch, answer)
    assert "error: the terms were not accepted; nothing was fetched" in run(capsys, manifest, code=1)
    assert server.requests == []
    assert not record_path().exists()


def test_what_is_for_any_use_or_here_asks_for_nothing(
    capsys: pytest.CaptureFixture[str], manifest: Path, rows: dict[str, Checkpoint]
) -> None:
    for name in ("limited", "unstated"):
        (manifest.parent / f"{name}.th").write_bytes(name.encode())
    assert "3 files" in run(capsys, manifest)
    assert not record_path().exists()


def test_a_wrong_file_that_is_fetched_anew_asks_first(
    capsys: pytest.CaptureFixture[str], manifest: Path, server: HubServer
) -> None:
    document = yaml.safe_load(manifest.read_text())
    document["checkpoints"]["limited"]["bytes"] = len("limited")
    manifest.write_text(yaml.safe_dump(document))
    (manifest.parent / "limited.th").write_bytes(b"cut")
    assert "the terms of limited (CC BY-NC 4.0), " in run(capsys, manifest, code=1)
    assert server.requests == []


def test_a_construction_that_may_download_asks_nobody_and_so_waits_for_acceptance(
    rows: dict[str, Checkpoint], server: HubServer
) -> None:
    with pytest.raises(
        LicenceNotAccepted, match=r"unstated \(no licence stated\).*weights fetch mine` on a t"
    ):
        require(rows.values(), preset="mine", download=True)
    with pytest.raises(LicenceNotAccepted, match=r"weights fetch 'of mine\.yaml'` on a t"):
        require(rows.values(), preset="of mine.yaml", download=True)
    with pytest.raises(LicenceNotAccepted, match=r"weights fetch limited unstated`"):
        fetch(rows.values())
    assert server.requests == []
    accept([rows["limited"], rows["unstated"]])
    assert require(rows.values(), preset="mine", download=True).keys() == rows.keys()


def test_a_record_that_cannot_be_read_or_written_is_said(rows: dict[str, Checkpoint], home: Path) -> None:
    record_path().parent.mkdir(parents=True)
    for content in ("{", "[]", '{"a": 1}', '{"a": {"checkpoint": "x"}}'):
        record_path().write_text(content)
        with pytest.raises(WeightsError, match=str(record_path())):
            not_accepted(rows.values())
    record_path().unlink()
    record_path().mkdir()
    with pytest.raises(WeightsError, match=r"is a folder|cannot"):
        accept([rows["limited"]])


def test_the_text_of_a_licence(rows: dict[str, Checkpoint]) -> None:
    assert [licence_text(row) for row in rows.values()] == [FREE, LIMITED, "no licence stated"]
