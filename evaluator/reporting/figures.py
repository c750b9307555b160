"""Figures for papers: box, strip, SDR over time, score against speed; SVG, PNG or PDF of one and the same figure.

Which dots a strip has, and where, is `charts.strip`, as in the report. Drawn by matplotlib,
which is in the extra papers.
"""

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluator.measures.catalogue import Measure
from evaluator.reporting import charts
from evaluator.reporting.charts import LANES
from evaluator.tables import TableError

SUFFIXES = (".svg", ".png", ".pdf")
COLOURS = ("#1f6fd1", "#c2410c", "#15803d", "#9333ea", "#a16207", "#be185d")  # those of the pages, in light
DASHES = ("-", "--", ":", "-.")  # of lines, which colour alone does not tell apart for all
LABEL_CHARACTERS = 32
WIDTH_INCHES = 7.0  # of a page of a paper
PNG_DOTS_PER_INCH = 200
SETTINGS = {
    "text.parse_math": False,  # a name may have a dollar sign
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "sdx",  # the same figure is the same file
    "pdf.fonttype": 42,
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#dfe1e5",
}
Scores = Mapping[str, Mapping[str, float]]
"""{stem or "mean": {track: value}} of a run."""


@dataclass(frozen=True)
class Named:
    """A run as it is drawn. rtf: seconds that it took per second of audio, or None; interval: of its mean."""

    label: str
    scores: Scores
    rtf: float | None
    mean: float | None
    interval: tuple[float, float] | None


def require_matplotlib() -> None:
    """TableError where it is not installed."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise TableError(
            "figures need the package matplotlib, which the extra papers installs: pip install 'sdx23-kit[papers]', "
            "or from a checkout pip install '.[papers]'"
        ) from None


def box(runs: Sequence[Named], measure: Measure, path: Path) -> None:
    """A box for each run and stem: median, quartiles, whiskers to 1.5 of their distance, and what lies beyond."""
    with _panels(runs, measure, path) as panels:
        for stem, axes in panels.items():
            values = [[*run.scores[stem].values()] for run in runs]
            drawn = axes.boxplot(
                values, orientation="horizontal", widths=0.6, patch_artist=True, positions=range(len(runs)),
                medianprops={"color": "black"}, flierprops={"markersize": 3},
            )  # fmt: skip
            for at, patch in enumerate(drawn["boxes"]):
                patch.set_facecolor(COLOURS[at % len(COLOURS)])
                patch.set_alpha(0.55)


def strip(runs: Sequence[Named], measure: Measure, path: Path) -> None:
    """A dot for each track, and a bar at the median, as in the report."""
    with _panels(runs, measure, path) as panels:
        for stem, axes in panels.items():
            for at, run in enumerate(runs):
                scores = [(i, track, value) for i, (track, value) in enumerate(run.scores[stem].items())]
                if not scores:
                    continue
                found = charts.strip(stem, scores)
                heights = [at + 0.6 * (dot.lane / (LANES - 1) - 0.5) for dot in found.dots]
                axes.scatter(
                    [dot.value for dot in found.dots], heights, s=12, alpha=0.75, linewidths=0,
                    color=COLOURS[at % len(COLOURS)],
                )  # fmt: skip
                axes.plot([found.median] * 2, [at - 0.38, at + 0.38], color="black", linewidth=2)


def speed(runs: Sequence[Named], measure: Measure, path: Path) -> None:
    """The score of each run, with its interval, against the compute seconds per second of audio."""
    with _figure(path, WIDTH_INCHES * 0.8, 3.6) as figure:
        axes = figure.subplots()
        for at, run in enumerate(runs):
            if run.rtf is None or run.mean is None:
                continue
            low, high = run.interval or (run.mean, run.mean)
            axes.errorbar(
                [run.rtf], [run.mean], yerr=[[run.mean - low], [high - run.mean]], fmt="o", capsize=3,
                color=COLOURS[at % len(COLOURS)],
            )  # fmt: skip
            is_right = run.rtf > 0.5 * max(other.rtf or 0.0 for other in runs)
            axes.annotate(
                run.label, (run.rtf, run.mean), xytext=(-7 if is_right else 7, 4), textcoords="offset points",
                ha="right" if is_right else "left",
            )  # fmt: skip
        axes.set_xlabel("compute seconds per second of audio (RTF)")
        axes.set_ylabel(_axis_words("mean", measure))
        axes.set_xlim(left=0)
        axes.margins(x=0.15, y=0.15)


def over_time(track: str, runs: Mapping[str, Mapping[str, Sequence[float | None]]], path: Path) -> None:
    """Global SDR within each second of a track: {run: {stem: dB, None where the reference is silent}}."""
    stems = list(dict.fromkeys(stem for lines in runs.values() for stem in lines))
    with _figure(path, WIDTH_INCHES, 0.5 + 1.5 * len(stems)) as figure:
        panels = figure.subplots(len(stems), 1, sharex=True, squeeze=False)[:, 0]
        for stem, axes in zip(stems, panels, strict=True):
            for at, lines in enumerate(runs.values()):
                values = [float("nan") if value is None else value for value in lines.get(stem, ())]
                # A step for each second, as in the report.
                axes.step(
                    range(len(values) + 1), [*values, *values[-1:]] or [float("nan")], where="post",
                    color=COLOURS[at % len(COLOURS)], linestyle=DASHES[at % len(DASHES)], linewidth=1.4,
                )  # fmt: skip
            axes.set_ylabel(f"{stem}\nSDR (dB)")
        panels[-1].set_xlabel("seconds")
        figure.suptitle(track)
        if len(runs) > 1:
            names = [label if label[0] != "_" else f"\u2009{label}" for label in runs]  # which would hide it
            figure.legend(panels[0].get_lines(), names, loc="outside lower center", ncols=min(len(names), 3))


@contextmanager
def _panels(runs: Sequence[Named], measure: Measure, path: Path) -> Iterator[dict[str, Any]]:
    """{stem: axes}, one beside the other on one scale, with a line of its own for each run."""
    stems = list(dict.fromkeys(stem for run in runs for stem in run.scores))
    columns = min(len(stems), 3)
    lines = -(-len(stems) // columns)
    with _figure(path, WIDTH_INCHES, lines * (0.9 + 0.32 * len(runs)) + 0.3) as figure:
        grid = figure.subplots(lines, columns, sharex=True, sharey=True, squeeze=False).ravel()
        panels = dict(zip(stems, grid, strict=False))
        yield panels
        for stem, axes in panels.items():
            axes.set_title(stem, fontsize=9)
            axes.set_yticks(range(len(runs)), [run.label for run in runs])
            axes.set_ylim(len(runs) - 0.4, -0.6)
            axes.grid(axis="y", visible=False)
            axes.tick_params(labelbottom=True)
        for axes in grid[len(stems) :]:
            axes.set_visible(False)
        figure.supxlabel(_axis_words("", measure), fontsize=9)


def _axis_words(which: str, measure: Measure) -> str:
    name = "SDR" if measure.name == "sdr" else measure.name
    unit = " (dB)" if measure.unit == "dB" else ""
    return f"{which} {name}{unit}".strip()


@contextmanager
def _figure(path: Path, width: float, height: float) -> Iterator[Any]:
    """A figure in inches, written to `path`, whose ending says the kind, at the end."""
    require_matplotlib()
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    logging.getLogger("fontTools").setLevel(logging.WARNING)  # which tells of every glyph of a PDF
    with rc_context(SETTINGS), warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message="Glyph .* missing from"
        )  # boxes in a picture, text in an SVG
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure
        metadata = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(path.suffix)
        figure.savefig(path, dpi=PNG_DOTS_PER_INCH, metadata=metadata)
