"""The parsers: seeds, what reads them, and the errors that their docstrings name. Any other is a fault."""

import contextlib
import io
import json
import sqlite3
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import soundfile
import torch
from safetensors.torch import save

from evaluator import aicrowd_manifest, strict_json
from evaluator.isolation import said
from evaluator.locations import DEMO
from evaluator.reporting import run_words
from evaluator.running import audio_header, dataset, parts, reference_files
from evaluator.running.estimates import InvalidOutputError
from evaluator.running.predictions import PredictionsError
from evaluator.running.submission import challenge_of_manifest
from evaluator.runs import baseline, entries
from evaluator.runs.documents import ResultError
from evaluator.runs.leaderboard import LeaderboardError, Store
from evaluator.service import judging, tus
from evaluator.service.archive import Archive
from evaluator.service.errors import Refused
from evaluator.submitting.import_closure import read_requirements
from my_submission.ensemble.preset import PresetError
from my_submission.ensemble.preset_reader import PRESETS_FOLDER, is_manifest, load_preset
from my_submission.files import journal
from my_submission.files.stems import parse_stems
from my_submission.files.times import parse_time
from my_submission.models.onnx_file import check_model
from my_submission.models.zero_shot.query import read_query
from my_submission.weights.errors import ManifestError, WeightsError
from my_submission.weights.load import open_pickle, open_safetensors, open_tensors
from my_submission.weights.manifest import DEMO_MANIFEST, MANIFEST, read_manifests
from my_submission.weights.numpy_arrays import open_arrays
from my_submission.weights.tensorflow import open_tensorflow
from sdx import terminal
from sdx.decoding import Reading, Undecodable, count_samples, probe
from sdx.decoding.headers import read_header
from sdx.decoding.legacy_text import readable
from sdx.engines import address
from tests.evaluator import made_results
from tests.fuzz import changes
from tests.tensorflow_checkpoint import archive, index_and_data
from training.config import ConfigError, load_config

LONGEST_SOUND_SECONDS = 60.0  # a header may state any length


@dataclass(frozen=True)
class Target:
    """A parser.

    suffix: of the file that it reads. seeds: files that are right. read: what reads one. errors: what it may raise.
    change: what makes a file of the seeds. wrap: what packs changed bytes, where a checksum would hide the changes.
    """

    suffix: str
    seeds: Callable[[], Sequence[bytes]]
    read: Callable[[Path], object]
    errors: tuple[type[Exception], ...] = ()
    change: Callable[[Sequence[bytes]], changes.Strategy] = changes.of_bytes
    wrap: Callable[[bytes], bytes] = bytes


def _files(*paths: Path) -> Callable[[], list[bytes]]:
    return lambda: [path.read_bytes() for path in paths]


# Documents


def _presets() -> list[bytes]:
    return [path.read_bytes() for path in sorted(PRESETS_FOLDER.glob("*.yaml")) if not is_manifest(path)]


def _small_manifests() -> list[bytes]:
    """The rows of the kit's own, a few in each, since all of them take long to read."""
    import yaml

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


def _preset(path: Path) -> None:
    load_preset(path, outline=True)
    load_preset(path)


def _results() -> list[bytes]:
    document = made_results.result({"a": 5.0, "b": "crashed"}).to_json()
    entry = entries.make_entry(made_results.result({"a": 5.0, "b": "crashed"}), None)
    return [json.dumps(document).encode(), json.dumps(entries.to_export([entry])).encode()]


def _show_runs(path: Path) -> None:
    for entry in entries.read_runs(path):
        run_words.detail(entry)


def _leaderboards() -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "leaderboard.sqlite"
        Store(path).add([entries.make_entry(made_results.result({"a": 5.0, "b": "crashed"}), None)])
        with sqlite3.connect(path) as connection:
            connection.execute("PRAGMA journal_mode=DELETE")
        return [path.read_bytes()]


def _read_leaderboard(path: Path) -> None:
    for beside in path.parent.glob(f"{path.name}-*"):
        beside.unlink()
    for entry in Store(path, wait_seconds=0.1).entries(withdrawn=True):
        run_words.detail(entry)


def _lines() -> list[bytes]:
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


def _judged() -> list[bytes]:
    answer = {
        "stems": ["bass"],
        "sha256": [{"bass": "0" * 64}],
        "scores": [{"sdr": {"bass": 1.0}}],
        "odd": [{"bass": "silent"}],
    }
    return [json.dumps(answer).encode(), b'{"problems": [], "number": 0}']


def _text(path: Path) -> str:
    return path.read_bytes().decode(errors="replace")


def _own_journal(path: Path) -> None:
    path.with_name(journal.JOURNAL).write_bytes(path.read_bytes())
    journal.written_here(path.parent)
    journal.find_done(path.parent, path, {}, {"bass": path})


def _journals() -> list[bytes]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "a.wav").write_bytes(b"a")
        journal.write_entry(folder, folder / "a.wav", {}, {"bass": folder / "a.wav"}, {"seconds": 1.0})
        return [(folder / journal.JOURNAL).read_bytes()]


# Sound


def _sounds(*kinds: tuple[str, str]) -> Callable[[], list[bytes]]:
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


_ALL_SOUNDS = _sounds(
    ("WAV", "PCM_16"), ("WAV", "FLOAT"), ("RF64", "PCM_24"), ("WAVEX", "PCM_16"), ("FLAC", "PCM_16"),
    ("AIFF", "PCM_16"), ("AU", "PCM_16"), ("W64", "PCM_16"), ("MP3", "MPEG_LAYER_III"), ("OGG", "VORBIS"),
    ("OGG", "OPUS"), ("CAF", "ALAC_16"),
)  # fmt: skip
_SCORED = _sounds(
    ("WAV", "PCM_16"), ("WAV", "PCM_24"), ("WAV", "FLOAT"), ("RF64", "PCM_16"), ("FLAC", "PCM_16")
)


def _decode(path: Path) -> None:
    sound = probe(path)
    read = 0
    for block in Reading(sound).blocks():
        read += len(block)
        if read > LONGEST_SOUND_SECONDS * sound.sample_rate:
            break
    with contextlib.suppress(Undecodable):  # of some kinds it cannot be told
        count_samples(path)


def _header(path: Path) -> None:
    with path.open("rb") as file:
        read_header(file)


def _estimate_header(path: Path) -> None:
    with path.open("rb") as file:
        audio_header.read(file)


def _reference(path: Path) -> None:
    parts.shape(path)
    reference_files.check_content(path, soundfile.info(path).frames)


# Archives and weights


def _zips() -> list[bytes]:
    made = []
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", method) as packed:
            for name in ("song_1/bass.wav", "all/song_2_drums.wav", "__MACOSX/._x.wav", "notes.txt"):
                packed.writestr(name, b"RIFF" + bytes(40))
        made.append(file.getvalue())
    return made


@cache
def _demo() -> tuple[dataset.Contents, dataset.Track]:
    folder = DEMO / "music"
    return dataset.contents(folder), dataset.load(folder, "song_1").tracks[0]


def _unzip(path: Path) -> None:
    data, track = _demo()
    opened = Archive(path, path.name, data)
    for where in list(opened._infos):
        opened.write(where, track, 2, path.with_suffix(".out"))


def _state() -> dict[str, torch.Tensor]:
    return {"conv.weight": torch.arange(6.0).reshape(2, 3), "conv.bias": torch.zeros(2, dtype=torch.float16)}


def _pickled(wrapped: object) -> bytes:
    file = io.BytesIO()
    torch.save(wrapped, file)
    with zipfile.ZipFile(file) as packed:
        return packed.read(next(name for name in packed.namelist() if name.endswith("data.pkl")))


def _pickles() -> list[bytes]:
    state = _state()
    return [
        _pickled(each)
        for each in (state, {"state": state, "args": (1, "a", 0.5), "epoch": 3}, {"state_dict": state})
    ]


def _as_torch_file(content: bytes) -> bytes:
    """A file of torch.save with another pickle."""
    file, changed = io.BytesIO(), io.BytesIO()
    torch.save(_state(), file)
    with zipfile.ZipFile(file) as packed, zipfile.ZipFile(changed, "w") as other:
        for name in packed.namelist():
            other.writestr(name, content if name.endswith("data.pkl") else packed.read(name))
    return changed.getvalue()


def _old_pickles() -> list[bytes]:
    file = io.BytesIO()
    torch.save(_state(), file, _use_new_zipfile_serialization=False)
    return [file.getvalue()]


def _torch_zips() -> list[bytes]:
    file = io.BytesIO()
    torch.save(_state(), file)
    return [file.getvalue()]


def _tensorflow() -> list[bytes]:
    arrays = {"conv2d/kernel": np.zeros((2, 3), np.float32), "bias": np.ones(3, np.float32)}
    made = []
    for shards in (1, 2):
        packed = archive(index_and_data(arrays, shards))
        made.append(zlib.decompress(packed, wbits=31))
    with tarfile.open(fileobj=io.BytesIO(made[0])):
        return made


def _gzip(content: bytes) -> bytes:
    packer = zlib.compressobj(1, wbits=31)
    return packer.compress(content) + packer.flush()


def _arrays() -> list[bytes]:
    return [_pickled({"a.weight": np.zeros((2, 3), np.float32), "b": np.ones(3, np.float64)})]


def _onnx() -> list[bytes]:
    value = onnx.helper.make_tensor_value_info
    kind = onnx.TensorProto.FLOAT
    weight = onnx.helper.make_tensor("w", kind, [3], [1.0, 2.0, 3.0])
    node = onnx.helper.make_node("Mul", ["x", "w"], ["y"])
    graph = onnx.helper.make_graph(
        [node], "g", [value("x", kind, [1, 3])], [value("y", kind, [1, 3])], [weight]
    )
    return [onnx.helper.make_model(graph).SerializeToString()]


def _queries() -> list[bytes]:
    return [save({"query": torch.ones(8)}), save({"query": torch.ones(8)}, {"made": "by"})]


TARGETS: dict[str, Target] = {
    "preset": Target(".yaml", _presets, _preset, (PresetError, ManifestError), changes.of_yaml),
    "manifest": Target(".yaml", _small_manifests, read_manifests, (ManifestError,), changes.of_yaml),
    "training": Target(
        ".yaml",
        _files(*sorted(Path(load_config.__code__.co_filename).parent.glob("configs/*.yaml"))),
        load_config,
        (ConfigError,),
        changes.of_yaml,
    ),
    "result": Target(".json", _results, _show_runs, (ResultError,), changes.of_json),
    "baseline": Target(
        ".json",
        _files(*sorted(Path(baseline.__file__).parents[1].glob("baselines/*.json"))),
        lambda path: baseline.show(baseline.read(path)),
        (ResultError,),
        changes.of_json,
    ),
    "leaderboard": Target(".sqlite", _leaderboards, _read_leaderboard, (LeaderboardError,)),
    "json": Target(
        ".json",
        _results,
        lambda path: strict_json.loads(path.read_bytes()),
        (strict_json.JsonError,),
        changes.of_json,
    ),
    "worker-line": Target(
        ".txt",
        _lines,
        lambda path: said.parse(f"{_text(path)}\n"),
        (said.UnreadableLineError,),
        changes.of_json,
    ),
    "judge-line": Target(
        ".txt",
        _judged,
        lambda path: judging._parsed(_text(path)),
        (judging.JudgeError, judging.RefusedEntry),
        changes.of_json,
    ),
    "aicrowd": Target(
        ".json",
        _files(Path(aicrowd_manifest.__file__).parents[1] / "aicrowd.json"),
        lambda path: (
            path.replace(path.with_name(aicrowd_manifest.NAME)),
            challenge_of_manifest(path.parent),
        ),
        (),
        changes.of_json,
    ),
    "journal": Target(
        ".jsonl",
        _journals,
        _own_journal,
        (),
        changes.of_json,
    ),
    "requirements": Target(
        ".txt",
        _files(Path(aicrowd_manifest.__file__).parents[1] / "requirements.txt"),
        lambda path: read_requirements(_text(path)),
    ),
    "address": Target(
        ".txt",
        lambda: [
            b"local?workers=2",
            b"dask://host:8786",
            b"slurm://part?gpus=1&jobs=4",
            b"dask://[::1]:1",
        ],
        lambda path: address.parse(_text(path)),
        (address.AddressError,),
    ),
    "upload-header": Target(
        ".txt",
        lambda: [b"filename YS53YXY=,filetype YXVkaW8=", b"a YQ=="],
        lambda path: tus.metadata(_text(path)),
        (Refused,),
    ),
    "stems": Target(
        ".txt",
        lambda: [b"drums + bass", b"backing=mixture-vocals", b"no_drums", b"mixture \xe2\x88\x92 other"],
        lambda path: parse_stems([_text(path)], ("bass", "drums", "other", "vocals")),
        (ValueError,),
    ),
    "time": Target(
        ".txt", lambda: [b"1:02:03.5", b"90", b"0:05"], lambda path: parse_time(_text(path)), (ValueError,)
    ),
    "tags": Target(
        ".txt",
        lambda: ["Кино".encode("cp1251"), "日本".encode("cp932"), b"caf\xe9"],
        lambda path: terminal.one_line(readable(path.read_bytes())),
    ),
    "header": Target(".wav", _ALL_SOUNDS, _header),
    "sound": Target(".wav", _ALL_SOUNDS, _decode, (Undecodable, OSError)),
    "estimate-header": Target(".wav", _SCORED, _estimate_header, (audio_header.HeaderError,)),
    "reference": Target(".wav", _SCORED, _reference, (reference_files.DamagedFileError,)),
    "zip": Target(".zip", _zips, _unzip, (PredictionsError, InvalidOutputError)),
    "pickle": Target(".th", _pickles, open_pickle, (WeightsError,), wrap=_as_torch_file),
    "pickle-zip": Target(".th", _torch_zips, open_tensors, (WeightsError,)),
    "pickle-old": Target(".th", _old_pickles, open_tensors, (WeightsError,)),
    "safetensors": Target(".safetensors", _queries, open_safetensors, (WeightsError,)),
    "query": Target(".safetensors", _queries, lambda path: read_query(path, 8), (WeightsError,)),
    "tensorflow": Target(".tar.gz", _tensorflow, open_tensorflow, (WeightsError,), wrap=_gzip),
    "numpy": Target(".pickle", _arrays, open_arrays, (WeightsError,), wrap=_as_torch_file),
    "onnx": Target(".onnx", _onnx, check_model, (WeightsError,)),
}
