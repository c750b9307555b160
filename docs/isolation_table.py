"""Writes the table of promises and systems in SECURITY.md from what the attacks of tests/isolation/ saw.

    SDX_ISOLATION_RECORD=/tmp/seen.jsonl make test-isolation
    python docs/isolation_table.py /tmp/seen.jsonl

The record has a line for each attack on each system: its promises, and whether they were held, broken, or, where the
run itself had said that this system cannot hold them, "said". A cell counts the attacks; a promise that was broken is
named in the exit code, too. Promises that no attack was on keep a dash.
"""

import json
import re
import sys
from collections import defaultdict
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
START, END = "<!-- seen by the attacks: docs/isolation_table.py -->", "<!-- end -->"
SYSTEMS = {
    "root": "Linux, as root",
    "user": "Linux, ordinary user",
    "docker": "container",
    "bare": "without namespaces",
}
Seen = dict[tuple[int, str], dict[str, int]]


def read(record: Path) -> Seen:
    """How many attacks ended how, by promise and system; of an attack that ran twice on a system the last counts."""
    last = {}
    for line in record.read_text().splitlines():
        item = json.loads(line)
        last[item["attack"], item["system"]] = item
    seen: Seen = defaultdict(lambda: defaultdict(int))
    for item in last.values():
        for promise in item["promises"]:
            seen[promise, item["system"]][item["outcome"]] += 1
    return seen


def promises(security: str) -> dict[int, str]:
    """The promises of SECURITY.md, by number: rows of its table that begin so."""
    return {int(number): text.strip() for number, text in re.findall(r"(?m)^\| (\d+)\. ([^|]+)\|", security)}


def cell(outcomes: dict[str, int]) -> str:
    """What was seen, in words."""
    if not outcomes:
        return "–"
    if outcomes.get("broken"):
        return f"**broken by {outcomes['broken']} of {sum(outcomes.values())}**"
    held = f"held, {outcomes['held']} attack{'s'[: outcomes['held'] != 1]}" if outcomes.get("held") else ""
    said = f"not held, and said so ({outcomes['said']})" if outcomes.get("said") else ""
    return "; ".join(filter(None, (held, said)))


def table(named: dict[int, str], seen: Seen) -> str:
    """Markdown: a row for each promise, a column for each system on which anything was tried."""
    systems = [system for system in SYSTEMS if any(where == system for _, where in seen)]
    rows = [["promise", *(SYSTEMS[system] for system in systems)], ["---"] * (len(systems) + 1)]
    rows += [
        [f"{number}. {text}", *(cell(seen.get((number, system), {})) for system in systems)]
        for number, text in sorted(named.items())
    ]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def main(record: str) -> int:
    """Put the table between the two marks of SECURITY.md, or at its end; 1 if anything was broken."""
    file = REPOSITORY / "SECURITY.md"
    text = file.read_text(encoding="utf-8")
    before, _, rest = text.partition(START)
    named, seen = promises(before + rest.partition(END)[2]), read(Path(record))
    written = f"{START}\n{table(named, seen)}\n{END}"
    after = rest.partition(END)[2] if rest else "\n"
    separator = "" if rest else "\n## What the attacks saw\n\n"
    file.write_text(f"{before}{separator}{written}{after}", encoding="utf-8")
    broken = [key for key, outcomes in seen.items() if outcomes.get("broken")]
    print(f"{file}: {len(named)} promises; broken: {broken or 'none'}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
