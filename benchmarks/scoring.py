"""The cost of scoring, compared with reading, and how much it takes from a submission meanwhile.

`python benchmarks/scoring.py [--seconds 240] [--repeats 5] [--measures]`

Times, on one made-up track of four stereo stems: only reading references and estimates; scoring them block by block,
as the evaluator does; and the usual way, all in memory with numpy. The last column is CPU time over the track's
duration: the most that scoring could take from a submission that uses every core, out of the 1.57 s per second that
it has on each. With --measures it times each of the others, too, and the package museval.
"""

import argparse
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import soundfile

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from evaluator.challenge import MUSIC
from evaluator.measures import published
from evaluator.measures.catalogue import MEASURES
from evaluator.running import dataset, parts, scoring
from evaluator.running.dataset import Track

RATE_HZ = 44100


def write_track(root: Path, seconds: int) -> tuple[Track, Path]:
    """A track of noise and estimates of it that are 20 dB off."""
    random = np.random.default_rng(0)
    for folder in (root / "data" / "track", root / "estimates"):
        folder.mkdir(parents=True)
    for stem in MUSIC.stems:
        reference = random.standard_normal((seconds * RATE_HZ, 2), dtype=np.float32) * 0.05
        error = random.standard_normal((seconds * RATE_HZ, 2), dtype=np.float32) * 0.005
        soundfile.write(root / "data" / "track" / f"{stem}.wav", reference, RATE_HZ)
        soundfile.write(root / "estimates" / f"{stem}.wav", reference + error, RATE_HZ)
    soundfile.write(root / "data" / "track" / "mixture.wav", reference, RATE_HZ)
    return dataset.load(root / "data").tracks[0], root / "estimates"


def read_only(track: Track, estimates: Path) -> None:
    """Read every file in blocks."""
    for stem, reference in track.references.items():
        for path in (reference, estimates / f"{stem}.wav"):
            for _ in parts.blocks(path):
                pass


def all_in_memory(track: Track, estimates: Path) -> None:
    """The organisers' way: whole files as float64, stacked, cast, squared."""
    references = np.stack([soundfile.read(path)[0] for path in track.references.values()])
    guesses = np.stack([soundfile.read(estimates / f"{stem}.wav")[0] for stem in track.references])
    references, guesses = references.astype(np.float32), guesses.astype(np.float32)
    power = np.square(references).sum(axis=(1, 2)) + 1e-7
    10 * np.log10(power / (np.square(references - guesses).sum(axis=(1, 2)) + 1e-7))


def museval_of(track: Track, estimates: Path) -> None:
    """BSS Eval v4 by its own package, in memory."""
    from museval.metrics import bss_eval

    signals = (track.references.values(), [estimates / f"{stem}.wav" for stem in track.references])
    references, guesses = (np.stack([soundfile.read(path)[0] for path in paths]) for paths in signals)
    bss_eval(
        references,
        guesses,
        window=RATE_HZ,
        hop=RATE_HZ,
        compute_permutation=False,
        framewise_filters=False,
        bsseval_sources_version=False,
    )


def median_seconds(work: Callable[[], object], repeats: int) -> tuple[float, float]:
    """Median wall and CPU time of `work`, after one run that warms the file cache."""
    work()
    wall, cpu = [], []
    for _ in range(repeats):
        started = time.perf_counter(), time.process_time()
        work()
        wall.append(time.perf_counter() - started[0])
        cpu.append(time.process_time() - started[1])
    return statistics.median(wall), statistics.median(cpu)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=int, default=240)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--measures", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        track, estimates = write_track(Path(folder), options.seconds)
        cases: dict[str, Callable[[], object]] = {
            "read, do nothing": lambda: read_only(track, estimates),
            "sdr": lambda: scoring.score_track(track, estimates, ["sdr"]),
            "sdr and si_sdr": lambda: scoring.score_track(track, estimates, ["sdr", "si_sdr"]),
            "all in memory": lambda: all_in_memory(track, estimates),
        }
        if options.measures:
            for name in scoring.costly([*MEASURES]):
                cases[name] = partial(scoring.costly_scores, track, estimates, [name])
            cases["all but BSS Eval"] = lambda: (
                scoring.score_track(track, estimates, [*scoring.ENERGY_METRICS]),
                scoring.costly_scores(track, estimates, published.NAMES),
            )
            cases["all of BSS Eval"] = lambda: scoring.costly_scores(track, estimates, [*scoring.BSS_EVAL])
            cases["museval"] = lambda: museval_of(track, estimates)
        baseline = 0.0
        print(f"{track.seconds:.0f} s, {len(track.references)} stereo stems, {options.repeats} repeats")
        for name, work in cases.items():
            seconds, cpu_seconds = median_seconds(work, options.repeats)
            baseline = baseline or cpu_seconds  # a busy machine makes wall time say little
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(
                f"{name:18s} {seconds:7.3f} s, CPU {cpu_seconds:7.3f} s: {cpu_seconds / baseline:5.2f} × reading, "
                f"{1000 * cpu_seconds / track.seconds:5.2f} ms a second of audio; peak so far {peak:6.0f} MB"
            )


if __name__ == "__main__":
    main()
