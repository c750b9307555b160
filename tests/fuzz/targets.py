"""The parsers: seeds, what reads them, and the errors that their docstrings name. Any other is a fault."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import soundfile

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
from my_submission.ensemble.preset_reader import load_preset
from my_submission.files import journal
from my_submission.files.stems import parse_stems
from my_submission.files.times import parse_time
from my_submission.models.onnx_file import check_model
from my_submission.models.zero_shot.query import read_query
from my_submission.weights.errors import ManifestError, WeightsError
from my_submission.weights.load import open_pickle, open_safetensors, open_tensors
from my_submission.weights.manifest import read_manifests
from my_submission.weights.numpy_arrays import open_arrays
from my_submission.weights.tensorflow import open_tensorflow
from sdx import terminal
from sdx.decoding import Reading, Undecodable, count_samples, probe
from sdx.decoding.headers import read_header
from sdx.decoding.legacy_text import readable
from sdx.engines import address
from tests.fuzz import changes, seeds
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


# Documents


def _preset(path: Path) -> None:
    load_preset(path, outline=True)
    load_preset(path)


def _show_runs(path: Path) -> None:
    for entry in entries.read_runs(path):
        run_words.detail(entry)


def _read_leaderboard(path: Path) -> None:
    for beside in path.parent.glob(f"{path.name}-*"):
        beside.unlink()
    for entry in Store(path, wait_seconds=0.1).entries(withdrawn=True):
        run_words.detail(entry)


def _text(path: Path) -> str:
    return path.read_bytes().decode(errors="replace")


def _own_journal(path: Path) -> None:
    path.with_name(journal.JOURNAL).write_bytes(path.read_bytes())
    journal.written_here(path.parent)
    journal.find_done(path.parent, path, {}, {"bass": path})


# Sound


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


@cache
def _demo() -> tuple[dataset.Contents, dataset.Track]:
    folder = DEMO / "music"
    return dataset.contents(folder), dataset.load(folder, "song_1").tracks[0]


def _unzip(path: Path) -> None:
    data, track = _demo()
    opened = Archive(path, path.name, data)
    for where in list(opened._infos):
        opened.write(where, track, 2, path.with_suffix(".out"))


TARGETS: dict[str, Target] = {
    "preset": Target(".yaml", seeds.presets, _preset, (PresetError, ManifestError), changes.of_yaml),
    "manifest": Target(".yaml", seeds.small_manifests, read_manifests, (ManifestError,), changes.of_yaml),
    "training": Target(
        ".yaml",
        seeds.files_of(*sorted(Path(load_config.__code__.co_filename).parent.glob("configs/*.yaml"))),
        load_config,
        (ConfigError,),
        changes.of_yaml,
    ),
    "result": Target(".json", seeds.results, _show_runs, (ResultError,), changes.of_json),
    "baseline": Target(
        ".json",
        seeds.files_of(*sorted(Path(baseline.__file__).parents[1].glob("baselines/*.json"))),
        lambda path: baseline.show(baseline.read(path)),
        (ResultError,),
        changes.of_json,
    ),
    "leaderboard": Target(".sqlite", seeds.leaderboards, _read_leaderboard, (LeaderboardError,)),
    "json": Target(
        ".json",
        seeds.results,
        lambda path: strict_json.loads(path.read_bytes()),
        (strict_json.JsonError,),
        changes.of_json,
    ),
    "worker-line": Target(
        ".txt",
        seeds.lines,
        lambda path: said.parse(f"{_text(path)}\n"),
        (said.UnreadableLineError,),
        changes.of_json,
    ),
    "judge-line": Target(
        ".txt",
        seeds.judged,
        lambda path: judging._parsed(_text(path)),
        (judging.JudgeError, judging.RefusedEntry),
        changes.of_json,
    ),
    "aicrowd": Target(
        ".json",
        seeds.files_of(Path(aicrowd_manifest.__file__).parents[1] / "aicrowd.json"),
        lambda path: (
            path.replace(path.with_name(aicrowd_manifest.NAME)),
            challenge_of_manifest(path.parent),
        ),
        (),
        changes.of_json,
    ),
    "journal": Target(
        ".jsonl",
        seeds.journals,
        _own_journal,
        (),
        changes.of_json,
    ),
    "requirements": Target(
        ".txt",
        seeds.files_of(Path(aicrowd_manifest.__file__).parents[1] / "requirements.txt"),
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
    "header": Target(".wav", seeds.ALL_SOUNDS, _header),
    "sound": Target(".wav", seeds.ALL_SOUNDS, _decode, (Undecodable, OSError)),
    "stem-file": Target(".mp4", seeds.stem_files, _decode, (Undecodable, OSError)),
    "estimate-header": Target(".wav", seeds.SCORED, _estimate_header, (audio_header.HeaderError,)),
    "reference": Target(".wav", seeds.SCORED, _reference, (reference_files.DamagedFileError,)),
    "zip": Target(".zip", seeds.zips, _unzip, (PredictionsError, InvalidOutputError)),
    "pickle": Target(".th", seeds.pickles, open_pickle, (WeightsError,), wrap=seeds.as_torch_file),
    "pickle-zip": Target(".th", seeds.torch_zips, open_tensors, (WeightsError,)),
    "pickle-old": Target(".th", seeds.old_pickles, open_tensors, (WeightsError,)),
    "safetensors": Target(".safetensors", seeds.queries, open_safetensors, (WeightsError,)),
    "query": Target(".safetensors", seeds.queries, lambda path: read_query(path, 8), (WeightsError,)),
    "tensorflow": Target(".tar.gz", seeds.tensorflow, open_tensorflow, (WeightsError,), wrap=seeds.gzipped),
    "numpy": Target(".pickle", seeds.arrays, open_arrays, (WeightsError,), wrap=seeds.as_torch_file),
    "onnx": Target(".onnx", seeds.graphs, check_model, (WeightsError,)),
}
