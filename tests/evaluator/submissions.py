"""Submissions that behave and misbehave, written as folders in the starter kit's layout.

All of them return a quarter of the mixture for every stem, which is the truth in the data of `audio.py`, and
do what their name says on the track that has TRAP_FRAMES samples.
"""

from pathlib import Path
from textwrap import dedent, indent

TRAP_FRAMES = 22050

TEMPLATE = '''\
"""A submission for the tests."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np


class MySeparationModel:
    instruments = ["bass", "drums", "other", "vocals"]

    def __init__(self):
        pass
{construct}

    def separate_music_file(self, mixed_sound_array, sample_rate):
        arrays = {{stem: mixed_sound_array / 4 for stem in self.instruments}}
        rates = dict.fromkeys(self.instruments, sample_rate)
        if len(mixed_sound_array) == {trap_frames}:
            pass
{separate}
        return arrays, rates
'''

# A descendant that does what it can to stay: a session of its own, its parent gone, deaf to SIGTERM.
DAEMON = """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.execvp("sleep", ["sleep", os.environ["SDX_TEST_MARKER"]])
        os._exit(0)
    time.sleep(3600)
"""

# Writes more than fits, and carries on as if nothing had happened.
FILL = """
def fill(place, deep=0):
    here = os.open(place, os.O_RDONLY)
    for _ in range(deep):
        os.mkdir("a", dir_fd=here)
        here, above = os.open("a", os.O_RDONLY, dir_fd=here), here
        os.close(above)
    file = os.open("large", os.O_WRONLY | os.O_CREAT, dir_fd=here)
    try:
        for _ in range(64):
            os.write(file, bytes(1 << 20))
    except OSError:
        pass
    if deep:
        time.sleep(1)  # it is looked at from time to time

"""

SEPARATE = {
    "perfect": "",
    "scaled_mixture": "arrays = {stem: array / 2 for stem, array in arrays.items()}",
    "sleeps": "time.sleep(3600)",
    "sleeps_in_a_grandchild": DAEMON,
    "allocates_without_end": """
        hoard = []
        while True:
            hoard.append(os.urandom(1 << 20) * 16)
    """,
    "allocates_in_a_child": """
        subprocess.run([sys.executable, "-c", "x = []\\nwhile True: x.append(b'x' * (1 << 24))"])
    """,
    "forks_a_lot": """
        for _ in range(100):
            if os.fork() == 0:
                os.setsid()
                os.execvp("sleep", ["sleep", os.environ["SDX_TEST_MARKER"]])
    """,
    "exits": "os._exit(7)",
    "calls_exit": "sys.exit(0)",
    "raises": "raise RuntimeError('no such luck')",
    "segfaults": "os.kill(os.getpid(), signal.SIGSEGV)",
    "prints_a_gigabyte": """
        line = b"x" * (1 << 20)
        for _ in range(1 << 10):
            os.write(1, line)
        print("the last line")
    """,
    "nan": "arrays['bass'] = arrays['bass'].copy(); arrays['bass'][5, 1] = np.nan",
    "wrong_length_rate_and_channels": """
        arrays['bass'] = arrays['bass'][:-1]
        rates['drums'] = 48000
        arrays['other'] = arrays['other'][:, :1]
    """,
    "missing_stem": "del arrays['vocals']",
    "extra_stem": "arrays['guitar'] = arrays['bass']",
    "fills_its_scratch": f"{FILL}fill(os.environ['TMPDIR'])",
    "fills_its_shared_memory": f"{FILL}fill('/dev/shm')",
    "fills_its_predictions": f"{FILL}fill(os.environ['AICROWD_PUBLIC_SHARED_DIR'] + '/predictions')",
    "hides_what_it_writes": f"{FILL}fill(os.environ['TMPDIR'], deep=3000)",
    "opens_a_socket": """
        try:
            socket.create_connection(("127.0.0.1", int(os.environ["SDX_TEST_PORT"])), 2).close()
        except OSError:
            with socket.create_server(("127.0.0.1", 0)) as server:  # its own loopback works, as in a container
                socket.create_connection(server.getsockname(), 2).close()
        else:
            raise RuntimeError("the network is there")
    """,
    "looks_for_references": """
        here = Path(__file__).with_name("where.txt").read_text()
        seen = [path for path in Path(here).rglob("*") if path.suffix in (".wav", ".flac")]
        seen = [path for path in seen if not path.name.startswith("mixture") or not path.is_relative_to(
            os.environ["AICROWD_DATASET_DIR"])]
        leaks = [name for name, value in os.environ.items() if here + "/data" in value]
        for process in Path("/proc").iterdir():
            if process.name.isdigit() and (here + "/data").encode() in (process / "cmdline").read_bytes():
                leaks.append(process.name)
        if seen or leaks:
            raise RuntimeError(f"found {seen} {leaks}")
    """,
}
CONSTRUCT = {
    "never_constructs": "time.sleep(3600)",
    "raises_at_construction": "raise FileNotFoundError('weights.th is missing')",
    "exits_at_import": "",
}

# A wrapper of the submission's own that writes the estimates elsewhere and leaves links to them.
WRITES_ELSEWHERE = """\
import os

import soundfile
from my_submission.user_config import MySeparationModel


class AIcrowdWrapper:
    def __init__(self, dataset_dir, predictions_dir):
        self.model, self.mixtures, self.predictions = MySeparationModel(), dataset_dir, predictions_dir

    def separate_music_file(self, name):
        mixture, rate = soundfile.read(f"{self.mixtures}/{name}/mixture.wav")
        arrays, _ = self.model.separate_music_file(mixture, rate)
        os.makedirs(f"{self.predictions}/{name}")
        for stem, array in arrays.items():
            path = f"{self.predictions}/{name}/{stem}.wav"
            if len(mixture) == TRAP_FRAMES:
                soundfile.write(f"{os.environ['TMPDIR']}/{stem}.wav", array, rate)
                os.symlink(f"{os.environ['TMPDIR']}/{stem}.wav", path)
            else:
                soundfile.write(path, array, rate)
"""


def write_submission(folder: Path, name: str) -> Path:
    """Write the submission `name` below `folder` and return its own folder."""
    package = folder / name / "my_submission"
    package.mkdir(parents=True)
    body = TEMPLATE.format(
        trap_frames=TRAP_FRAMES,
        construct=indent(dedent(CONSTRUCT.get(name, "")), " " * 8),
        separate=indent(dedent(SEPARATE.get(name, "")), " " * 12),
    )
    if name == "exits_at_import":
        body += "\nos._exit(3)\n"
    (package / "user_config.py").write_text(body)
    if name == "writes_elsewhere":
        wrapper = WRITES_ELSEWHERE.replace("TRAP_FRAMES", str(TRAP_FRAMES))
        (package / "aicrowd_wrapper.py").write_text(wrapper)
    return folder / name
