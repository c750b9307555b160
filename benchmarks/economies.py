"""Scores under shorter and shorter time limits: what a preset's economies cost on this machine, by run_eval.py's
clock.

Each factor is one run of `run_eval.py --fit --time-factor`; the table is Markdown.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


def evaluate(preset: str, only: str, factor: float, folder: Path) -> dict[str, Any]:
    """The JSON result of one run."""
    result = folder / f"{factor}.json"
    command = [
        sys.executable,
        "run_eval.py",
        "--preset",
        preset,
        "--only",
        only,
        "--fit",
        "--json",
        str(result),
    ]
    subprocess.run([*command, "--time-factor", str(factor)], cwd=ROOT, check=False, stdout=subprocess.DEVNULL)
    item: dict[str, Any] = json.loads(result.read_text())
    return item


def row(factor: float, item: dict[str, Any]) -> str:
    """One line of the table."""
    tracks = item["tracks"]
    # On the demo, late tracks are waited for and scored.
    late = sum(track["status"] != "ok" or track["seconds"] > track["limit_seconds"] for track in tracks)
    taken = sorted(len(track["economies"]) for track in tracks)
    used = [track["seconds"] / track["audio_seconds"] for track in tracks if track["seconds"] is not None]
    score = item["worked"]["mean"]
    return (
        f"| {factor:g} | {taken[0]}–{taken[-1]} | {sum(used) / len(used):.2f} | {late} of {len(tracks)} "
        f"| {'-' if score is None else f'{score:.3f}'} |"
    )


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--preset", default="mdx-demo", help="default: %(default)s")
    parser.add_argument("--only", default="*", metavar="GLOB", help="tracks of the demo (default: all)")
    parser.add_argument("--factors", default="1.57,0.5,0.35,0.25,0.15,0.05", help="default: %(default)s")
    options = parser.parse_args()
    print(
        "| factor | economies | seconds per second of audio | late | SDR, dB |\n|---|---|---|---|---|",
        flush=True,
    )
    with tempfile.TemporaryDirectory() as folder:
        for text in options.factors.split(","):
            item = evaluate(options.preset, options.only, float(text), Path(folder))
            print(row(float(text), item), flush=True)


if __name__ == "__main__":
    main()
