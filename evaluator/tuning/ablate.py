"""What each part of an ensemble adds: a preset and its variants on the same tracks, scored as in an evaluation."""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import yaml

from evaluator import text_table
from evaluator.measures import means
from evaluator.measures.means import Scores
from evaluator.running import scoring
from evaluator.running.dataset import Dataset, Track
from evaluator.tables import Table
from evaluator.tuning.estimator import Estimator
from evaluator.tuning.variants import Variant
from sdx.engines.scratch import scratch_folder


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


@dataclass(frozen=True)
class TrackScores:
    """SDR in dB by stem, and what the passes behind them took, whenever they were computed."""

    scores: Scores
    model_seconds: float


@dataclass(frozen=True)
class StemScores:
    """An `estimator.Question`: what the stems that a preset makes score in an evaluation."""

    preset: Path

    def at(self, preset: Path) -> Self:
        return replace(self, preset=preset)

    def answer(self, estimator: Estimator, track: Track) -> TrackScores:
        with scratch_folder() as folder:
            cost = estimator.write_stems(self.preset, track, folder)
            return TrackScores(scoring.score_track(track, folder, ["sdr"])["sdr"], cost.model_seconds)


def ablate(
    estimator: Estimator,
    variants: Sequence[Variant],
    data: Dataset,
    progress: Callable[[Track, Variant], None] = lambda track, variant: None,
) -> list[Row]:
    """Score all variants on all tracks; `progress` is called after each variant of each track.

    Raises EstimatorError.
    """
    with tempfile.TemporaryDirectory(prefix="sdx-variants-") as presets:
        files = [_write(variant, Path(presets) / f"{i}.yaml") for i, variant in enumerate(variants)]
        for file in files:
            estimator.require(file)
        by_track = estimator.answers(
            data, [StemScores(file) for file in files], lambda track, place: progress(track, variants[place])
        )
    audio_seconds = sum(track.seconds for track in data.tracks)
    rows = []
    for variant, own in zip(variants, zip(*by_track, strict=True), strict=True):
        spent = sum(each.model_seconds for each in own)
        rows.append(Row(variant, tuple(each.scores for each in own), spent, audio_seconds))
    return rows


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


def unrounded(rows: Sequence[Row], stems: Sequence[str]) -> Table:
    """The table with the variant's kind and the model seconds, for programs."""
    columns = ("kind", "variant", *stems, "mean", "model_seconds", "audio_seconds")
    cells = []
    for row in rows:
        total = means.total(row.scores, stems)
        numbers = [*(total[stem] for stem in stems), total["mean"], row.model_seconds, row.audio_seconds]
        cells.append((row.variant.kind, row.variant.name, *numbers))
    return Table(columns, tuple(cells))
