"""What came of a run, at the terminal: the table, what of the limits was not in force, and the verdict."""

from collections import Counter
from collections.abc import Sequence

from evaluator import printable, text_table
from evaluator.challenge import CHALLENGES
from evaluator.measures.catalogue import MEASURES
from evaluator.measures.means import MEAN
from evaluator.running.dataset import BadTracksError
from evaluator.running.track_results import REASON_CHARACTERS
from evaluator.runs.passing import not_like_theirs, would_pass
from evaluator.runs.records import LeftOut, TrackResult
from evaluator.runs.results import Result

SHOWN = 5  # failed tracks that are named
WHY_CHARACTERS = 180  # of a reason in the table; the report has all of it
SDR_WORDS = f"SDR in {MEASURES['sdr'].words} (the challenge's global SDR)."
LEFT_OUT = "To be in time, less was computed for"  # these tracks; what is left out, in the submission's words
DIFFERS = "Differs from the organisers' machine:"  # what of their limits was not in force here


def table(result: Result) -> str:
    """The result as text: one line per track, totals, what was not in force, and the verdict.

    Where a track failed or was late, the last column says why.
    """
    whys = [printable.plain(track.why, WHY_CHARACTERS) for track in result.tracks]
    extra = [metric for metric in result.plan.metrics if metric != "sdr"]
    header = [
        "track",
        "status",
        "seconds",
        "allowed",
        *result.stems,
        "mean",
        *(f"{name} mean" for name in extra),
    ]
    rows = [_row(track, result.stems, extra) for track in result.tracks]
    totals = [_totals(result, extra)] if result.worked else []
    table = [header, *rows, *totals]
    rule = "-" * max(map(len, text_table.align(table, left=(0, 1))))
    if any(whys):
        table = [[*row, why] for row, why in zip(table, ["why", *whys, *[""] * len(totals)], strict=True)]
    lines = text_table.align(table, left=(0, 1, len(table[0]) - 1))
    end = 1 + len(rows)
    parts = [lines[0], rule, *lines[1:end], rule, *lines[end:], SDR_WORDS]
    parts += left_out(result.plan.data.left_out, result.plan.data.number)
    if result.machines:
        counts = Counter(track.machine for track in result.tracks if track.machine is not None)
        parts.append(
            f"Machines: {', '.join(f'{name} ({number})' for name, number in sorted(counts.items()))}."
        )
    parts += _economies(result)
    if result.isolation is not None and result.isolation.not_in_force:
        parts.append(f"{DIFFERS} {'; '.join(result.isolation.not_in_force)}.")
    return printable.lines("\n".join([*parts, *_others(result, extra), "", verdict(result)]))


def _totals(result: Result, extra: Sequence[str]) -> list[str]:
    """The last row: the score or, where a track failed or was left out, of how many tracks it is the mean."""
    score, data = result.totals("sdr"), result.plan.data
    label, every = ("score" if result.status == "ok" else "mean"), data.number + len(data.left_out)
    if len(result.worked) < every:
        label += f" of {len(result.worked)} of {every}"
    return [
        *(label, "", "", ""),
        *(text_table.db(score[stem]) for stem in (*result.stems, MEAN)),
        *(text_table.db(result.totals(name)[MEAN]) for name in extra),
    ]


def _economies(result: Result) -> list[str]:
    """What the submission says that it left out to be in time: a sentence for all tracks that lack the same.

    Where it was told a time factor and left nothing out, that is said, too.
    """
    tracks: dict[str, list[str]] = {}
    for track in result.tracks:
        if track.economies:
            tracks.setdefault("; ".join(map(str, track.economies)), []).append(track.name)
    submission = result.plan.submission
    was_told = submission is not None and submission.requested_time_factor is not None
    if was_told and not tracks and all(track.status == "ok" and not track.late for track in result.tracks):
        return ["To be in time, nothing had to be left out."]
    return [
        f"{LEFT_OUT} {_some(names)}: {printable.plain(economies, REASON_CHARACTERS)}."
        for economies, names in tracks.items()
    ]


def _some(names: Sequence[str]) -> str:
    """Some names, and how many more there are."""
    more = [f"{len(names) - SHOWN} more"] if len(names) > SHOWN else []
    return ", ".join([*names[:SHOWN], *more])


def left_out(tracks: Sequence[LeftOut], used: int) -> list[str]:
    """What tracks are missing from all the scores, beside those that are used, in a sentence or none."""
    if not tracks:
        return []
    bad, every = len(tracks), used + len(tracks)
    shown = [f"{each.name} ({each.reason})" for each in tracks[:SHOWN]]
    more = [f"{bad - SHOWN} more"] if bad > SHOWN else []
    verbs = "was left out, since it" if bad == 1 else "were left out, since they"
    return [f"{bad} of {every} tracks {verbs} cannot be used: {'; '.join([*shown, *more])}."]


def mend_or_skip(error: BadTracksError) -> str:
    """What to do about tracks that cannot be used, for a command with --skip-bad."""
    tracks = text_table.count(len(error.tracks), "track")
    return f"Mend this, or leave out {tracks} with --skip-bad: then the score is of fewer."


def _others(result: Result, extra: Sequence[str]) -> list[str]:
    """What was measured besides SDR: unit, direction, and means over the tracks that worked."""
    if not extra:
        return []
    rows = [["measure", "unit", "better", *result.stems, MEAN]]
    for name in extra:
        totals = result.totals(name)
        rows.append(
            [
                name,
                MEASURES[name].unit,
                MEASURES[name].better,
                *(text_table.db(totals[stem]) for stem in (*result.stems, MEAN)),
            ]
        )
    return ["", *text_table.align(rows, left=(0, 1, 2))]


def _row(track: TrackResult, stems: Sequence[str], extra: Sequence[str]) -> list[str]:
    sdr = track.scores.get("sdr", {})
    return [
        track.name,
        "late" if track.late else track.status,
        "-" if track.seconds is None else f"{track.seconds:.1f}",
        "-" if track.limit_seconds is None else f"{track.limit_seconds:.1f}",
        *(text_table.db(sdr.get(stem)) for stem in stems),
        text_table.db(track.mean("sdr")),
        *(text_table.db(track.mean(name)) for name in extra),
    ]


def nothing_to_pass(result: Result) -> str | None:
    """Why no run of this kind would pass or fail with the organisers; None if one would."""
    if result.plan.submission is None:
        return "estimates were given, so there is nothing to pass"
    if result.plan.challenge not in CHALLENGES:
        return "these stems are no challenge's, so there is nothing to pass"
    return None


def verdict(result: Result) -> str:
    """One sentence: would this submission have passed, and with what score? A second one on --jobs or lost tracks."""
    fewer = " Tracks were left out: compare the score with others of these tracks only."
    return f"{_verdict(result)}{fewer if result.plan.data.left_out else ''}{_shared(result)}"


def _shared(result: Result) -> str:
    """What the verdict is worth with several tracks at a time."""
    jobs = result.plan.jobs
    if phrases := not_like_theirs(result):
        named = "; ".join(phrases[:SHOWN]) + (f"; and {len(phrases) - SHOWN} more" * (len(phrases) > SHOWN))
        return (
            " Whether it would pass is judged only where every machine is of the organisers' size and does one track "
            f"at a time: {named}."
        )
    if jobs == 1:
        return ""
    return f" {jobs} tracks at a time shared the machine and so its limits: confirm the times with --jobs 1."


def _verdict(result: Result) -> str:
    score, passing = result.score(), would_pass(result)
    reason = nothing_to_pass(result)
    late = [track for track in result.tracks if track.late]
    if score is not None and late:
        worst = max((track.seconds or 0) / (track.limit_seconds or 1) for track in late)
        so = ": on this machine, as busy as it is, the submission would not pass." if reason is None else "."
        return (
            f"All tracks were scored: {text_table.db(score[MEAN])} dB. But {len(late)} of {len(result.tracks)} took "
            f"longer than allowed, up to {worst:.1f} times as long{so}"
        )
    if score is not None:
        mean = text_table.db(score[MEAN])
        if reason is not None:
            return f"All tracks were scored: {mean} dB; {reason}."
        if passing == "yes":
            return f"This submission would have passed, with a score of {mean} dB."
        if result.machines:
            return f"All tracks were scored: {mean} dB."
        return (
            f"All tracks were scored, but under looser limits than the organisers', so this does not show whether "
            f"the submission would pass: {mean} dB."
        )
    if result.status == "incomplete":
        done = "scored" if result.plan.submission is None else "separated"
        return f"Incomplete: {len(result.tracks)} of {result.plan.data.number} tracks were {done}."
    names = ", ".join(f"{track.name} ({track.status})" for track in result.failed[:SHOWN])
    more = len(result.failed) - SHOWN
    names += f" and {more} more" if more > 0 else ""
    counts = f"{len(result.failed)} of {len(result.tracks)} tracks failed: {names}."
    if reason is not None:
        return counts
    if passing == "no":
        return f"This submission would NOT have passed: {counts}"
    return f"This does not show whether the submission would pass under the organisers' own limits: {counts}"
