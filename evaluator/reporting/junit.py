"""A run as JUnit XML, which CI systems read: a test case for each track, and one for the check against a baseline.

There is no one schema; this keeps to what the two most used ones (Jenkins', and Ant's as XSD) have in common: a test
case holds at most one of failure, skipped and error, and what was printed belongs to the suite.
"""

import platform
from xml.etree import ElementTree

from evaluator import printable
from evaluator.reporting import display
from evaluator.runs import baseline
from evaluator.runs.baseline import Check
from evaluator.runs.records import TrackResult
from evaluator.runs.results import Result

SUITE = "run_eval"
NOT_RUN = "not run, since the run was not finished"


def document(result: Result, check: Check | None) -> bytes:
    """The XML of a run; a track that was not run or was left out is skipped, one that failed says how and why."""
    plan = result.plan
    cases = [_of_track(track, plan.challenge) for track in result.tracks]
    done = {track.name for track in result.tracks}
    cases += [_skipped(name, plan.challenge, NOT_RUN) for name in plan.data.tracks if name not in done]
    cases += [_skipped(each.name, plan.challenge, f"left out: {each.reason}") for each in plan.data.left_out]
    if check is not None:
        cases.append(_of_check(check))
    suite = ElementTree.Element(
        "testsuite",
        name=f"{SUITE}.{_text(result.name) or 'unnamed'}",
        package=SUITE,
        id="0",
        timestamp=result.start[:19],
        hostname=_text(platform.node()) or "localhost",
        tests=str(len(cases)),
        failures=str(sum(case.find("failure") is not None for case in cases)),
        errors="0",
        skipped=str(sum(case.find("skipped") is not None for case in cases)),
        time=f"{result.duration_seconds:.3f}",
    )
    properties = ElementTree.SubElement(suite, "properties")
    for name, value in _properties(result).items():
        ElementTree.SubElement(properties, "property", name=name, value=_text(value))
    suite.extend(cases)
    ElementTree.SubElement(suite, "system-out").text = _lines(display.table(result))
    ElementTree.SubElement(suite, "system-err")
    root = ElementTree.Element("testsuites")
    root.append(suite)
    ElementTree.indent(root)
    return bytes(ElementTree.tostring(root, encoding="utf-8", xml_declaration=True)) + b"\n"


def _text(text: str) -> str:
    """One visible line; XML has no place for most control characters, not even as references."""
    return _legal(printable.plain(text))


def _lines(text: str) -> str:
    return _legal(printable.lines(text))


def _legal(text: str) -> str:
    """What is left of XML's illegal characters once text is visible."""
    return text.replace("\ufffe", "�").replace("\uffff", "�")


def _case(name: str, group: str, seconds: float) -> ElementTree.Element:
    return ElementTree.Element(
        "testcase", name=_text(name), classname=f"{SUITE}.{_text(group)}", time=f"{seconds:.3f}"
    )


def _of_track(track: TrackResult, challenge: str) -> ElementTree.Element:
    case = _case(track.name, challenge, track.seconds or 0.0)
    if track.status != "ok":
        reason = track.why or "no reason was given"
        failure = ElementTree.SubElement(case, "failure", type=track.status, message=_text(reason))
        failure.text = _lines(f"{track.status}: {reason}")
    return case


def _skipped(name: str, challenge: str, reason: str) -> ElementTree.Element:
    case = _case(name, challenge, 0.0)
    ElementTree.SubElement(case, "skipped", message=_text(reason))
    return case


def _of_check(check: Check) -> ElementTree.Element:
    case = _case(f"no regression against {check.baseline}", "baseline", 0.0)
    if not check.passed:
        text = _lines(baseline.describe(check))
        failure = ElementTree.SubElement(
            case, "failure", type="regression", message=_text(text.splitlines()[-1])
        )
        failure.text = text
    return case


def _properties(result: Result) -> dict[str, str]:
    score = result.score()
    return {
        "status": result.status,
        "data_hash": result.plan.data.hash,
        "tracks": str(result.plan.data.number),
        "tracks_left_out": str(len(result.plan.data.left_out)),
        **{f"sdr_{stem}": f"{value:.6f}" for stem, value in (score or {}).items() if value is not None},
    }
