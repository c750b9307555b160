"""One run as one self-contained HTML page: verdict, scores, tracks, sound and pictures, provenance."""

import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from evaluator.challenge import CHALLENGES
from evaluator.reporting import charts, pages, track_details
from evaluator.reporting.charts import Axis, Strip
from evaluator.running import dataset
from evaluator.running.dataset import DataError, Track
from evaluator.runs import (
    baseline,
    leaderboard_view,
    published,
    reproduction,
    results,
    run_folder,
    run_scores,
)
from evaluator.runs.leaderboard import Entry
from evaluator.runs.run_scores import MEAN, RunScores

INLINE_BYTES = 32 << 20  # audio up to this size (base64) is put into the page, more goes beside it
LOG_CHARACTERS = 20_000  # of a log, the last ones
SETUP = ""  # stands for the log of loading, which no track is named like

Progress = Callable[[], object]  # called after each track


@dataclass(frozen=True)
class Sources:
    """What a page is made from. `tracks` are None where the data or the estimates are not at hand: `missing`."""

    entry: Entry
    baseline: RunScores | None
    tolerance_db: float
    tracks: tuple[Track, ...] | None
    missing: str | None


def gather(
    entry: Entry, before: RunScores | None, tolerance_db: float, loaded: Sequence[Track] | None = None
) -> Sources:
    """Find the data and the estimates of a run; `loaded` are its tracks where they are at hand already.

    Raises ResultError where the baseline is of other data.
    """
    if before is not None:
        run_scores.require_same_data(before, run_scores.from_json(entry.result, "the run"))
    if not any(track["status"] == "ok" for track in entry.result["tracks"]):
        return Sources(entry, before, tolerance_db, None, "no track worked")
    if entry.folder is None or not (Path(entry.folder) / "estimates").is_dir():
        return Sources(
            entry,
            before,
            tolerance_db,
            None,
            "its estimates were not kept; run it with --report, or with --out",
        )
    if loaded is not None:
        return Sources(entry, before, tolerance_db, tuple(loaded), None)
    try:
        return Sources(entry, before, tolerance_db, _tracks(entry.result), None)
    except DataError as error:
        return Sources(entry, before, tolerance_db, None, f"its data is not at hand: {error.problems[0]}")


def _tracks(result: Mapping[str, Any]) -> tuple[Track, ...]:
    """The tracks of the run; DataError where the folder is gone or its content is not what it was."""
    path = Path(result["data"]["path"])
    names = {track["name"] for track in result["tracks"]}
    tracks = tuple(track for track in dataset.load(path).tracks if track.name in names)
    if dataset.content_hash(tracks) != result["data"]["hash"]:
        raise DataError([f"{path}: changed since the run"])
    return tracks


def write(page: Path, sources: Sources, audio: bool = True, progress: Progress = lambda: None) -> None:
    """Write the page, and where its audio is large, the audio into a folder beside it."""
    page.parent.mkdir(parents=True, exist_ok=True)
    folder = run_folder.audio_of(page)
    shutil.rmtree(folder, ignore_errors=True)
    details = collect_details(sources, folder if audio else None, progress)
    html = render(sources, details, folder.name)
    temporary = page.with_name(f".{page.name}.{os.getpid()}")
    temporary.write_text(html, encoding="utf-8")
    temporary.replace(page)


def render(sources: Sources, details: Mapping[str, Mapping[str, Any]], audio_folder_name: str) -> str:
    """The page's text, with details by track name; audio that is not in them is looked for in that folder."""
    return pages.render("report.html.j2", **_context(sources, details, audio_folder_name))


def collect_details(
    sources: Sources, folder: Path | None, progress: Progress = lambda: None
) -> dict[str, dict[str, Any]]:
    """Details by track name, of the tracks that worked; audio goes into `folder`, or into the details if small."""
    if sources.tracks is None:
        return {}
    if folder is not None:
        folder.mkdir()
    assert sources.entry.folder is not None
    estimates = Path(sources.entry.folder) / "estimates"
    worked = {track["name"] for track in sources.entry.result["tracks"] if track["status"] == "ok"}
    requests = [
        track_details.Request(track, estimates / track.folder, folder, f"{index:03d}")
        for index, track in enumerate(sources.tracks)
        if track.name in worked and (estimates / track.folder).is_dir()
    ]
    details = {}
    for request, described in zip(requests, _describe(requests), strict=True):
        details[request.track.name] = described
        progress()
    if folder is not None and sum(file.stat().st_size for file in folder.iterdir()) <= INLINE_BYTES:
        details = {name: track_details.inline(described, folder) for name, described in details.items()}
        shutil.rmtree(folder)
    return details


def _describe(requests: Sequence[track_details.Request]) -> Iterator[dict[str, Any]]:
    """The details in the order of the requests, several tracks at once."""
    workers = min(len(requests), os.cpu_count() or 1)
    if workers < 2:
        yield from map(track_details.describe, requests)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield from pool.map(track_details.describe, requests)


# What the template shows


@dataclass(frozen=True)
class Verdict:
    """Whether the submission would have passed; `kind` is good, bad or unsure."""

    kind: str
    headline: str
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class ScoreRow:
    """One row of the table of scores; `signed` for differences."""

    name: str
    values: Mapping[str, float | None]
    signed: bool = False


@dataclass(frozen=True)
class TrackRow:
    """One track of the run, as its JSON has it, with what else the page shows."""

    item: Mapping[str, Any]
    ratio: float | None  # of the seconds it took to those it may take
    difference: float | None  # of its mean to the baseline's, dB
    log: str | None
    details: Mapping[str, Any] | None


def _context(
    sources: Sources, details: Mapping[str, Mapping[str, Any]], audio_folder_name: str
) -> dict[str, Any]:
    entry, result = sources.entry, sources.entry.result
    found = None
    if sources.baseline is not None:
        found = baseline.check(
            sources.baseline, run_scores.from_json(result, "this run"), sources.tolerance_db
        )
    stems = CHALLENGES[result["track"]].stems
    axis, strips = _strips(result, stems)
    return {
        "entry": entry,
        "result": result,
        "stems": stems,
        "measures": (MEAN, *stems),
        "verdict": verdict(result),
        "check": found,
        "check_text": None if found is None else baseline.describe(found),
        "scores": _score_rows(result, sources.baseline, stems),
        "published": published.of_track(result["track"]),
        "axis": axis,
        "strips": strips,
        "tracks": [_track_row(track, sources, details) for track in result["tracks"]],
        "missing": sources.missing,
        "setup_log": _log(entry, SETUP),
        "weights": leaderboard_view.weights_lines(result),
        "limits": leaderboard_view.limits_words(result["limits"]),
        "jobs": results.jobs_of(result),
        "tracks_words": leaderboard_view.tracks_words(result["data"]),
        "machine": leaderboard_view.machine_words(result["machine"]),
        "gaps": (result["isolation"] or {}).get("not_in_force", []),
        "commands": reproduction.commands(result),
        "short_id": leaderboard_view.short_id(entry),
        "commit": leaderboard_view.commit(entry),
        "audio_folder": audio_folder_name,
    }


def verdict(result: Mapping[str, Any]) -> Verdict:
    """What the run says of a submission to the organisers."""
    passing = results.would_pass(result)
    failed = [track for track in result["tracks"] if track["status"] != "ok"]
    number = result["data"]["number"]
    reasons = [f"{track['name']}: {track['status']}, {track['reason']}" for track in failed]
    late = [track for track in result["tracks"] if results.is_late(track)]
    reasons += [
        f"{track['name']}: late, {track['seconds']:.1f} of {track['limit_seconds']:.1f} s" for track in late
    ]
    if passing == "yes":
        return Verdict("good", "This submission would have passed", ())
    if passing == "no":
        tracks = f"{len(failed) + len(late)} of {number} tracks {'failed or were late' if late else 'failed'}"
        return Verdict("bad", f"This submission would not have passed: {tracks}", tuple(reasons))
    if result["status"] == "incomplete":
        return Verdict(
            "unsure", f"Not finished: {len(result['tracks'])} of {number} tracks were run", tuple(reasons)
        )
    if result["status"] == "ok":
        text = (
            "All tracks worked, but under looser limits than the organisers', so this says nothing of passing"
        )
        return Verdict("unsure", text, ())
    counts = f"{len(failed)} of {number} tracks failed"
    if (jobs := results.jobs_of(result)) > 1:
        text = f"{counts} while {jobs} at a time shared the machine, so they might pass alone"
    else:
        text = f"{counts} under stricter limits than the organisers', so they might pass"
    return Verdict("unsure", text, tuple(reasons))


def _score_rows(result: Mapping[str, Any], before: RunScores | None, stems: Sequence[str]) -> list[ScoreRow]:
    """This run; with a baseline also that, and the difference, over the tracks that worked in both."""
    worked = result["worked"]
    name = "this run"
    if result["status"] != "ok":
        name += f", the {worked['tracks']} of {result['data']['number']} tracks that worked"
    rows = [ScoreRow(name, {stem: worked[stem] for stem in (MEAN, *stems)})]
    if before is None:
        return rows
    run = run_scores.from_json(result, "this run")
    names = run_scores.common(before, run)
    means = {
        stem: (run_scores.mean_over(before, names, stem), run_scores.mean_over(run, names, stem))
        for stem in run.measures
    }
    rows.append(
        ScoreRow(f"baseline {Path(before.label).name}", {stem: old for stem, (old, _) in means.items()})
    )
    change = {stem: None if old is None or new is None else new - old for stem, (old, new) in means.items()}
    return [*rows, ScoreRow("difference", change, signed=True)]


def _strips(result: Mapping[str, Any], stems: Sequence[str]) -> tuple[Axis | None, list[Strip]]:
    """The strip plot; no axis where no track has a score."""
    worked = [(index, track) for index, track in enumerate(result["tracks"]) if track["status"] == "ok"]
    if not worked:
        return None, []
    values = [track["sdr"][stem] for _, track in worked for stem in stems]
    strips = [charts.strip(MEAN, [(index, track["name"], track["mean"]) for index, track in worked])]
    strips += [
        charts.strip(stem, [(index, track["name"], track["sdr"][stem]) for index, track in worked])
        for stem in stems
    ]
    return charts.axis(values), strips


def _track_row(
    track: Mapping[str, Any], sources: Sources, details: Mapping[str, Mapping[str, Any]]
) -> TrackRow:
    limit, seconds = track["limit_seconds"], track["seconds"]
    old = None if sources.baseline is None else sources.baseline.tracks.get(track["name"])
    difference = None
    if old is not None and old.sdr and track["mean"] is not None:
        difference = track["mean"] - old.value(MEAN)
    return TrackRow(
        item=track,
        ratio=None if limit is None or seconds is None else seconds / limit,
        difference=difference,
        log=_log(sources.entry, track["name"].replace("/", "__")),
        details={**found, "scores": track["sdr"]} if (found := details.get(track["name"])) else None,
    )


def _log(entry: Entry, name: str) -> str | None:
    """The end of what the submission printed; None where it is not at hand."""
    if entry.folder is None:
        return None
    folder = Path(entry.folder)
    file = run_folder.setup_log(folder) if name == SETUP else run_folder.track_log(folder, name)
    if not file.is_file():
        return None
    text = file.read_text(encoding="utf-8", errors="backslashreplace")
    cut = len(text) - LOG_CHARACTERS
    return text if cut <= 0 else f"[… {cut} characters before this are in {file}]\n{text[cut:]}"
