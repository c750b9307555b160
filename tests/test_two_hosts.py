"""The commands that take `--engine`, over two hosts and TLS.

Each gives what it gives without an engine, and both hosts have had a part in it.
"""

import csv
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

from evaluator.locations import REPOSITORY
from evaluator.runs import results
from evaluator.runs.run_folder import RESULT_FILE
from evaluator.tuning.worker_side import CACHE_VARIABLE
from sdx.engines.address import Tls
from tests.evaluator import audio
from tests.evaluator.small_ensemble import write_ensemble, write_tracks
from tests.my_submission.files_model import SHARES, write_tiny_preset
from tests.sdx.engines import clusters
from tests.sdx.engines.clusters import Cluster
from tests.sdx.engines.hosts import OTHER, OtherHost, other_host

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
