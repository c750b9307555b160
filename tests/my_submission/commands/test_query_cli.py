"""`python -m my_submission query` as a user types it, and what the query is then used for."""

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
import yaml
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from my_submission import SeparationModel
from my_submission.__main__ import main
from my_submission.commands.query import mono
from my_submission.files.decode import probe
from my_submission.models.zero_shot.encoder import SEGMENT_SAMPLES
from my_submission.models.zero_shot.query import (
    LEAST_ENERGY,
    Embedding,
    embed,
    mean_query,
    read_query,
    write_query,
)
from my_submission.signal.resampling import resample
from my_submission.weights import MissingWeights, WeightsError, load_manifest
from tests.lower_precision import CPU, agreement
from tests.small_encoders import SMALL_LAYOUT, encoder_file, random_encoder
from tests.small_networks import ZERO_SHOT, random_query, saved, small_row

RATE = 32_000


def run(capsys: pytest.CaptureFixture[str], *arguments: str | Path, code: int = 0) -> str:
    """Run a command; its output, on both streams."""
    assert main([*map(str, arguments)]) == code
    out, err = capsys.readouterr()
    return out + err


def noise(seconds: float, seed: int = 0, level: float = 0.1, rate: int = RATE, channels: int = 2) -> Tensor:
    random = torch.Generator().manual_seed(seed)
    return level * torch.randn(channels, round(seconds * rate), generator=random)


def write(path: Path, signal: Tensor, rate: int = RATE) -> Path:
    path.parent.mkdir(exist_ok=True)
    soundfile.write(path, signal.T.numpy(), rate, subtype=None if path.suffix == ".flac" else "FLOAT")
    return path


class Loudness(nn.Module):
    """Stands in for an encoder: the first of a segment's numbers is its mean, the others are zero."""

    layout = SMALL_LAYOUT

    def forward(self, segments: Tensor) -> Tensor:
        return nn.functional.pad(segments.mean(1, keepdim=True), (0, 63))


def levels(*values: float) -> Tensor:
    """Segments of constant samples, one after the other."""
    return torch.tensor(values).repeat_interleave(SEGMENT_SAMPLES)


def embedding(blocks: Iterable[Tensor]) -> Embedding:
    made = embed(Loudness(), blocks, CPU)  # type: ignore[arg-type]
    assert made is not None
    return made


@pytest.mark.parametrize("block", [1_000, 63_999, 64_000, 200_000])
def test_a_recording_is_the_mean_of_its_loud_whole_segments(block: int) -> None:
    """However it is read: silence is left out, and so is what does not fill a segment."""
    quiet = 0.99 * (LEAST_ENERGY / SEGMENT_SAMPLES) ** 0.5
    signal = torch.cat([levels(0.5, quiet, 0.0, -0.1, 0.2), torch.full((SEGMENT_SAMPLES - 1,), 9.0)])
    made = embedding(torch.split(signal, block))
    assert (float(made.mean[0]), made.segments) == pytest.approx((0.2, 3))


def test_more_segments_than_are_encoded_at_once() -> None:
    values = [0.1 * number for number in range(1, 20)]
    made = embedding([levels(*values)])
    assert (float(made.mean[0]), made.segments) == pytest.approx((1.0, 19))


@pytest.mark.parametrize("signal", [torch.zeros(0), torch.ones(SEGMENT_SAMPLES - 1), levels(0.0, 1e-4)])
def test_a_recording_without_a_loud_segment_has_none(signal: Tensor) -> None:
    assert embed(Loudness(), [signal], CPU) is None  # type: ignore[arg-type]


def test_long_and_short_recordings_count_the_same() -> None:
    embeddings = [embedding([levels(0.5)]), embedding([levels(0.1, 0.1, 0.1)])]
    assert float(mean_query(embeddings)[0]) == pytest.approx(0.3)


@pytest.mark.parametrize(("rate", "channels"), [(32_000, 1), (32_000, 2), (44_100, 2), (16_000, 3)])
def test_recordings_of_any_rate_are_mixed_down_and_resampled(
    rate: int, channels: int, tmp_path: Path
) -> None:
    signal = noise(1.3, rate=rate, channels=channels)
    file = write(tmp_path / "x.wav", signal, rate)
    mixed = torch.cat(list(mono(probe(file, "pairs"))))
    assert torch.equal(mixed, resample(signal.mean(0, keepdim=True), rate, RATE)[0])


@pytest.mark.slow
def test_a_query_of_recordings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a folder and a file, one with nothing to hear, one too short; the file says what it was made of."""
    encoder = encoder_file(tmp_path / "encoder.ckpt")
    first, second = noise(4.5, 1), noise(2.0, 2)
    write(tmp_path / "drums" / "a.wav", first)
    write(tmp_path / "drums" / "silent.wav", 0 * first)
    write(tmp_path / "drums" / "short.flac", noise(1.9))
    write(tmp_path / "b.wav", second)
    out = tmp_path / "drums.safetensors"
    arguments = ("query", "--model", encoder, "--out", out, tmp_path / "drums", tmp_path / "b.wav")
    said = run(capsys, *arguments)
    assert f"{out}: a query of 64 numbers, from 2 of 4 recordings, 3 segments of 2 s" in said
    for name in ("silent.wav", "short.flac"):
        assert (
            f"left out, since it has no two seconds that are loud enough: {tmp_path / 'drums' / name}" in said
        )
    network = random_encoder(SMALL_LAYOUT)
    segments = [first.mean(0)[:64_000], first.mean(0)[64_000:128_000], second.mean(0)]
    one, two, three = (network(segment[None])[0] for segment in segments)
    assert agreement(((one + two) / 2 + three) / 2, read_query(out, 64)) > 90
    with safe_open(out, "pt") as opened:
        assert opened.metadata()["segments"] == "3"

    assert "already exists; --overwrite replaces it" in run(capsys, *arguments, code=2)
    run(capsys, *arguments[:-2], tmp_path / "b.wav", "--overwrite")
    assert agreement(three, read_query(out, 64)) > 90


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return encoder_file(tmp_path_factory.mktemp("encoder") / "encoder.ckpt")


@pytest.mark.parametrize(
    ("change", "code", "said"),
    [
        ({"--model": "none.ckpt"}, 1, "none.ckpt: no such file"),
        ({"--model": "a.wav"}, 1, "expected a file that ends in"),
        ({"--model": "damaged.ckpt"}, 1, "damaged, or no checkpoint"),
        ({"--model": "other.ckpt"}, 1, "expected the query encoder HTS-AT"),
        ({"--out": "x.npz"}, 2, "--out: expected a file that ends in .safetensors"),
        ({"--out": "none/x.safetensors"}, 2, "none is not a folder; make it first"),
        ({"": "none.wav"}, 1, "none.wav: no such file or folder"),
        ({"": "damaged.ckpt"}, 1, "no recording that can be decoded"),
        ({"": "silent.wav"}, 1, "none of the 1 recordings has two seconds that are loud enough"),
        ({"": "nan.wav"}, 1, "expected finite samples, found nan"),
        ({"--device": "tpu"}, 2, "device: expected"),
    ],
)
def test_what_cannot_become_a_query_is_said_in_a_sentence(
    change: dict[str, str],
    code: int,
    said: str,
    encoder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copy(encoder, "encoder.ckpt")
    write(Path("a.wav"), noise(2.0))
    write(Path("silent.wav"), torch.zeros(2, 70_000))
    write(Path("nan.wav"), torch.full((2, 70_000), torch.nan))
    Path("damaged.ckpt").write_bytes(b"PK\3\4 and so on")
    torch.save({"weight": torch.zeros(3)}, "other.ckpt")
    options = {"--model": "encoder.ckpt", "--out": "x.safetensors", "--device": "cpu", "": "a.wav"} | change
    words = [word for pair in options.items() for word in pair if word]
    printed = run(capsys, "query", *words, code=code)
    assert printed.count("error: ") == 1
    assert said in printed
    assert not Path("x.safetensors").exists()


def safetensors(**tensors: Tensor) -> Callable[[Path], None]:
    return lambda path: save_file(tensors, path)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (safetensors(query=torch.ones(63)), r"expected a query of 64 numbers, .*found shape \(63,\)"),
        (safetensors(query=torch.ones(1, 64)), r"found shape \(1, 64\)"),
        (safetensors(query=torch.ones(64, dtype=torch.int32)), "of torch.int32"),
        (safetensors(query=torch.full((64,), torch.inf)), "expected finite numbers"),
        (safetensors(embedding=torch.ones(64)), "one tensor, 'query'; found .'embedding'."),
        (safetensors(query=torch.ones(64), more=torch.ones(1)), "found .'more', 'query'."),
        (lambda path: path.write_bytes(b"no"), "not a safetensors file"),
        (safetensors(query=torch.ones(1 << 19)), "at most 1,048,576 bytes, found 2,097"),
        (lambda path: path.mkdir(), "is a folder, expected a file"),
    ],
)
def test_what_is_no_query_is_refused(make: Callable[[Path], Any], said: str, tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    make(path)
    with pytest.raises(WeightsError, match=said) as caught:
        read_query(path, 64)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_a_query_of_any_floats_is_read(dtype: torch.dtype, tmp_path: Path) -> None:
    save_file({"query": torch.ones(64, dtype=dtype)}, tmp_path / "x.safetensors")
    assert torch.equal(read_query(tmp_path / "x.safetensors", 64), torch.ones(64))


@pytest.fixture
def preset(tmp_path: Path) -> Path:
    """A preset with the small separator and queries of two sources, beside their manifest."""
    folder = tmp_path / "mine"
    folder.mkdir()
    saved(small_row("zero-shot", folder / "separator.ckpt"))
    row = {
        "architecture": "zero_shot",
        "sources": ["drums", "bass"],
        "parameters": ZERO_SHOT,
        "path": "separator.ckpt",
        "forms": {"turned": {"queries": {"drums": "bass.safetensors", "bass": "drums.safetensors"}}},
    }
    (folder / "rows.yaml").write_text(yaml.safe_dump({"checkpoints": {"my_net": row}}))
    step = {"name": "all", "input": "mixture", "stems": ["drums", "bass"], "members": [{"model": "my_net"}]}
    document = {"stems": ["drums", "bass"], "manifest": "rows.yaml", "steps": [step]}
    (folder / "mine.yaml").write_text(yaml.safe_dump(document))
    return folder / "mine.yaml"


def separated(preset: Path) -> dict[str, Tensor]:
    mixture = noise(0.5, rate=44_100).T.numpy()
    stems, _ = SeparationModel(preset=preset, device="cpu").separate_music_file(mixture, 44_100)
    return {name: torch.from_numpy(np.ascontiguousarray(stem.T)) for name, stem in stems.items()}


@pytest.mark.thorough
def test_a_preset_separates_what_its_queries_say(preset: Path) -> None:
    before = separated(preset)
    assert agreement(before["drums"], before["bass"]) < 40
    write_query(preset.parent / "bass.safetensors", random_query("drums", 64), {})
    after = separated(preset)
    assert torch.equal(after["drums"], before["drums"])
    assert agreement(after["drums"], after["bass"]) > 90
    preset.write_text(preset.read_text().replace("my_net", "my_net@turned"))
    assert agreement(separated(preset)["drums"], after["bass"]) > 90


def test_a_missing_query_says_how_to_make_it(preset: Path) -> None:
    (preset.parent / "bass.safetensors").unlink()
    with pytest.raises(
        WeightsError, match=r"bass\.safetensors: no such query; make it with: .* query --model"
    ):
        separated(preset)
    with pytest.raises(MissingWeights, match="no such query"):
        read_query(preset.parent / "bass.safetensors", 64)


@pytest.mark.parametrize(
    ("queries", "said"),
    [
        (
            {"drums": "drums.safetensors"},
            r"rows\.yaml: checkpoints\.my_net\.parameters\.queries: expected a query",
        ),
        ({"drums": "../drums.safetensors"}, "expected the name of a file beside the manifest"),
        ({"drums": "drums.npz"}, r"beside the manifest that ends in \.safetensors, found 'drums\.npz'"),
        ({}, "expected at least one entry"),
    ],
)
def test_a_row_with_wrong_queries_is_an_error(queries: dict[str, str], said: str, preset: Path) -> None:
    rows = preset.parent / "rows.yaml"
    document = yaml.safe_load(rows.read_text())
    document["checkpoints"]["my_net"]["parameters"]["queries"] = queries
    rows.write_text(yaml.safe_dump(document))
    with pytest.raises(RuntimeError, match=said):
        separated(preset)


def test_queries_are_packed_with_their_manifest(
    preset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The other query of a form, too; one that differs is not written over."""
    presets = tmp_path / "submission" / "my_submission" / "presets"
    presets.parent.mkdir(parents=True)
    pack = ("weights", "pack", tmp_path / "submission", "--preset", preset)
    run(capsys, *pack)
    row = load_manifest(presets / "rows.yaml").checkpoints["my_net@turned"]
    assert {file.name for file in row.beside} == {"bass.safetensors", "drums.safetensors"}
    for file in row.beside:
        assert file.parent == presets
        assert file.read_bytes() == (preset.parent / file.name).read_bytes()
    run(capsys, *pack)
    write_query(preset.parent / "bass.safetensors", torch.ones(64), {})
    assert "bass.safetensors already exists and differs from" in run(capsys, *pack, code=1)
    (preset.parent / "bass.safetensors").unlink()
    assert "error: cannot pack " in run(capsys, *pack, code=1)
