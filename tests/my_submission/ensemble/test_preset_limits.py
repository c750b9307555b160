"""A preset may come from anybody: what it may ask for is limited, and too much is one sentence, at once."""

import copy
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from my_submission import schema
from my_submission.ensemble import preset as limits
from my_submission.ensemble.plan import step_passes
from my_submission.ensemble.preset import PresetError
from my_submission.ensemble.preset_reader import is_manifest, load_preset, preset_names
from my_submission.weights import ManifestError
from my_submission.weights.manifest import MOST_ORIGINS, MOST_ROWS, MOST_SOURCES, read_manifests

MEMBER = {"model": "Kim_Vocal_1"}
STEP = {"name": "one", "input": "mixture", "stems": ["vocals"], "residual": "rest", "members": [MEMBER]}
PRESET = {"stems": ["vocals", "rest"], "steps": [STEP]}


def preset(**changes: Any) -> dict[str, Any]:
    return {**copy.deepcopy(PRESET), **changes}


def of_step(**changes: Any) -> dict[str, Any]:
    return preset(steps=[{**STEP, **changes}])


def of_member(**changes: Any) -> dict[str, Any]:
    return of_step(members=[{**MEMBER, **changes}])


def steps(number: int) -> dict[str, Any]:
    """A cascade of that many steps, each on the residual of the one before."""
    chain = [
        {**STEP, "name": f"s{i}", "input": f"r{i}" if i else "mixture", "stems": [f"v{i}"], "residual": f"r{i + 1}",
         "members": [{**MEMBER, "sources": {f"v{i}": "vocals"}}]}
        for i in range(number)
    ]  # fmt: skip
    return preset(stems=[f"v{i}" for i in range(number)], steps=chain)


def economies(number: int) -> dict[str, Any]:
    savings = [{"step": "one", "overlap": (number - i) / (number + 1) / 2} for i in range(number)]
    return preset(steps=[{**STEP, "overlap": 0.9}], economies=savings)


def write(folder: Path, document: Any, name: str = "mine.yaml") -> Path:
    path = folder / name
    path.write_text(document if isinstance(document, str) else yaml.safe_dump(document))
    return path


def refused(path: Path, complaint: str) -> None:
    with pytest.raises(PresetError, match=complaint) as caught:
        load_preset(path)
    message = str(caught.value)
    assert str(path) in message
    assert "\n" not in message
    assert len(message) < 1_000


def of_share(share: object) -> dict[str, Any]:
    return preset(stems=["vocals"], steps=[{**STEP, "residual": None, "residual_shares": {"vocals": share}}])


ODD_SHARES = (
    "1e999999999", "1/1e999999999", "9" * 5_000, "1/" + "9" * 5_000, "1" * 200_000, "nan", "inf", "1//3", "", "1/0",
    -0.1, 1.5, float("nan"),
)  # fmt: skip

AT_THE_LIMIT = [
    of_member(overlap=limits.LARGEST_OVERLAP),
    of_member(shifts=limits.MOST_SHIFTS),
    of_member(weight=limits.LARGEST_WEIGHT),
    of_member(weight=limits.LEAST_WEIGHT),
    of_member(segment_samples=limits.LARGEST_SEGMENT_SAMPLES),
    of_member(segment_samples=limits.LEAST_SEGMENT_SAMPLES, overlap=0.5),
    of_step(members=[MEMBER] * limits.MOST_MEMBERS),
    steps(limits.MOST_STEPS),
    economies(limits.MOST_ECONOMIES),
    preset(description="x" * schema.LONGEST_TEXT),
    of_step(members=[{**MEMBER, "shifts": 100, "polarity": "both"}] * 50),
]


@pytest.mark.parametrize("document", AT_THE_LIMIT)
def test_what_is_at_a_limit_is_taken(tmp_path: Path, document: Any) -> None:
    assert load_preset(write(tmp_path, document)).instruments


@pytest.mark.parametrize(
    ("document", "complaint"),
    [
        (steps(limits.MOST_STEPS + 1), "steps: expected at most 32 entries, found"),
        (of_step(members=[MEMBER] * 65), r"steps\[0\]\.members: expected at most 64 entries"),
        (of_step(stems=[f"s{i}" for i in range(65)]), r"steps\[0\]\.stems: expected at most 64 entries"),
        (preset(stems=[f"s{i}" for i in range(65)]), "stems: expected at most 64 entries"),
        (economies(limits.MOST_ECONOMIES + 1), "economies: expected at most 100 entries"),
        (of_member(overlap=0.999999), "overlap: expected a fraction from 0 to 0.99, found 0.999999"),
        (of_member(overlap=-0.1), "overlap: expected a fraction"),
        (of_member(overlap=float("nan")), "overlap: expected a fraction from 0 to 0.99, found nan"),
        (of_member(overlap=float("-inf")), "overlap: expected a fraction"),
        (of_member(shifts=10**9), "shifts: expected a whole number from 0 to 100, found 1000000000"),
        (of_member(shifts=-1), "shifts: expected a whole number"),
        (of_member(weight=1e300), r"weight: expected at most 1,000,000, found 1e\+300"),
        (of_member(weight=5e-324), r"weight: expected 0, or 1e-06 or more, found 5e-324"),
        (of_member(weight=float("inf")), "weight: expected a number, 0 or more, found inf"),
        (of_member(weights={"vocals": 1e300}), r"weights\.vocals: expected at most 1,000,000"),
        (of_member(segment_samples=10**18), "segment_samples: expected at most 158,760,000, found"),
        (of_member(segment_samples=1_000, overlap=0.99), "leaves 10 samples between segments of 1,000, expected 441"),
        (of_step(segment_samples=1_000, overlap=0.99), "leaves 10 samples between segments"),
        (of_step(loudness_lufs=float("nan")), "loudness_lufs: expected a loudness"),
        (of_step(name="x" * 10_000), r"steps\[0\]\.name: expected text, found 'xxx.*\.\.\..*xxx'"),
        (of_step(stems=["x" * 10_000]), r"stems.*: expected a list of names, found \['xxx"),
        (of_step(input="x" * 10_000), r"steps\[0\]\.input: found 'xxx"),
        (of_member(model="x" * 10_000), "model: found 'xxx.*allowed"),
        (of_member(sources={"vocals": "vocals" + " + vocals" * 20_000}), "expected a sum such as"),
        (preset(description="x" * 20_000), "description: expected at most 1000 characters, found 'xxx"),
        (
            of_step(members=[{**MEMBER, "shifts": 100, "polarity": "both"}] * 51),
            "runs models 10,200 times over a track, expected at most 10,000; give it fewer shifts",
        ),
        *((of_share(share), r"residual_shares\.vocals: expected a share") for share in ODD_SHARES),
    ],
)  # fmt: skip
def test_what_is_beyond_a_limit_is_one_sentence(tmp_path: Path, document: Any, complaint: str) -> None:
    refused(write(tmp_path, document), complaint)


@pytest.mark.parametrize("text", ["0.5", "1/3", " 1 / 3 ", "1e-3", "2.5e-1", ".5"])
def test_ordinary_shares_are_still_read(tmp_path: Path, text: str) -> None:
    step = load_preset(write(tmp_path, of_share(text))).steps[0]
    assert 0 < step.residual_shares["vocals"] <= 0.5


def test_overrides_are_held_to_the_same_limits(tmp_path: Path) -> None:
    many = load_preset(write(tmp_path, of_step(members=[{**MEMBER, "polarity": "both"}] * 64)))
    with pytest.raises(PresetError, match="runs models 12,800 times"):
        many.override(None, 100)
    cut = load_preset(write(tmp_path, of_member(segment_samples=1_000)))
    with pytest.raises(PresetError, match="leaves 10 samples between segments"):
        cut.override(0.99, None)
    for overlap, shifts in ((0.999999, None), (float("nan"), None), (None, 10**9), (None, -1)):
        with pytest.raises(PresetError, match="expected a (fraction|whole number) from 0"):
            cut.override(overlap, shifts)


def test_the_passes_that_are_counted_are_those_that_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    document = of_step(members=[{"model": "htdemucs_ft", "shifts": 3, "polarity": "both"}, MEMBER])
    loaded = load_preset(write(tmp_path, document))
    runs = sum(len(step_passes(step, loaded, seed=0)) for step in loaded.steps)
    monkeypatch.setattr(limits, "MOST_PASSES", runs)
    assert limits.check_work(loaded) is loaded
    monkeypatch.setattr(limits, "MOST_PASSES", runs - 1)
    with pytest.raises(PresetError, match=f"runs models {runs} times"):
        limits.check_work(loaded)


# --- documents as such ------------------------------------------------------------------------------

LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{key}: &{key} [{', '.join([f'*{before}'] * 9)}]\n" for before, key in zip("abcdefgh", "bcdefghi", strict=True)
)  # fmt: skip
MERGED_LAUGHS = "a: &a {x: 1}\n" + "".join(
    f"{key}: &{key} {{<<: [{', '.join([f'*{before}'] * 9)}]}}\n"
    for before, key in zip("abcdefgh", "bcdefghi", strict=True)
)  # fmt: skip


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (LAUGHS, "more than 30,000 values, aliases written out"),
        (MERGED_LAUGHS, "more than 30,000 values, aliases written out"),
        ("&a [*a]", "an alias within what it stands for"),
        ("steps: &a {x: {y: *a}}", "an alias within what it stands for"),
        ("steps: [" + "a, " * 30_001 + "]", "more than 30,000 values"),
        ("steps:\n" + "- {}\n" * 30_001, "more than 30,000 values"),
        ("[" * 100_000, "more than 32 levels|maximum nesting depth"),
        ("- " * 100_000, "more than 32 levels|maximum nesting depth"),
        ("{a: " * 1_000 + "1" + "}" * 1_000, "more than 32 levels|maximum nesting depth"),
        ("x" * 300_000, r"has 300,000 bytes, expected at most 262,144"),
        ("steps: " + "9" * 5_000, "expected a number of at most 40 characters and 64 bits, found '999"),
        ("steps: 0x" + "f" * 5_000, "expected a number of at most 40 characters"),
        ("steps: 1" + ":59" * 5_000, "expected a number of at most 40 characters"),
        ("steps: 0." + "9" * 5_000, "expected a number of at most 40 characters"),
        ("steps: -9223372036854775809", "expected a number of at most 40 characters and 64 bits"),
        ("steps: 2001-99-99", "is not what its tag says .*month must be"),
        ("steps: !!int x", "is not what its tag says"),
        ("steps: !!bool x", "is not what its tag says"),
        ("steps: !!timestamp x", "is not what its tag says"),
        ('steps: "\\U99999999"', "is not what its tag says|invalid Unicode character"),
        ('steps: "\\e[2J"', "without control characters, found '.x1b"),
        ('steps: "\\ud800"', "without control characters|invalid Unicode character"),
        ('steps: "\\u202e"', "without control characters"),
        ('"a\\nb": 1', "expected one line of at most 1000 characters as a key"),
        ("steps: !" + "!" * 200_000 + " x", "cannot be read as YAML"),
    ],
)
def test_a_document_that_asks_for_too_much_is_one_sentence(tmp_path: Path, text: str, complaint: str) -> None:
    refused(write(tmp_path, text), complaint)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(b"steps: \xff\xfe")
    refused(path, "cannot be read as YAML")


def test_aliases_that_say_little_are_read(tmp_path: Path) -> None:
    text = """
        stems: [vocals, rest]
        steps:
          - {name: one, input: mixture, stems: [vocals], residual: more, members: &ours [{model: Kim_Vocal_1}]}
          - {name: two, input: more, stems: [rest], members: [{model: Kim_Inst, sources: {rest: instrumental}}]}
          - {name: three, input: mixture, stems: [a], members: *ours}
    """
    with pytest.raises(PresetError, match=r"steps\[2\]\.members\[0\]\.weights: the weights sum to zero"):
        load_preset(write(tmp_path, text))


@pytest.mark.parametrize("kind", ["pipe", "folder", "device"])
def test_what_is_no_file_is_not_waited_for(tmp_path: Path, kind: str) -> None:
    for name in ("mine.yaml", "rows.yaml"):
        path = tmp_path / name
        if kind == "pipe":
            os.mkfifo(path)
        elif kind == "folder":
            path.mkdir()
        else:
            path.symlink_to("/dev/zero")
    assert not is_manifest(tmp_path / "mine.yaml")
    refused(tmp_path / "mine.yaml", "is a .*, expected a file")
    with pytest.raises(ManifestError, match=r"rows\.yaml is a .*, expected a file"):
        load_preset(write(tmp_path, preset(manifest="rows.yaml"), "other.yaml"))


def test_every_preset_of_the_kit_is_far_below_the_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MOST_PASSES", limits.MOST_PASSES // 100)
    # Every preset reads the kit's manifest, which is the largest document by far and grows by a row a checkpoint.
    monkeypatch.setattr(schema, "MOST_VALUES", schema.MOST_VALUES // 5)
    monkeypatch.setattr(schema, "LARGEST_DOCUMENT_BYTES", schema.LARGEST_DOCUMENT_BYTES // 4)
    for name in preset_names():
        assert load_preset(name).steps


# --- manifests --------------------------------------------------------------------------------------

ROW = {"architecture": "htdemucs", "sources": ["vocals"], "file": "mine.th"}


def of_row(**changes: object) -> dict[str, Any]:
    return {"checkpoints": {"mine": {**ROW, **changes}}}


def of_bag(weight: float, members: int = 1) -> dict[str, Any]:
    return {**of_row(), "bags": {"ours": [{"checkpoint": "mine", "weights": {"vocals": weight}}] * members}}


@pytest.mark.parametrize(
    ("document", "complaint"),
    [
        ({"checkpoints": {f"c{i}": {"x": 1} for i in range(MOST_ROWS + 1)}}, r"checkpoints.*: "),
        (of_row(sources=[f"s{i}" for i in range(MOST_SOURCES + 1)]), "sources: expected at most 64 entries"),
        (of_row(origins=[{"url": "https://x/mine.th"}] * (MOST_ORIGINS + 1)), "origins: expected at most 16"),
        (of_row(parameters={"segment_seconds": 1e300}), "segment_seconds: expected"),
        (of_row(bytes=-1), "bytes: expected a whole number above 0"),
        (of_row(file="x" * 100_000 + ".th"), "file: expected text"),
        (of_bag(1, 65), r"bags\.ours: expected at most 64 entries"),
        (of_bag(1e300), r"weights\.vocals: expected at most 1,000,000"),
        (of_bag(1e-300), r"weights\.vocals: expected a number above 0"),
    ],
)
def test_a_manifest_that_asks_for_too_much_is_one_sentence(
    tmp_path: Path, document: Any, complaint: str
) -> None:
    path = write(tmp_path, document, "rows.yaml")
    with pytest.raises(ManifestError, match=complaint) as caught:
        read_manifests(path)
    assert len(str(caught.value)) < 1_000
    assert "\n" not in str(caught.value)
