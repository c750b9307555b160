"""The commands that take `--engine`, over two hosts and TLS, and over a host that is unplugged for a minute.

Each gives what it gives without an engine, and both hosts have had a part in it.
"""

import csv
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import yaml

from evaluator.isolation.limits import Limits
from evaluator.locations import REPOSITORY
from evaluator.running.dataset import Track
from evaluator.running.evaluation import Observer, evaluate
from evaluator.running.preparation import Options, prepare
from evaluator.runs import results
from evaluator.runs.records import TrackResult
from evaluator.runs.results import Result
from evaluator.runs.run_folder import RESULT_FILE
from evaluator.tuning.worker_side import CACHE_VARIABLE
from sdx.engines import address
from sdx.engines.address import Tls
from tests.evaluator import audio
from tests.evaluator.small_ensemble import write_ensemble, write_tracks
from tests.my_submission.files_model import SHARES, write_tiny_preset
from tests.sdx.engines import clusters
from tests.sdx.engines.clusters import Cluster
from tests.sdx.engines.hosts import AGAIN, OTHER, OtherHost, other_host
from tests.waiting import wait_for

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="network namespaces are Linux's"),
]

BOTH = {socket.gethostname(), OTHER}
SUBMISSION = '''
"""Half of the mixture for every stem, after a while."""

import time


class MySeparationModel:
    instruments = ["bass", "drums", "other", "vocals"]

    def separate_music_file(self, mixed_sound_array, sample_rate):
        time.sleep({seconds})
        arrays = {{stem: mixed_sound_array / 2 for stem in self.instruments}}
        return arrays, dict.fromkeys(self.instruments, sample_rate)
'''


def write_submission(folder: Path, seconds: float) -> Path:
    """One that takes this long for each track."""
    (folder / "my_submission").mkdir(parents=True)
    (folder / "my_submission" / "user_config.py").write_text(SUBMISSION.format(seconds=seconds))
    return folder


class Hosts:
    """A scheduler with TLS here, a worker here and one on another host; commands of ours with and without them."""

    def __init__(self, root: Path, host: OtherHost, cluster: Cluster, tls: Tls) -> None:
        self.root = root
        self._host = host
        self._cluster = cluster
        self._engine = [
            *("--engine", cluster.engine),
            *("--tls-ca", str(tls.ca), "--tls-cert", str(tls.certificate), "--tls-key", str(tls.key)),
        ]
        cluster.worker({CACHE_VARIABLE: str(root / "cache-here")})
        cluster.worker({CACHE_VARIABLE: str(root / "cache-other")}, host.command)

    def here(self, *words: object) -> str:
        """What a command says that runs on this machine alone."""
        command = [sys.executable, *map(str, words)]
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def both(self, *words: object) -> str:
        """What it says that runs on both."""
        return self.here(*words, *self._engine)


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Hosts]:
    root = tmp_path_factory.mktemp("hosts")
    tls = clusters.certificates(root / "tls")
    with other_host() as host, clusters.opened(root / "cluster", tls, host.ours) as cluster:
        yield Hosts(root, host, cluster, tls)


@pytest.fixture(scope="module")
def preset(hosts: Hosts) -> Path:
    return write_ensemble(hosts.root / "ensemble")


@pytest.fixture(scope="module")
def tracks(hosts: Hosts) -> Path:
    return write_tracks(hosts.root / "tracks")


def test_run_eval(hosts: Hosts) -> None:
    data = audio.write_music(hosts.root / "data", {f"t{number}": 20_000 + number for number in range(6)})
    submission = write_submission(hosts.root / "submission", 0.5)
    words = ["run_eval.py", "--submission", submission, "--data", data, "--track", "music", "--no-limits"]
    found = []
    for run, name in ((hosts.here, "eval-here"), (hosts.both, "eval-both")):
        run(*words, "--out", hosts.root / name)
        found.append(results.read(hosts.root / name / RESULT_FILE))
    ours, theirs = found
    assert {track.machine for track in theirs.tracks} == BOTH
    for one, other in zip(ours.tracks, theirs.tracks, strict=True):
        assert one.name == other.name
        assert other.scores["sdr"] == pytest.approx(one.scores["sdr"], abs=1e-9)


def test_tune(hosts: Hosts, preset: Path, tracks: Path) -> None:
    words = ["-m", "evaluator", "tune", preset, "--data", tracks, "--device", "cpu", "--precision", "fp32"]
    for run, name in ((hosts.here, "here"), (hosts.both, "both")):
        run(*words, "--cache", hosts.root / "cache", "--out", hosts.root / f"{name}.yaml")
    ours, theirs = (yaml.safe_load((hosts.root / f"{name}.yaml").read_text()) for name in ("here", "both"))
    assert theirs["steps"] == ours["steps"]
    for name in ("here", "other"):
        assert list((hosts.root / f"cache-{name}" / "entries").iterdir()), f"{name} has computed nothing"


@pytest.mark.parametrize(("command", "words"), [("ablate", ["--variants", "without the s*"]), ("table", [])])
def test_ablate_and_table(
    command: str, words: Sequence[str], hosts: Hosts, preset: Path, tracks: Path
) -> None:
    what = ["--presets", preset] if command == "table" else [preset]
    options = ["--data", tracks, "--device", "cpu", "--precision", "fp32", "--cache", hosts.root / "cache"]
    tables = []
    for run, name in ((hosts.here, "here"), (hosts.both, "both")):
        file = hosts.root / f"{command}-{name}.csv"
        run("-m", "evaluator", command, *what, *words, *options, "--csv", file)
        tables.append(list(csv.DictReader(file.open())))
    assert len(tables[0]) > 1
    for ours, theirs in zip(*tables, strict=True):
        for column in ours.keys() - {"model_seconds"}:
            assert same(ours[column], theirs[column]), (ours, theirs)


def same(one: str, other: str) -> bool:
    """Whether two cells are, as numbers to 1e-6 where they are some."""
    try:
        return float(one) == pytest.approx(float(other), abs=1e-6)
    except ValueError:
        return one == other


def test_separate(hosts: Hosts) -> None:
    preset, album = write_tiny_preset(hosts.root), hosts.root / "album"
    album.mkdir()
    for number in range(4):
        sound = 0.1 * np.random.default_rng(number).standard_normal((44_100, 2))
        soundfile.write(album / f"{number}.wav", sound, 44_100)
    words = ["-m", "my_submission", "separate", album, "--preset", preset, "--precision", "fp32"]
    here, both = hosts.root / "stems-here", hosts.root / "stems-both"
    hosts.here(*words, "--device", "cpu", "--output", here)
    hosts.both(*words, "--device", "cpu", "--output", both)
    files = [file.relative_to(here) for file in sorted(here.rglob("*.wav"))]
    assert len(files) == 4 * len(SHARES)
    for file in files:
        ours, theirs = (soundfile.read(place / file)[0] for place in (here, both))
        np.testing.assert_allclose(theirs, ours, atol=2 / (1 << 15))
    journals = {
        file.name.removeprefix(".separated-").removesuffix(".jsonl") for file in both.glob(".separated-*")
    }
    assert journals == BOTH


def test_dataset(hosts: Hosts) -> None:
    recordings = []
    for seed, name in enumerate(("vocals", "instrumentals")):
        (hosts.root / name).mkdir()
        for number in range(2):
            sound = 0.1 * np.random.default_rng([seed, number]).standard_normal((44_100, 2))
            soundfile.write(hosts.root / name / f"{number}.wav", sound, 44_100)
        recordings += [f"--{name}", hosts.root / name]
    words = ["-m", "evaluator", "dataset", "synth", *recordings, "--tracks", 3, "--seconds", 0.5]
    here, both = hosts.root / "made-here", hosts.root / "made-both"
    hosts.here(*words, "--out", here)
    hosts.both(*words, "--out", both)
    assert content(both) == content(here)


def content(root: Path) -> dict[str, bytes]:
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


class Machines(Observer):
    """Keeps which machine has done each track, and what was said."""

    def __init__(self) -> None:
        self.done: list[tuple[str, str | None]] = []
        self.said: list[str] = []

    def finished(self, track: Track, result: TrackResult, log: Sequence[str]) -> None:
        self.done.append((track.name, result.machine))

    def notice(self, text: str) -> None:
        self.said.append(text)

    def others(self) -> int:
        """How many the other host has done."""
        return sum(machine == OTHER for _, machine in self.done)


UNPLUGGED_SECONDS = 60.0
TRACKS, TRACK_SECONDS = 60, 2.0  # for one machine while the other is away, and some more


def test_a_machine_that_is_unplugged_for_a_minute_works_again_and_nothing_is_lost(tmp_path: Path) -> None:
    """Long enough for Dask to give up the connection on both ends, where its worker ends."""
    options: Any = Options(
        submission=write_submission(tmp_path / "submission", TRACK_SECONDS),
        data=audio.write_music(
            tmp_path / "data", {f"t{number:02d}": 1000 + number for number in range(TRACKS)}
        ),
        challenge="music",
        limits=Limits(time_factor=None),
        out=tmp_path / "out",
    )
    seen: Machines = Machines()
    future: Future[Result] = Future()

    def run(engine: str) -> None:
        try:
            job = prepare(Options(**{**vars(options), "engine": address.parse(engine)}))
            future.set_result(evaluate(job, seen, resume=False))
        except BaseException as error:
            future.set_exception(error)

    with other_host() as host, clusters.opened(tmp_path / "cluster", host=host.ours) as cluster:
        cluster.worker()
        cluster.worker(command=[*host.command, *AGAIN])
        threading.Thread(target=run, args=(f"{cluster.engine}?silence=10",), daemon=True).start()
        wait_for(lambda: seen.others() or future.done(), "a track of the other host")
        host.cable("down")
        threading.Event().wait(UNPLUGGED_SECONDS)
        before = seen.others()
        host.cable("up")
        wait_for(lambda: seen.others() > before or future.done(), "its return")
        result = future.result(2 * TRACKS * TRACK_SECONDS)
        assert seen.others() > before
    assert result.status == "ok"
    assert [name for name, _ in sorted(seen.done)] == [track.name for track in result.tracks]
    assert {track.machine for track in result.tracks} == BOTH
    assert any(f"the worker on {OTHER} ended, or fell silent" in text for text in seen.said)
    for track in result.tracks:
        assert set(track.scores["sdr"]) == {"bass", "drums", "other", "vocals"}


def test_an_album_whose_machine_is_unplugged_is_separated_once(tmp_path: Path) -> None:
    """It goes on by itself meanwhile, with the folder still before its eyes; nothing is written twice."""
    preset = write_tiny_preset(tmp_path)
    album, out = tmp_path / "album", tmp_path / "out"
    album.mkdir()
    for number in range(8):
        sound = 0.1 * np.random.default_rng(number).standard_normal((6 * 44_100, 2))
        soundfile.write(album / f"{number}.wav", sound, 44_100)
    with other_host() as host, clusters.opened(tmp_path / "cluster", host=host.ours) as cluster:
        cluster.worker()
        cluster.worker(command=[*host.command, *AGAIN])
        command = [
            *(sys.executable, "-m", "my_submission", "separate", str(album), "--preset", str(preset)),
            *("--device", "cpu", "--precision", "fp32", "--output", str(out)),
            *("--engine", f"{cluster.engine}?silence=2"),
        ]
        client = subprocess.Popen(
            command, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        try:
            journal = out / f".separated-{OTHER}.jsonl"
            wait_for(lambda: journal.is_file() or client.poll() is not None, "a recording of the other host")
            host.cable("down")
            said, _ = client.communicate(timeout=300)
            host.cable("up")
        finally:
            clusters.kill_tree(client.pid)
            client.wait()
    assert client.returncode == 0, said
    assert len(list(out.rglob("*.wav"))) == 8 * len(SHARES)
    assert not list(out.rglob("*.part"))
    assert os.listdir(out / "0") == os.listdir(out / "7")
