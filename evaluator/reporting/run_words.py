"""A run in words: what the board, the report and the terminal say of it, and all of one run."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evaluator import printable, text_table
from evaluator.isolation.sandbox import Limits
from evaluator.measures.catalogue import MEASURES
from evaluator.measures.means import MEAN
from evaluator.runs import reproduction
from evaluator.runs.documents import SDR
from evaluator.runs.entries import Entry
from evaluator.runs.passing import would_pass
from evaluator.runs.records import DataInfo
from evaluator.runs.results import Result
from evaluator.runs.run_folder import REPORT_PAGE


def tracks_words(data: DataInfo) -> str:
    """How many tracks of a data set were used, and which ones."""
    number = text_table.count(data.number, "track")
    which = [] if data.only is None else [f"--only {data.only}"]
    if data.left_out:
        which.append(f"{len(data.left_out)} left out as unusable: {', '.join(map(str, data.left_out))}")
    return f"{number} ({'; '.join(which)})" if which else number


def passing_words(entry: Entry) -> str:
    """Whether a run would have passed, with what went wrong; or that it was withdrawn."""
    if entry.withdrawal is not None:
        return entry.withdrawal.words
    passing, failed = would_pass(entry.result), failures(entry.result)
    if entry.result.plan.submission is None:
        return failed or "-"
    return f"{passing}: {failed}" if failed else passing


def failures(result: Result) -> str:
    """How many tracks of a run went wrong in which way: "2 of 15 timeout"; empty where none did."""
    number = result.plan.data.number
    statuses = ["late" if track.late else track.status for track in result.tracks]
    statuses = [status for status in statuses if status != "ok"]
    counts = [f"{statuses.count(status)} of {number} {status}" for status in dict.fromkeys(statuses)]
    if len(result.tracks) < number:
        counts.append(f"{number - len(result.tracks)} of {number} not run")
    return ", ".join(counts)


def commit(result: Result) -> str:
    """The submission's commit, shortened; "+" stands for uncommitted changes."""
    submission = result.plan.submission
    if submission is None or submission.commit is None:
        return "-"
    return submission.commit[:8] + ("+" if submission.dirty else "")


def why(result: Result) -> str:
    """What went wrong in a run, by its first track that failed or was late; empty where nothing did."""
    wrong = [track for track in result.tracks if track.why]
    if not wrong:
        return ""
    more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
    return f"{wrong[0].name}: {wrong[0].why}{more}"


def interval_words(interval: tuple[float, float] | None, digits: int = 2) -> str:
    """A 95 % interval, or "-"."""
    return "-" if interval is None else f"{interval[0]:.{digits}f} to {interval[1]:.{digits}f}"


def report_of(entry: Entry) -> Path | None:
    """The page of a run that was made here, if it was written and is a file of its own."""
    page = None if entry.folder is None else Path(entry.folder) / REPORT_PAGE
    return page if page is not None and page.is_file() and not page.is_symlink() else None


def detail(entry: Entry) -> str:
    """One run: its scores, all that it was made with, and how to repeat it."""
    facts = _facts(entry)
    width = max(len(name) for name, _ in facts)
    lines = [f"{name.ljust(width)}  {printable.plain(value)}" for name, value in facts]
    commands = reproduction.commands(entry.result)
    return "\n".join([*lines, "", "To repeat it:", *(f"  {printable.lines(line)}" for line in commands)])


def _facts(entry: Entry) -> list[tuple[str, str]]:
    result, plan = entry.result, entry.result.plan
    submission = plan.submission
    failed = failures(result)
    gaps = () if result.isolation is None else result.isolation.not_in_force
    withdrawn = () if entry.withdrawal is None else (("withdrawn", entry.withdrawal.words),)
    return [
        ("run", entry.id),
        ("name", result.name),
        *(() if result.label.note is None else (("note", result.label.note),)),
        *((("tags", ", ".join(result.label.tags)),) if result.label.tags else ()),
        *withdrawn,
        ("made", f"{result.start}, {result.duration_seconds:.0f} s"),
        ("data", f"{plan.challenge}, {plan.data.path}, {tracks_words(plan.data)}"),
        ("data hash", entry.data_hash),
        ("status", f"{result.status} ({failed})" if failed else result.status),
        *((("why", said),) if (said := why(result)) else ()),
        *(() if submission is None else (("would pass", would_pass(result)),)),
        *((stem, f"{text_table.db(entry.score(stem))} dB") for stem in (MEAN, *result.stems)),
        *((name, _measured(result, name)) for name in plan.metrics if name != SDR),
        ("RTF", "-" if result.rtf is None else f"{result.rtf:.3f}"),
        *made_by(result),
        *(
            ()
            if submission is None
            else (
                ("limits", ", ".join(limits_words(plan.limits))),
                ("tracks at a time", str(plan.jobs)),
                ("not in force", "; ".join(gaps) or "-"),
            )
        ),
        ("machine", ", ".join(machine_words(result.machine))),
        ("versions", ", ".join(f"{key} {value}" for key, value in result.versions.items())),
        ("folder", entry.folder or "on another machine"),
        *(() if (page := report_of(entry)) is None else (("report", str(page)),)),
    ]


def _measured(result: Result, measure: str) -> str:
    """The means of another measure than SDR in words."""
    found = ", ".join(f"{stem} {text_table.db(value)}" for stem, value in result.totals(measure).items())
    return f"{found} ({MEASURES[measure].words})"


def made_by(result: Result) -> list[tuple[str, str]]:
    """What made the estimates, as names and values: a submission, or nobody knows who."""
    submission, given = result.plan.submission, result.plan.predictions
    if submission is None:
        assert given is not None
        return [("estimates", given.path), ("files", f"SHA-256 {given.files_sha256}")]
    changed = " with uncommitted changes" if submission.dirty else ""
    return [
        ("preset", str(result.preset or "-")),
        ("commit", (submission.commit or "-") + changed),
        ("files", f"SHA-256 {submission.files_sha256}"),
        *(("weights", line) for line in weights_lines(result)),
    ]


def weights_lines(result: Result) -> list[str]:
    """The weights a run was made with, one line per file."""
    weights = result.weights
    return [_weights_line(item) for item in weights] if isinstance(weights, list) else []


def _weights_line(item: object) -> str:
    """What a submission says of one weights file; submissions of others may say anything."""
    if not isinstance(item, Mapping):
        return str(item)
    return f"{item.get('name')}: {item.get('file')}, SHA-256 {item.get('sha256')}"


def limits_words(limits: Limits) -> list[str]:
    """The limits of a run in words."""
    return [
        "any time" if limits.time_factor is None else f"{limits.time_factor:g} times the duration",
        "any time for loading" if limits.setup_seconds is None else f"{limits.setup_seconds:g} s for loading",
        "all cores" if limits.cpus is None else text_table.count(limits.cpus, "core"),
        "any memory" if limits.memory_bytes is None else f"{limits.memory_bytes / 2**30:g} GiB",
    ]


def machine_words(machine: Mapping[str, Any]) -> list[str]:
    """What a run was made on, in words."""
    memory = machine.get("memory_bytes")
    return [
        f"{machine.get('system')} {machine.get('architecture')}",
        str(machine.get("processor")),
        f"{machine.get('cores')} cores",
        "memory unknown" if memory is None else f"{memory / 2**30:.0f} GiB",
        *(machine.get("gpus") or ["no GPU"]),
    ]
