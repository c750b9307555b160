"""One run as one self-contained HTML page: verdict, scores, tracks, sound and pictures, provenance."""

import json
import logging
import os
import re
import shutil
from base64 import b64encode
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from evaluator import printable, regular_files
from evaluator.challenge import of_name
from evaluator.measures import means
from evaluator.measures.catalogue import MEASURES
from evaluator.measures.means import MEAN
from evaluator.reporting import charts, pages, paper_tables, run_words, track_details
from evaluator.reporting.charts import Axis, Strip
from evaluator.reporting.display import DIFFERS, left_out, nothing_to_pass
from evaluator.running import dataset
from evaluator.running.dataset import DataError, Track
from evaluator.runs import baseline, groups, published, reproduction, run_folder, run_scores
from evaluator.runs.documents import SDR, ResultError
from evaluator.runs.entries import Entry
from evaluator.runs.passing import would_pass
from evaluator.runs.records import TrackResult
from evaluator.runs.results import Result
from evaluator.runs.run_scores import RunScores

LOG = logging.getLogger(__name__)

INLINE_BYTES = 32 << 20  # sound and pictures, as text, up to this size are in the page, more goes beside it
OURS = re.compile(r"\d{3,}(-.+)?\.js(\.ogg)?")  # what is in that folder, when it is done and before
LOG_BYTES = 16 << 20  # of a log that is read at all
LOG_CHARACTERS = 20_000  # of a log, the last ones
SETUP = ""  # stands for the log of loading, which no track is named like

Progress = Callable[[], object]  # called after each track


@dataclass(frozen=True)
class Sources:
    """What a page is made from. `tracks` is None if data or estimates are not available; `missing` says why."""

    entry: Entry
    baseline: RunScores | None
    tolerance_db: float
    tracks: tuple[Track, ...] | None
    missing: str | None


def gather(
    entry: Entry, before: RunScores | None, tolerance_db: float, loaded: Sequence[Track] | None = None
) -> Sources:
    """Find the data and the estimates of a run; `loaded` holds its tracks if they are loaded already.

    Raises ResultError if the baseline is of other data.
    """
    if before is not None:
        run_scores.require_checkable(before, run_scores.of_result(entry.result, "the run"))
    tracks, missing = _tracks(entry, loaded)
    return Sources(entry, before, tolerance_db, tracks, missing)


def _tracks(entry: Entry, loaded: Sequence[Track] | None) -> tuple[tuple[Track, ...] | None, str | None]:
    """The tracks of a run whose sound can be shown, or None and the reason."""
    if not entry.result.worked:
        return None, "no track worked"
    if entry.folder is None or not (Path(entry.folder) / "estimates").is_dir():
        return None, "its estimates were not kept; run it with --report, or with --out"
    if loaded is not None:
        return tuple(loaded), None
    try:
        return _load(entry.result), None
    except DataError as error:
        return None, f"its data is not available: {error.problems[0]}"


def _load(result: Result) -> tuple[Track, ...]:
    """The tracks of the run; DataError if the folder is gone or its content is not what it was."""
    path, wanted = Path(result.plan.data.path), of_name(result.plan.challenge)
    names = {track.name for track in result.tracks}
    found = dataset.load(path, wanted=wanted, skip_bad=bool(result.plan.data.left_out))
    tracks = tuple(track for track in found.tracks if track.name in names)
    if dataset.content_hash(tracks) != result.plan.data.hash:
        raise DataError([f"{path}: changed since the run"])
    return tracks


AUDIO = ("all", "excerpts", "none")


def audio_that_fits(sources: Sources) -> str:
    """All of the sound where it goes into the page, else excerpts."""
    return "all" if forecast_bytes(sources, "all") <= INLINE_BYTES else "excerpts"


def forecast_bytes(sources: Sources, audio: str) -> float:
    """How large the page will be, about, with what lies beside it. audio: one of AUDIO."""
    return sum(
        track_details.forecast_bytes(request.track, audio == "excerpts", audio != "none")
        for request in _requests(sources, Path(), audio)
    )


def write(page: Path, sources: Sources, audio: str | None = None, progress: Progress = lambda: None) -> None:
    """Write the page, and where sound and pictures are large, those into a folder beside it.

    audio: one of AUDIO; None is `audio_that_fits`. ResultError where that folder is somebody else's.
    """
    page.parent.mkdir(parents=True, exist_ok=True)
    folder = run_folder.audio_of(page)
    if folder.is_symlink() or (folder.is_dir() and not all(map(_is_ours, folder.iterdir()))):
        raise ResultError(
            f"{folder}: is no folder of a page's sound, which would take its place; name another page"
        )
    shutil.rmtree(folder, ignore_errors=True)
    details = collect_details(sources, folder, audio or audio_that_fits(sources), progress)
    html = render(sources, details, folder.name)
    temporary = page.with_name(f".{page.name}.{os.getpid()}")
    temporary.write_text(html, encoding="utf-8")
    temporary.replace(page)


def _is_ours(path: Path) -> bool:
    return OURS.fullmatch(path.name) is not None and path.is_file() and not path.is_symlink()


def render(sources: Sources, details: Mapping[str, Mapping[str, Any]], audio_folder_name: str) -> str:
    """The page's text, with details by track name; audio that is not in them is looked for in that folder."""
    return pages.render("report.html.j2", **_context(sources, details, audio_folder_name))


def collect_details(
    sources: Sources, folder: Path, audio: str = "all", progress: Progress = lambda: None
) -> dict[str, dict[str, Any]]:
    """Details by track name, of the tracks that worked, with their audio if all is small.

    Else each is {"file": NAME} of a script in `folder`, which names the scripts that hold its audio.
    """
    requests = _requests(sources, folder, audio)
    if not requests:
        return {}
    folder.mkdir()
    details = {}
    for request, described in zip(requests, _describe(requests), strict=True):
        details[request.track.name] = described
        progress()
    texts = {name: json.dumps(described) for name, described in details.items()}
    beside = sum(file.stat().st_size for file in folder.iterdir())
    if beside + sum(map(len, texts.values())) <= INLINE_BYTES:
        details = {name: track_details.inline(described, folder) for name, described in details.items()}
        shutil.rmtree(folder)
        return details
    scores = {track.name: track.scores.get(SDR) for track in sources.entry.result.worked}
    for request in requests:
        name = request.track.name
        text = json.dumps({**details[name], "scores": scores[name]})
        track_details.write_script(folder / f"{request.prefix}.js", b64encode(text.encode()).decode())
        details[name] = {"file": f"{request.prefix}.js"}
    return details


def _requests(sources: Sources, folder: Path, audio: str) -> list[track_details.Request]:
    """What is to be described: the tracks that worked and whose estimates are there."""
    if sources.tracks is None:
        return []
    assert sources.entry.folder is not None
    estimates = Path(sources.entry.folder) / "estimates"
    worked = {track.name for track in sources.entry.result.worked}
    return [
        track_details.Request(
            track,
            estimates / track.folder,
            None if audio == "none" else folder,
            f"{index:03d}",
            excerpts=audio == "excerpts",
        )
        for index, track in enumerate(sources.tracks)
        if track.name in worked and (estimates / track.folder).is_dir()
    ]


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
    """One track of the run, with what else the page shows of it."""

    result: TrackResult
    mean: float | None  # dB
    ratio: float | None  # seconds used to seconds allowed
    difference: float | None  # its mean minus the baseline's, dB
    log: str | None
    details: Mapping[str, Any] | None


def _context(
    sources: Sources, details: Mapping[str, Mapping[str, Any]], audio_folder_name: str
) -> dict[str, Any]:
    entry, result = sources.entry, sources.entry.result
    found = None
    if sources.baseline is not None:
        run = run_scores.of_result(result, "this run")
        found = baseline.check(sources.baseline, run, sources.tolerance_db)
    axis, strips = _strips(result)
    found_intervals = {column: run_scores.interval(result, column) for column in (MEAN, *result.stems)}
    intervals = {column: interval for column, interval in found_intervals.items() if interval is not None}
    return {
        "entry": entry,
        "result": result,
        "plan": result.plan,
        "subject": of_name(result.plan.challenge).words.removeprefix("the "),
        "submission": result.plan.submission,
        "stems": result.stems,
        "measures": (MEAN, *result.stems),
        "verdict": verdict(result),
        "check": found,
        "check_text": None if found is None else baseline.describe(found),
        "score": result.score(),
        "scores": _score_rows(result, sources.baseline),
        "intervals": intervals,
        "words": run_words,
        "sdr": MEASURES[SDR],
        "others": [(MEASURES[name], result.totals(name)) for name in result.plan.metrics if name != SDR],
        "groups": _groups(entry),
        "published": published.of_challenge(result.plan.challenge),
        "axis": axis,
        "strips": strips,
        "tracks": [_track_row(track, sources, details) for track in result.tracks],
        "has_whys": any(track.why for track in result.tracks),
        "missing": sources.missing,
        "setup_log": _log(entry, SETUP),
        "weights": run_words.weights_lines(result),
        "limits": run_words.limits_words(result.plan.limits),
        "left_out": left_out(result.plan.data.left_out, result.plan.data.number),
        "tracks_words": run_words.tracks_words(result.plan.data),
        "machine": run_words.machine_words(result.machine),
        "differs": DIFFERS,
        "gaps": () if result.isolation is None else result.isolation.not_in_force,
        "commands": reproduction.commands(result),
        "commit": run_words.commit(result),
        "audio_folder": audio_folder_name,
    }


def verdict(result: Result) -> Verdict:
    """What the run says of a submission to the organisers."""
    passing = would_pass(result)
    failed, number = result.failed, result.plan.data.number
    counts = f"{len(failed)} of {number} tracks failed"
    late = [track for track in result.tracks if track.late]
    reasons = (
        *(f"{track.name}: {track.status}, {track.why}" for track in failed),
        *(f"{track.name}: late, {track.why}" for track in late),
    )
    if nothing_to_pass(result) and result.status != "incomplete":
        if not reasons:
            return Verdict("good", f"All tracks were scored; {nothing_to_pass(result)}", ())
        return Verdict("bad", f"{len(reasons)} of {number} tracks failed or were late", reasons)
    if passing == "yes":
        return Verdict("good", "This submission would have passed", ())
    if passing == "no":
        if late:
            counts = f"{len(failed) + len(late)} of {number} tracks failed or were late"
        return Verdict("bad", f"This submission would not have passed: {counts}", reasons)
    if result.status == "incomplete":
        return Verdict("unsure", f"Not finished: {len(result.tracks)} of {number} tracks were run", reasons)
    if result.status == "ok":
        text = "All tracks worked, but under looser limits than the organisers', so it may not pass there"
        return Verdict("unsure", text, ())
    if result.plan.jobs > 1:
        text = f"{counts} while {result.plan.jobs} at a time shared the machine, so they might pass alone"
    else:
        text = f"{counts} under stricter limits than the organisers', so they might pass"
    return Verdict("unsure", text, reasons)


def _score_rows(result: Result, before: RunScores | None) -> list[ScoreRow]:
    """This run; with a baseline also that, and the difference, over the tracks that worked in both."""
    name = "this run"
    if result.status != "ok":
        name += f", the {len(result.worked)} of {result.plan.data.number} tracks that worked"
    rows = [ScoreRow(name, result.totals(SDR))]
    if before is None:
        return rows
    run = run_scores.of_result(result, "this run")
    both = {
        column: run_scores.mean_pair(run_scores.pairs(before, run, column)) or (None, None)
        for column in run.columns
    }
    rows.append(
        ScoreRow(f"baseline {Path(before.label).name}", {stem: old for stem, (old, _) in both.items()})
    )
    change = {stem: None if old is None or new is None else new - old for stem, (old, new) in both.items()}
    return [*rows, ScoreRow("difference", change, signed=True)]


def _groups(entry: Entry) -> list[list[str]]:
    """Means by group of tracks, header first, where the data has a groups.csv that can be used; else nothing."""
    try:
        found = groups.of_data(Path(entry.result.plan.data.path))
    except ResultError as error:
        LOG.warning("left out of the page: %s", printable.plain(str(error)))
        return []
    if not found.columns or entry.result.status != "ok":
        return []
    shown = paper_tables.by_group([entry], found, SDR).shown.text()
    at = shown[0].index("name")  # there is one run
    return [row[:at] + row[at + 1 :] for row in shown] if len(shown) > 1 else []


def _strips(result: Result) -> tuple[Axis | None, list[Strip]]:
    """The strip plot; no axis if no track has a score."""
    scores = run_scores.of_result(result, "this run")
    worked = [(index, track) for index, track in enumerate(scores.tracks.values()) if track.sdr]
    if not worked:
        return None, []
    values = {column: run_scores.pairs(scores, scores, column) for column in scores.columns}
    strips = [
        charts.strip(column, [(index, track.name, found[track.name][0]) for index, track in worked])
        for column, found in values.items()
    ]
    return charts.axis([value for _, track in worked for value in track.sdr.values()]), strips


def _track_row(track: TrackResult, sources: Sources, details: Mapping[str, Mapping[str, Any]]) -> TrackRow:
    limit, seconds, mean = track.limit_seconds, track.seconds, track.mean(SDR)
    old = None if sources.baseline is None else sources.baseline.tracks.get(track.name)
    before = means.mean([*old.sdr.values()]) if old is not None else None
    found = details.get(track.name)
    return TrackRow(
        result=track,
        mean=mean,
        ratio=None if limit is None or seconds is None else seconds / limit,
        difference=None if before is None or mean is None else mean - before,
        log=_log(sources.entry, track.name.replace("/", "__")),
        details=None if found is None else {**found, "scores": track.scores.get(SDR)},
    )


def _log(entry: Entry, name: str) -> str | None:
    """The end of what the submission printed; None if it was not kept."""
    if entry.folder is None:
        return None
    folder = Path(entry.folder)
    file = run_folder.setup_log(folder) if name == SETUP else run_folder.track_log(folder, name)
    try:  # an imported run brings its own folder, where a log may be a link to anything
        text = printable.lines(
            regular_files.read(file, LOG_BYTES, links=False).decode(errors="backslashreplace")
        )
    except OSError:
        return None
    cut = len(text) - LOG_CHARACTERS
    return text if cut <= 0 else f"[… {cut} characters before this are in {file}]\n{text[cut:]}"
