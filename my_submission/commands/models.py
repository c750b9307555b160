"""`python -m my_submission models`: parses and prints; `ensemble/systems.py` knows them."""

import argparse
import json
import sys
from typing import Any

from my_submission.ensemble.preset import PresetError
from my_submission.ensemble.systems import System, all_systems, rows_by_licence
from my_submission.locations import command
from my_submission.schema import did_you_mean
from my_submission.weights.errors import WeightsError
from my_submission.weights.required import locate, size_text

_HEADINGS = ("name", "makes", "files", "size", "here", "licence", "published, dB")
_RIGHT = (2, 3)
_LONGEST_CELL = 48


def run(options: argparse.Namespace) -> int:
    """0: printed; 1: a file or a name is not as it should be."""
    try:
        systems = _chosen(options)
        here = {one.name: len(locate(one.files, options.weights_dir)[0]) for one in systems}
    except (WeightsError, PresetError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if options.here:
        systems = [one for one in systems if here[one.name] == len(one.files)]
    if options.json:
        print(json.dumps([as_json(one, here[one.name]) for one in systems], indent=2))
        return 0
    _print_table([list(_HEADINGS), *(_cells(one, here[one.name]) for one in systems)])
    print(
        "A published score is on others' data by their measure, both named in --json: compare rows of one set only."
        " Any name can be a member of a preset of your own; presets run as they are."
    )
    return 0


def _chosen(options: argparse.Namespace) -> list[System]:
    """Those that the names and --makes leave; WeightsError for what no system is or makes."""
    systems = all_systems()
    by_name = {one.name: one for one in systems}
    for name in options.names:
        if name not in by_name:
            raise WeightsError(
                f"found {name!r}{did_you_mean(name, by_name)}; expected a name that `{command('models')}` lists"
            )
    chosen = [by_name[name] for name in options.names] or systems
    if options.makes is None:
        return chosen
    made = sorted({stem for one in chosen for stem in one.makes})
    if options.makes not in made:
        raise WeightsError(f"--makes: found {options.makes!r}, expected one of {', '.join(made)}")
    return [one for one in chosen if options.makes in one.makes]


def as_json(system: System, here: int) -> dict[str, Any]:
    """A system for programs; here: how many of its files are."""
    return {
        "name": system.name,
        "kind": system.kind,
        "makes": list(system.makes),
        "files": [row.name for row in system.files],
        "bytes": system.bytes,
        "files_here": here,
        "licences": {text: list(names) for text, names in rows_by_licence(system.files).items()},
        "published": [
            {"set": one.set, "data": one.data, "measure": one.measure, "scores": dict(one.scores)}
            for one in system.published
        ],
    }


def _cells(system: System, here: int) -> list[str]:
    needed = len(system.files)
    return [
        system.name,
        ", ".join(system.makes),
        str(needed),
        size_text(system.bytes),
        "yes" if here == needed else f"{here} of {needed}" if here else "no",
        "; ".join(rows_by_licence(system.files)),
        headline(system),
    ]


def headline(system: System) -> str:
    """The first published score: of all stems, of vocals or of any stem, and the set that it belongs to."""
    for one in system.published:
        stem = next(key for key in ("mean", "vocals", *one.scores) if key in one.scores)
        return f"{stem} {one.scores[stem]:.2f} ({one.set})"
    return "-"


def _print_table(rows: list[list[str]]) -> None:
    cut = [
        [cell if len(cell) <= _LONGEST_CELL else f"{cell[: _LONGEST_CELL - 1]}…" for cell in row]
        for row in rows
    ]
    widths = [max(map(len, column)) for column in zip(*cut, strict=True)]
    for row in cut:
        cells = zip(row, widths, strict=True)
        line = (
            cell.rjust(width) if place in _RIGHT else cell.ljust(width)
            for place, (cell, width) in enumerate(cells)
        )
        print("  ".join(line).rstrip())
