"""The quality checker under load, on loopback: each scenario prints a table.

`python benchmarks/service.py SCENARIO… [--mebibytes 1024] [--people 50] [--kills 50] [--tracks 100] [--seconds 10]`

- upload: one large file comes in by the raw path; its rate, the server's memory, how soon pages answer meanwhile.
- scoring: an entry of many tracks by SDR, against reading its files and the references once.
- people: all upload, look around and have their entries scored at once; everything must be there afterwards.
- kills: server and worker are killed at random meanwhile; nothing may be lost, doubled or left lying about.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.checker import kills, people, scoring, upload


class Seen(Protocol):
    """What a scenario has seen."""

    def rows(self) -> Iterator[tuple[str, str]]:
        """The table."""


def main() -> None:
    """Run the scenarios that are asked for, one after the other."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    scenarios: dict[str, Callable[[argparse.Namespace], Seen]] = {
        "upload": lambda asked: upload.run(asked.mebibytes),
        "scoring": lambda asked: scoring.run(asked.tracks, asked.seconds),
        "people": lambda asked: people.run(asked.people),
        "kills": lambda asked: kills.run(asked.kills),
    }
    parser.add_argument("scenarios", nargs="*", choices=[*scenarios, []], default=[], metavar="SCENARIO")
    parser.add_argument("--mebibytes", type=int, default=1024)
    parser.add_argument("--tracks", type=int, default=100)
    parser.add_argument("--seconds", type=int, default=10, help="of each track")
    parser.add_argument("--people", type=int, default=50)
    parser.add_argument("--kills", type=int, default=50)
    asked = parser.parse_args()
    for name in asked.scenarios or scenarios:
        began = time.monotonic()
        found = list(scenarios[name](asked).rows())
        print(f"{name} ({time.monotonic() - began:.0f} s)")
        for what, value in found:
            print(f"  {what:<32} {value}")


if __name__ == "__main__":
    main()
