"""Presets of any stems: they make what they name, and only a challenge's stems can be submitted as that challenge."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

from evaluator.submitting import configured
from evaluator.submitting.configured import ConfigurationError
from my_submission import MusicSeparationModel, SeparationModel, separate_file
from my_submission.__main__ import main
from my_submission.ensemble.preset import CHALLENGES, PresetError
from my_submission.ensemble.preset_reader import load_preset
from my_submission.files.model import ModelChoice, open_model
from my_submission.files.stems import parse_stems
from tests.my_submission.files_model import write_tiny_preset

TWO = """\
stems: [instrumental, vocals]
manifest: manifest.yaml
steps:
  - name: voice
    input: mixture
    stems: [vocals]
    residual: instrumental
    members: [{model: tiny}]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """two.yaml and the manifest of its one small network."""
    folder = tmp_path_factory.mktemp("preset")
    write_tiny_preset(folder)
    (folder / "two.yaml").write_text(TWO)
    return folder


@pytest.fixture(scope="module")
def model(folder: Path) -> SeparationModel:
    return SeparationModel(preset=folder / "two.yaml", device="cpu", precision="fp32")


def variant(folder: Path, *changes: tuple[str, str]) -> Path:
    text = TWO
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    path = folder / "variant.yaml"
    path.write_text(text)
    return path


def test_a_preset_makes_the_stems_that_it_names_in_its_order(folder: Path) -> None:
    preset = load_preset(folder / "two.yaml")
    assert preset.instruments == ("instrumental", "vocals")
    assert preset.challenge is None
    assert preset.mixture_consistent
    assert preset.for_stems(["vocals"]).instruments == ("vocals",)


@pytest.mark.parametrize(
    ("stems", "message"),
    [
        (
            ["vocals", "vocal"],
            r"stems: found 'vocal'; allowed: instrumental, vocals \(did you mean 'vocals'\?\)",
        ),
        (["mixture"], "stems: found 'mixture'; allowed"),
        ([], r"stems: expected a list of names, found \[\]"),
        ("vocals", "stems: expected a list of names, found 'vocals'"),
    ],
)
def test_only_stems_that_it_makes_are_asked_of_it(folder: Path, stems: list[str], message: str) -> None:
    """None is left out without a word."""
    with pytest.raises(PresetError, match=message):
        SeparationModel(preset=folder / "two.yaml", device="cpu", stems=stems)


@pytest.mark.parametrize("key", ["challenge", "track"])
def test_a_challenge_is_short_for_its_stems(folder: Path, key: str) -> None:
    text = (folder / "tiny.yaml").read_text()
    stems = list(CHALLENGES["music"])
    for head in (f"{key}: music", f"stems: {stems}", f"stems: {stems[::-1]}"):
        path = folder / "challenge.yaml"
        path.write_text(text.replace("track: music", head))
        assert load_preset(path).challenge == "music"
        assert sorted(load_preset(path).instruments) == stems
    assert load_preset(folder / "challenge.yaml").for_stems(["bass"]).challenge is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ([("stems: [instrumental, vocals]\n", "")], "expected one of stems .* and challenge .*, found none"),
        ([("manifest:", "track: music\nmanifest:")], "found track and stems"),
        (
            [("instrumental, vocals", "vocals, drums")],
            "steps: no step makes 'drums'; this preset makes vocals",
        ),
        ([("[instrumental, vocals]", "[]")], "stems: expected a list of names, found \\[\\]"),
        (
            [("instrumental, vocals", "lead vocals")],
            "stems: expected a list of names, found \\['lead vocals'\\]",
        ),
        ([("instrumental, vocals", "vocals, vocals")], "stems: 'vocals' is named twice"),
        (
            [("members: [{model: tiny}]", "members: [{model: tiny, segment_samples: 0}]")],
            r"members\[0\].segment_samples: expected a whole number of samples, 1000 or more, found 0",
        ),
    ],
)
def test_wrong_stems(folder: Path, changes: list[tuple[str, str]], message: str) -> None:
    with pytest.raises(PresetError, match=message) as error:
        load_preset(variant(folder, *changes))
    assert "\n" not in str(error.value)


def test_segments_are_given_for_a_step_or_a_member(folder: Path) -> None:
    assert load_preset(folder / "two.yaml").steps[0].members[0].segment_samples is None
    step = variant(folder, ("    residual:", "    segment_samples: 1000\n    residual:"))
    assert load_preset(step).steps[0].members[0].segment_samples == 1000
    both = (
        ("    residual:", "    segment_samples: 1000\n    residual:"),
        ("tiny}", "tiny, segment_samples: 2000}"),
    )
    assert load_preset(variant(folder, *both)).steps[0].members[0].segment_samples == 2000


@pytest.mark.thorough
@pytest.mark.parametrize("rate", [44_100, 48_000])
def test_any_stems_add_up(model: SeparationModel, rate: int) -> None:
    mixture = 0.1 * np.random.default_rng(0).standard_normal((30_000, 2))
    arrays, rates = model.separate_music_file(mixture, rate)
    assert list(arrays) == model.instruments == ["instrumental", "vocals"]
    assert rates == {"instrumental": rate, "vocals": rate}
    np.testing.assert_allclose(sum(arrays.values()), mixture, atol=1e-5)
    assert np.abs(arrays["vocals"]).max() > 0


def test_the_challenges_classes_want_their_stems(folder: Path) -> None:
    with pytest.raises(
        PresetError, match="music challenge, which makes bass, .*; this one makes instrumental, vocals"
    ):
        MusicSeparationModel(preset=folder / "two.yaml")
    with pytest.raises(
        PresetError, match="preset: expected the name of a preset, or a YAML file, found none"
    ):
        SeparationModel()


def test_separate_writes_them(folder: Path, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "song.wav", 0.1 * np.random.default_rng(1).standard_normal((9_000, 2)), 44_100)
    opened = open_model(ModelChoice(str(folder / "two.yaml"), device="cpu", precision="fp32"))
    written = separate_file(tmp_path / "song.wav", tmp_path / "out", model=opened)
    assert list(written.files) == ["instrumental", "vocals"]
    assert all(path.is_file() for path in written.files.values())


def test_a_stem_that_a_preset_makes_is_not_derived() -> None:
    assert parse_stems(["instrumental"], ["vocals", "instrumental"]) == {"instrumental": {"instrumental": 1}}
    assert parse_stems(["instrumental"], ["vocals"]) == {"instrumental": {"mixture": 1, "vocals": -1}}


def test_other_stems_cannot_be_submitted(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["weights", "list", "--json", str(folder / "two.yaml")]) == 0
    answer = capsys.readouterr().out
    assert json.loads(answer)[0]["track"] is None
    with pytest.raises(ConfigurationError, match=r"two.yaml does not make the stems of a challenge"):
        configured.parse(answer)


def test_sources_may_have_any_name(tmp_path: Path) -> None:
    row = {"architecture": "htdemucs", "sources": ["lead", "backing", "crowd"], "path": "x.th"}
    (tmp_path / "rows.yaml").write_text(yaml.safe_dump({"checkpoints": {"net": row}}))
    step = {
        "name": "all",
        "input": "mixture",
        "stems": ["voices"],
        "members": [{"model": "net", "sources": {"voices": "lead + backing"}}],
    }
    document = {"stems": ["voices"], "manifest": "rows.yaml", "steps": [step]}
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(document))
    (member,) = load_preset(tmp_path / "mine.yaml").steps[0].members
    assert member.sources == {"voices": {"lead": 1, "backing": 1}}
