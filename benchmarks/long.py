"""Peak memory of a long recording: `python benchmarks/long.py [--minutes 60] [--preset mdx-demo] [--fast]`.

Separates a demo track, repeated many times, from file to files in a process of its own. Prints the memory of the
process once the models are loaded, its peak, and the time.
"""

import argparse
import math
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import soundfile

ROOT = Path(__file__).resolve().parent.parent
TRACK = ROOT / "local_data" / "demo" / "music" / "song_1" / "mixture.flac"
CHILD = """
import resource, sys
from my_submission import separate_file
from my_submission.files.model import ModelChoice, open_model
from my_submission.files.options import FileOptions

def peak_bytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

model = open_model(ModelChoice(sys.argv[3], fast=sys.argv[4] == "fast"))
loaded = peak_bytes()
separate_file(sys.argv[1], sys.argv[2], model=model, options=FileOptions(format="flac", clipping="scale"))
print(loaded, peak_bytes())
"""


def lengthen(track: Path, minutes: float, target: Path) -> float:
    """Write a track repeatedly; return the length in seconds."""
    signal, rate = soundfile.read(track, dtype="float32", always_2d=True)
    times = math.ceil(minutes * 60 * rate / len(signal))
    with soundfile.SoundFile(target, "w", rate, signal.shape[1], "PCM_16") as file:
        for _ in range(times):
            file.write(np.ascontiguousarray(signal))
    return float(times * len(signal) / rate)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--preset", default="mdx-demo", choices=["mdx-demo", "cdx-demo"])
    parser.add_argument("--fast", action="store_true", help="take all the preset's economies")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "long.flac"
        seconds = lengthen(TRACK, arguments.minutes, source)
        began = time.perf_counter()
        done = subprocess.run(
            [
                sys.executable, "-c", CHILD, source, Path(folder) / "stems", arguments.preset,
                "fast" if arguments.fast else "full",
            ],
            cwd=ROOT, capture_output=True, text=True, check=True,
        )  # fmt: skip
        took = time.perf_counter() - began
    loaded, peak = (int(number) / 2**30 for number in done.stdout.split()[-2:])
    print(f"{arguments.preset}, {seconds / 60:.0f} min of audio in {took:.0f} s (RTF {took / seconds:.2f}): "
          f"{loaded:.2f} GiB with the models loaded, at most {peak:.2f} GiB")  # fmt: skip


if __name__ == "__main__":
    main()
