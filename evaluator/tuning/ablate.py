"""What each part of an ensemble adds: a preset and its variants on the same tracks, scored as in an evaluation."""

import csv
import io
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from evaluator import printable, text_table
from evaluator.measures import means
from evaluator.measures.means import Scores
from evaluator.running import scoring
from evaluator.running.dataset import Dataset, Track
from evaluator.tuning.estimator import Estimator, scratch_folder
from evaluator.tuning.variants import Variant


@dataclass(frozen=True)
class Row:
    """One variant's result.

    scores: for each track {stem: SDR in dB}. model_seconds: what its passes over all tracks took when they were
    computed. audio_seconds: of all tracks.
    """

    variant: Variant
    scores: tuple[Scores, ...]
    model_seconds: float
    audio_seconds: float

    @property
    def rtf(self) -> float:
        """Seconds of the models per second of audio."""
        return self.model_seconds / self.audio_seconds


def ablate(
    estimator: Estimator,
    variants: Sequence[Variant],
    data: Dataset,
    progress: Callable[[Track, Variant], None] = lambda track, variant: None,
) -> list[Row]:
    """Score all variants on all tracks; `progress` is called after each variant of each track.

    Tracks are the outer loop, so that what variants share has to be kept for one track only.
    Raises EstimatorError.
    """
    scores: list[list[Scores]] = [[] for _ in variants]
    seconds = [0.0] * len(variants)
    with tempfile.TemporaryDirectory(prefix="sdx-variants-") as presets:
        files = [_write(variant, Path(presets) / f"{i}.yaml") for i, variant in enumerate(variants)]
        for file in files:
            estimator.require(file)
        for track in data.tracks:
            for index, (variant, file) in enumerate(zip(variants, files, strict=True)):
                with scratch_folder() as folder:
                    seconds[index] += estimator.write_stems(file, track, folder).model_seconds
                    scores[index].append(scoring.score_track(track, folder, ["sdr"])["sdr"])
                progress(track, variant)
    audio_seconds = sum(track.seconds for track in data.tracks)
    return [
        Row(variant, tuple(own), spent, audio_seconds)
        for variant, own, spent in zip(variants, scores, seconds, strict=True)
    ]


def _write(variant: Variant, file: Path) -> Path:
    file.write_text(yaml.safe_dump(variant.document, sort_keys=False))
    return file


def read_document(preset: Path) -> dict[str, Any]:
    """A preset as YAML data that means the same in any folder; it must have been checked before."""
    document: dict[str, Any] = yaml.safe_load(preset.read_text(encoding="utf-8"))
    if document.get("manifest") is not None:
        document["manifest"] = str((preset.parent / document["manifest"]).resolve())
    return document


def as_table(rows: Sequence[Row], stems: Sequence[str]) -> list[list[str]]:
    """Header and rows: variant, SDR of every stem, mean, difference to the first row's mean, RTF."""
    cells = [["variant", *stems, "mean", "difference", "RTF"]]
    whole = means.total(rows[0].scores, stems)["mean"]
    for row in rows:
        total = means.total(row.scores, stems)
        mean = total["mean"]
        difference = None if row is rows[0] or mean is None or whole is None else mean - whole
        cells.append(
            [
                row.variant.name,
                *(text_table.db(total[stem]) for stem in stems),
                text_table.db(mean),
                text_table.signed_db(difference),
                f"{row.rtf:.3f}",
            ]
        )
    return cells


def as_csv(rows: Sequence[Row], stems: Sequence[str]) -> str:
    """The table as comma-separated values, unrounded, with the variant's kind and the model seconds."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["kind", "variant", *stems, "mean", "model_seconds", "audio_seconds"])
    for row in rows:
        total = means.total(row.scores, stems)
        numbers = [*(total[stem] for stem in stems), total["mean"], row.model_seconds, row.audio_seconds]
        writer.writerow(map(printable.csv_cell, [row.variant.kind, row.variant.name, *numbers]))
    return stream.getvalue()
