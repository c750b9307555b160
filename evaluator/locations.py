"""Where this kit's files lie, and where runs are kept."""

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
DEMO = REPOSITORY / "local_data" / "demo"
RUNS = REPOSITORY / "runs"
