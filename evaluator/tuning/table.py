"""The paper's experiment: single models and ensembles on the same tracks, one row each (Solovyev et al., arXiv
2305.07489, tables 1 to 6), with what others published of them beside."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from evaluator import text_table
from evaluator.challenge import of_stems
from evaluator.measures import means
from evaluator.measures.means import MEAN, Scores
from evaluator.running import dataset
from evaluator.running.dataset import Dataset, Track
from evaluator.runs import published
from evaluator.runs.published import PublishedRow, PublishedSet
from evaluator.tables import Table
from evaluator.tuning.ablate import Row, ablate
from evaluator.tuning.estimator import Estimator, EstimatorError, PresetInfo
from evaluator.tuning.variants import Document, Variant, alone

MODEL, PRESET = "model", "preset"


@dataclass(frozen=True)
class Named:
    """A preset to run: its file, its YAML data, and the same as its reader understands it."""

    file: Path
    document: Document
    info: PresetInfo

    @property
    def name(self) -> str:
        return self.file.stem


Wanted = tuple[Variant, tuple[str, ...]]
"""A system under a name of its own, and the stems of it to score."""


@dataclass(frozen=True)
class Line:
    """A row of the table: SDR in dB by stem and "mean", None where it has none; and what computing it took."""

    kind: str
    name: str
    scores: Scores
    model_seconds: float
    audio_seconds: float


def columns(presets: Sequence[Named], path: Path) -> tuple[str, ...]:
    """The stems that a preset makes and the data has, those of the first preset first.

    Raises DataError for a folder without tracks, EstimatorError if a preset makes nothing that the data has.
    """
    there = dataset.contents(path).stems
    for preset in presets:
        if not there & set(preset.info.instruments):
            made = ", ".join(preset.info.instruments)
            raise EstimatorError(
                f"preset {preset.name} makes {made}; {path} has references of {_listed(there)}"
            )
    every = dict.fromkeys(stem for preset in presets for stem in preset.info.instruments)
    return tuple(stem for stem in every if stem in there)


def _listed(stems: Collection[str]) -> str:
    return ", ".join(sorted(stems)) or "no stem"


def systems(presets: Sequence[Named], stems: Sequence[str]) -> list[Wanted]:
    """What to run, and the stems of it to score: every model of the presets by itself, then the presets.

    A model gets the mixture, and makes all of the stems that it can, in the way in which the first preset that names
    it runs it. One that refines others' estimates is nothing by itself; a preset of one model is that model.
    """
    found: list[Wanted] = []
    named = {preset.name for preset in presets}
    for preset in presets:
        steps = preset.info.steps
        places = [(index, place) for index, step in enumerate(steps) for place in range(len(step.members))]
        for index, place in places if len(places) > 1 else ():
            member = steps[index].members[place]
            node = preset.document["steps"][index]["members"][place]
            makes = tuple(stem for stem in stems if stem in member.offers or stem in node.get("sources", {}))
            if "estimates" in node or not makes or member.model in named:
                continue
            named.add(member.model)
            own = {key: preset.document[key] for key in ("manifest",) if key in preset.document}
            document = {**own, "stems": list(makes), "steps": [alone(preset.document, index, place, makes)]}
            found.append((Variant(MODEL, member.model, document), makes))
    for preset in presets:
        made = tuple(stem for stem in stems if stem in preset.info.instruments)
        found.append((Variant(PRESET, preset.name, preset.document), made))
    return found


def run(
    estimator: Estimator,
    wanted: Sequence[Wanted],
    path: Path,
    only: str | None,
    progress: Callable[[Track, Variant], None] = lambda track, variant: None,
) -> list[Line]:
    """Score each on the tracks that have its stems; `progress` is called after each track of each.

    Raises DataError, EstimatorError.
    """
    rows: dict[str, Row] = {}
    for stems in dict.fromkeys(own for _, own in wanted):
        group = [variant for variant, own in wanted if own == stems]
        for row in ablate(estimator, group, load(path, only, stems), progress):
            rows[row.variant.name] = row
    return [_line(rows[variant.name], stems) for variant, stems in wanted]


def load(path: Path, only: str | None, stems: Sequence[str]) -> Dataset:
    """The tracks that have these stems."""
    return dataset.load(path, only, of_stems(stems))


def _line(row: Row, stems: Sequence[str]) -> Line:
    scores = means.total(row.scores, stems)
    return Line(row.variant.kind, row.variant.name, scores, row.model_seconds, row.audio_seconds)


def published_of(names: Collection[str]) -> list[tuple[PublishedSet, PublishedRow]]:
    """What others published of systems: rows of a preset, or of a model by its name."""
    return [(one, row) for one in published.load() for row in one.rows if {row.preset, row.name} & set(names)]


def as_table(
    lines: Sequence[Line], beside: Sequence[tuple[PublishedSet, PublishedRow]], stems: Sequence[str]
) -> list[list[str]]:
    """Header and rows: the name, SDR of every stem, their mean where there are all of them, RTF."""
    cells = [["system", *stems, MEAN, "RTF"]]
    for line in lines:
        rtf = f"{line.model_seconds / line.audio_seconds:.3f}"
        cells.append([line.name, *map(text_table.db, _values(line.scores, stems)), rtf])
    for one, row in beside:
        name = f"{row.preset or row.name}, published: {one.name}"
        cells.append([name, *map(text_table.db, _values(row.scores, stems)), ""])
    return cells


def _values(scores: Scores, stems: Sequence[str]) -> list[float | None]:
    """Of each stem and the mean, which is none where a stem has none."""
    values = [scores.get(stem) for stem in stems]
    return [*values, None if None in values else scores.get(MEAN)]


def notes(beside: Sequence[tuple[PublishedSet, PublishedRow]]) -> list[str]:
    """A sentence for each set of published scores: whose data, which measure."""
    sets = {one.name: one for one, _ in beside}.values()
    return [f"{one.name}: {one.measure}, on {one.data}; not to be compared with our rows" for one in sets]


def unrounded(
    lines: Sequence[Line], beside: Sequence[tuple[PublishedSet, PublishedRow]], stems: Sequence[str]
) -> Table:
    """The table for programs; published rows name their set, its data and its measure."""
    columns = ("kind", "system", *stems, MEAN, "model_seconds", "audio_seconds", "set", "data", "measure")
    rows = []
    for line in lines:
        spent = (line.model_seconds, line.audio_seconds)
        rows.append((line.kind, line.name, *_values(line.scores, stems), *spent, None, None, "global SDR"))
    for one, row in beside:
        said = (one.name, one.data, one.measure)
        rows.append(("published", row.preset or row.name, *_values(row.scores, stems), None, None, *said))
    return Table(columns, tuple(rows))
