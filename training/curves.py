"""Learning curves of a run: two CSV files that grow, and a picture of them."""

import csv
from collections.abc import Mapping
from pathlib import Path

TRAINING_FILE, VALIDATION_FILE, PICTURE_FILE = "training.csv", "validation.csv", "curves.png"

Row = Mapping[str, float]


def append_row(path: Path, row: Row) -> None:
    """Add a row; the first one writes the header."""
    new = not path.exists()
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, list(row))
        if new:
            writer.writeheader()
        writer.writerow({key: f"{value:.6g}" for key, value in row.items()})


def read_rows(path: Path) -> list[dict[str, float]]:
    """The rows of a CSV file of ours; none if it does not exist."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return [{key: float(value) for key, value in row.items()} for row in csv.DictReader(file)]


def drop_rows_after(path: Path, step: int) -> None:
    """Drop what came after the step at which a run resumes."""
    rows = [row for row in read_rows(path) if row["step"] <= step]
    path.unlink(missing_ok=True)
    for row in rows:
        append_row(path, row)


def draw(folder: Path) -> None:
    """Draw loss and validation SDR over steps as `curves.png` beside the CSV files."""
    from matplotlib.figure import Figure  # slow to import, and the other processes of a run never draw

    figure = Figure(figsize=(9, 3.5), layout="constrained")
    loss_axes, sdr_axes = figure.subplots(1, 2)
    training, validation = read_rows(folder / TRAINING_FILE), read_rows(folder / VALIDATION_FILE)
    loss_axes.plot([row["step"] for row in training], [row["loss"] for row in training], linewidth=0.8)
    loss_axes.set(xlabel="step", ylabel="training loss", yscale="log")
    for name in [key for key in (validation[0] if validation else {}) if key not in ("step", "seconds")]:
        sdr_axes.plot([row["step"] for row in validation], [row[name] for row in validation], label=name)
    sdr_axes.set(xlabel="step", ylabel="validation SDR (dB)")
    if validation:
        sdr_axes.legend(fontsize="small")
    figure.savefig(folder / PICTURE_FILE, dpi=110)
