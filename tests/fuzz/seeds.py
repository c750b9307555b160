"""Files that are right, which the fuzzing changes."""

import io
import json
import sqlite3
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import soundfile
import torch
import yaml
from safetensors.torch import save

from evaluator.runs import entries
from evaluator.runs.leaderboard import Store
from my_submission.ensemble.preset_reader import PRESETS_FOLDER, is_manifest
from my_submission.files import journal
from my_submission.weights.manifest import DEMO_MANIFEST, MANIFEST
from tests.evaluator import known_data, made_results
from tests.tensorflow_checkpoint import archive, index_and_data


def files_of(*paths: Path) -> Callable[[], list[bytes]]:
    return lambda: [path.read_bytes() for path in paths]


def presets() -> list[bytes]:
    return [path.read_bytes() for path in sorted(PRESETS_FOLDER.glob("*.yaml")) if not is_manifest(path)]


def small_manifests() -> list[bytes]:
    """The rows of the kit's own, a few in each, since all of them take long to read."""
    document = yaml.safe_load(MANIFEST.read_text())
    # A row that has parts needs theirs before it, as in the manifest itself.
    rows = [(name, row) for name, row in document["checkpoints"].items() if "parts" not in row]
    chosen = [rows[start : start + 3] for start in range(0, len(rows), 3)]
    texts = [yaml.safe_dump({"checkpoints": dict(some)}, sort_keys=False).encode() for some in chosen]
    bag = {
        "checkpoints": dict(rows[:1]),
        "bags": {"b": [{"checkpoint": rows[0][0], "weights": {"vocals": 1.0}}]},
    }
    return [*texts, yaml.safe_dump(bag).encode(), DEMO_MANIFEST.read_bytes()]


def results() -> list[bytes]:
    document = made_results.result({"a": 5.0, "b": "crashed"}).to_json()
    entry = entries.make_entry(made_results.result({"a": 5.0, "b": "crashed"}), None)
    return [json.dumps(document).encode(), json.dumps(entries.to_export([entry])).encode()]


def leaderboards() -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "leaderboard.sqlite"
        Store(path).add([entries.make_entry(made_results.result({"a": 5.0, "b": "crashed"}), None)])
        with sqlite3.connect(path) as connection:
            connection.execute("PRAGMA journal_mode=DELETE")
        return [path.read_bytes()]


def lines() -> list[bytes]:
    provenance = {
        "preset": "mdx-c",
        "device": "cpu",
        "economies": ["a"],
        "weights": [{"name": "a", "file": "a.th"}],
    }
    events: list[dict[str, Any]] = [
        {"event": "described", "track": "music", "stems": ["bass", "drums"]},
        {"event": "listed", "failed": False, "text": "[]"},
        {"event": "ready", "provenance": provenance},
        {
            "event": "done",
            "folder": "a",
            "nonfinite": ["bass"],
            "peak_memory_bytes": 5,
            "provenance": provenance,
        },
        {"event": "failed", "where": "track", "error": "no", "out_of_memory": True},
    ]
    return [json.dumps(event).encode() for event in events]


def judged() -> list[bytes]:
    answer = {
        "stems": ["bass"],
        "sha256": [{"bass": "0" * 64}],
        "scores": [{"sdr": {"bass": 1.0}}],
        "odd": [{"bass": "silent"}],
    }
    return [json.dumps(answer).encode(), b'{"problems": [], "number": 0}']


def journals() -> list[bytes]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "a.wav").write_bytes(b"a")
        journal.write_entry(folder, folder / "a.wav", {}, {"bass": folder / "a.wav"}, {"seconds": 1.0})
        return [(folder / journal.JOURNAL).read_bytes()]


# Sound


def sounds(*kinds: tuple[str, str]) -> Callable[[], list[bytes]]:
    """One short sound of each container and subtype."""

    def make() -> list[bytes]:
        samples = np.random.default_rng(0).uniform(-0.5, 0.5, (600, 2))
        made = []
        for container, subtype in kinds:
            file = io.BytesIO()
            soundfile.write(file, samples, 48_000, format=container, subtype=subtype)
            made.append(file.getvalue())
        return made

    return make


ALL_SOUNDS = sounds(
    ("WAV", "PCM_16"), ("WAV", "FLOAT"), ("RF64", "PCM_24"), ("WAVEX", "PCM_16"), ("FLAC", "PCM_16"),
    ("AIFF", "PCM_16"), ("AU", "PCM_16"), ("W64", "PCM_16"), ("MP3", "MPEG_LAYER_III"), ("OGG", "VORBIS"),
    ("OGG", "OPUS"), ("CAF", "ALAC_16"),
)  # fmt: skip


SCORED = sounds(
    ("WAV", "PCM_16"), ("WAV", "PCM_24"), ("WAV", "FLOAT"), ("RF64", "PCM_16"), ("FLAC", "PCM_16")
)


def stem_files() -> list[bytes]:
    """MP4 with several streams of AAC, as MUSDB18 has it."""
    with tempfile.TemporaryDirectory() as folder:
        signals = [known_data.tone(number, 2000 + 500 * number) for number in range(2)]
        return [known_data.write_stem_file(Path(folder) / "a.stem.mp4", signals).read_bytes()]


# Archives and weights


def zips() -> list[bytes]:
    made = []
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", method) as packed:
            for name in ("song_1/bass.wav", "all/song_2_drums.wav", "__MACOSX/._x.wav", "notes.txt"):
                packed.writestr(name, b"RIFF" + bytes(40))
        made.append(file.getvalue())
    return made


def state() -> dict[str, torch.Tensor]:
    return {"conv.weight": torch.arange(6.0).reshape(2, 3), "conv.bias": torch.zeros(2, dtype=torch.float16)}


def pickled(wrapped: object) -> bytes:
    file = io.BytesIO()
    torch.save(wrapped, file)
    with zipfile.ZipFile(file) as packed:
        return packed.read(next(name for name in packed.namelist() if name.endswith("data.pkl")))


def pickles() -> list[bytes]:
    tensors = state()
    return [
        pickled(each)
        for each in (tensors, {"state": tensors, "args": (1, "a", 0.5), "epoch": 3}, {"state_dict": tensors})
    ]


def as_torch_file(content: bytes) -> bytes:
    """A file of torch.save with another pickle."""
    file, changed = io.BytesIO(), io.BytesIO()
    torch.save(state(), file)
    with zipfile.ZipFile(file) as packed, zipfile.ZipFile(changed, "w") as other:
        for name in packed.namelist():
            other.writestr(name, content if name.endswith("data.pkl") else packed.read(name))
    return changed.getvalue()


def old_pickles() -> list[bytes]:
    file = io.BytesIO()
    torch.save(state(), file, _use_new_zipfile_serialization=False)
    return [file.getvalue()]


def torch_zips() -> list[bytes]:
    file = io.BytesIO()
    torch.save(state(), file)
    return [file.getvalue()]


def tensorflow() -> list[bytes]:
    arrays = {"conv2d/kernel": np.zeros((2, 3), np.float32), "bias": np.ones(3, np.float32)}
    made = []
    for shards in (1, 2):
        packed = archive(index_and_data(arrays, shards))
        made.append(zlib.decompress(packed, wbits=31))
    with tarfile.open(fileobj=io.BytesIO(made[0])):
        return made


def gzipped(content: bytes) -> bytes:
    packer = zlib.compressobj(1, wbits=31)
    return packer.compress(content) + packer.flush()


def arrays() -> list[bytes]:
    return [pickled({"a.weight": np.zeros((2, 3), np.float32), "b": np.ones(3, np.float64)})]


def graphs() -> list[bytes]:
    value = onnx.helper.make_tensor_value_info
    kind = onnx.TensorProto.FLOAT
    weight = onnx.helper.make_tensor("w", kind, [3], [1.0, 2.0, 3.0])
    node = onnx.helper.make_node("Mul", ["x", "w"], ["y"])
    graph = onnx.helper.make_graph(
        [node], "g", [value("x", kind, [1, 3])], [value("y", kind, [1, 3])], [weight]
    )
    return [onnx.helper.make_model(graph).SerializeToString()]


def queries() -> list[bytes]:
    return [save({"query": torch.ones(8)}), save({"query": torch.ones(8)}, {"made": "by"})]
