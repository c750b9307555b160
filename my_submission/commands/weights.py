"""`python -m my_submission weights fetch|list|verify|pack`: parses and prints; the package does the work."""

from __future__ import annotations

import argparse
import json
import logging
import shlex
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from my_submission.ensemble.preset import Preset, PresetError
from my_submission.ensemble.preset_reader import called, is_manifest, load_preset, preset_names
from my_submission.ensemble.systems import about_bytes, files_of
from my_submission.locations import IS_INSTALLED, command
from my_submission.schema import did_you_mean
from my_submission.weights.checkpoints import Checkpoint
from my_submission.weights.errors import LicenceNotAccepted, WeightsError, WrongContent
from my_submission.weights.fetch import fetch, set_aside
from my_submission.weights.licences import Agree, accept, licence_text, record_path, refuse
from my_submission.weights.manifest import load_manifest
from my_submission.weights.pack import PRESETS, is_own, pack
from my_submission.weights.required import locate, size_text
from my_submission.weights.store import Verification, own_place, verify

_AGAINST = {
    "sha256": "verified (published sha256)",
    "recorded": "verified (sha256 as first downloaded)",
    "prefix": "verified (published start of sha256)",
    "tail_md5": "verified (published md5 of its end)",
    "nothing": "here, no sha256 known",
}


@dataclass(frozen=True)
class _Wanted:
    """What one name on the command line stands for."""

    name: str
    preset: Preset | None  # None for a manifest, a bag or a checkpoint
    rows: tuple[Checkpoint, ...]

    @property
    def own_preset(self) -> Path | None:
        """The file of a preset that does not come with the submission."""
        if self.preset is None:
            return None
        path = self.preset.path
        own = called(self.preset) != self.preset.name or any(is_own(row) for row in self.rows)
        return path if own else None


def run(options: argparse.Namespace) -> int:
    """Do an action, with log messages and expected errors as sentences on stderr. 0: done; 1: failed."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("my_submission").setLevel(logging.INFO)
    try:
        with logging_redirect_tqdm():
            return _ACTIONS[options.action](options)
    except (WeightsError, PresetError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _submitted_preset() -> str:
    """Imported only when needed: the import fails with PresetError if the preset's name is wrong."""
    from ..user_config import PRESET

    return PRESET


def _wanted(names: Iterable[str], outline: bool) -> list[_Wanted]:
    return [_one_wanted(name, outline) for name in names]


def _one_wanted(name: str, outline: bool = False) -> _Wanted:
    """outline: only which files it needs, since nothing is done with them that makes sense of what they hold."""
    if name.endswith((".yaml", ".yml")) and is_manifest(Path(name)):
        rows = load_manifest(Path(name), outline=outline).checkpoints.values()
        own = (row for row in rows if row.manifest == Path(name).resolve() and row.form is None)
        return _Wanted(name, None, tuple(row for row in own if row.has_file))
    if name in preset_names() or name.endswith((".yaml", ".yml")):
        preset = load_preset(name, outline)
        return _Wanted(name, preset, files_of(preset.manifest, preset.checkpoints))
    manifest = load_manifest(outline=outline)
    if name in manifest.bags:
        members = manifest.bags[name].members
        return _Wanted(name, None, files_of(manifest, (member for member, _ in members)))
    if name in manifest.checkpoints:
        return _Wanted(name, None, files_of(manifest, (name,)))
    known = [*preset_names(), *manifest.bags, *manifest.checkpoints]
    raise WeightsError(
        f"found {name!r}{did_you_mean(name, known)}; expected a preset, a bag or a checkpoint, which"
        f" `{command('models')}` lists, or the YAML file of a preset or manifest of your own"
    )


def _unique_rows(wanted: Iterable[_Wanted]) -> list[Checkpoint]:
    return list({row.name: row for item in wanted for row in item.rows}.values())


def _total(rows: Iterable[Checkpoint]) -> int:
    return sum(row.about_bytes or 0 for row in rows)


def _bar(total: int, doing: str) -> tqdm[NoReturn]:
    return tqdm(total=total, desc=doing, unit="B", unit_scale=True, disable=None, leave=False)


def _fetch(options: argparse.Namespace) -> int:
    wanted = _wanted(options.names or [_submitted_preset()], outline=False)
    rows = _unique_rows(wanted)
    for row in rows:
        print(f"{row.name:22} {size_text(row.about_bytes):>12}  {licence_text(row)}")
    _, missing = locate(rows, options.weights_dir)
    with _bar(_total(missing), "fetching") as bar:
        agree = _agree(options.accept_licence, [item.name for item in wanted], bar)
        paths = fetch(rows, weights_dir=options.weights_dir, progress=bar.update, agree=agree)
    for row in rows:
        print(f"{row.name}: {paths[row.name]}")
    size = sum(path.stat().st_size for path in paths.values())
    print(f"{len(rows)} file{'' if len(rows) == 1 else 's'}, {size_text(size)}: here and verified")
    for item in wanted:
        if item.preset:
            _say_what_next(item, item.preset)
    return 0


def _say_what_next(item: _Wanted, preset: Preset) -> None:
    """A preset of a challenge's stems can be submitted and has the demo's songs to try it on; any other separates."""
    if preset.challenge is None:
        print(f"to use {item.name}: {command('separate --preset', item.name, 'FILE')}")
        return
    if item.own_preset:
        print(f"to submit {item.name}: {command('weights pack . --preset', item.name)}")
    else:
        print(f'to submit {item.name}, make "{item.name}" the preset in my_submission/user_config.py;')
    evaluate = "sdx eval" if IS_INSTALLED else "python run_eval.py"
    print(f"to try it first: {evaluate} --preset {shlex.quote(item.name)}")


def _agree(accepted: bool, wanted: Sequence[str], bar: tqdm[NoReturn]) -> Agree:
    """How the user agrees: has on the command line, is asked on a terminal (on which `bar` is), or cannot."""

    def agree(asking: tuple[Checkpoint, ...]) -> None:
        bar.clear()
        if not accepted:
            if not (sys.stdin.isatty() and sys.stdout.isatty()):
                refuse(asking, wanted)
            _ask(asking)
        accept(asking)
        print(f"accepted the terms of {', '.join(row.name for row in asking)}; kept in {record_path()}")
        bar.unpause()  # the time that the answer took is none of the download's

    return agree


def _ask(asking: tuple[Checkpoint, ...]) -> None:
    """One question for all of them; LicenceNotAccepted unless the answer is yes."""
    print(
        "\nThese state no licence, or one that does not allow every use; without one, authors keep all rights:"
    )
    for row in asking:
        print(f"  {row.name}: {licence_text(row)}")
    try:
        answer = input("Fetch them, and accept their terms? You will not be asked again. [y/N] ")
    except (EOFError, KeyboardInterrupt):
        answer = ""
        print()
    if answer.strip().lower() not in ("y", "yes"):
        raise LicenceNotAccepted("the terms were not accepted; nothing was fetched")


def _list(options: argparse.Namespace) -> int:
    default = [_submitted_preset()] if options.submitted else preset_names()
    wanted = _wanted(options.names or default, outline=True)
    found, missing = locate(_unique_rows(wanted), options.weights_dir)
    states = _states(_unique_rows(wanted), found)
    if options.json:
        print(json.dumps([_as_json(item, found, states) for item in wanted], indent=2))
        return 0
    for item in wanted:
        absent = [row for row in item.rows if row in missing]
        print(f"{item.name}: {_count(item.rows)}{f'; missing: {_count(absent)}' if absent else ''}")
        for row in item.rows:
            state = _state_text(states.get(row.name))
            place = found.get(row.name) or _origins_text(row)
            print(f"  {row.name:22} {size_text(row.about_bytes):>12}  {state:38} {place}")
        if any(row.origins for row in absent):
            print(f"  fetch with: {command('weights fetch', item.name)}")
    return 0


def _as_json(
    item: _Wanted, found: dict[str, Path], states: dict[str, Verification | WrongContent]
) -> dict[str, Any]:
    """One name of `list --json`; a checkpoint's state is missing, wrong, or what its hash was compared with."""

    def described(row: Checkpoint) -> dict[str, Any]:
        state = states.get(row.name)
        path = found.get(row.name)
        return {
            "name": row.name,
            "architecture": row.architecture,
            "file": row.file,
            "path": None if path is None else str(path),
            "bytes": row.about_bytes if path is None else path.stat().st_size,
            "state": state.against if isinstance(state, Verification) else "wrong" if state else "missing",
            "sha256": state.sha256 if isinstance(state, Verification) else None,
            "problem": str(state) if isinstance(state, WrongContent) else None,
        }

    track = item.preset.challenge if item.preset else None
    return {"name": item.name, "track": track, "checkpoints": [described(row) for row in item.rows]}


def _count(rows: Iterable[Checkpoint]) -> str:
    rows = list(rows)
    size = about_bytes(rows) if rows else 0
    return f"{len(rows)} file{'' if len(rows) == 1 else 's'}, {size_text(size)}"


def _states(rows: Iterable[Checkpoint], found: dict[str, Path]) -> dict[str, Verification | WrongContent]:
    """Hash the files that are here: each row's verification, or what is wrong with its file."""
    present = [row for row in rows if row.name in found]
    states: dict[str, Verification | WrongContent] = {}
    with _bar(sum(found[row.name].stat().st_size for row in present), "hashing") as bar:
        for row in present:
            try:
                states[row.name] = verify(row, found[row.name], bar.update)
            except WrongContent as error:
                states[row.name] = error
    return states


def _state_text(state: Verification | WrongContent | None) -> str:
    if state is None:
        return "missing"
    return "WRONG, see verify" if isinstance(state, WrongContent) else _AGAINST[state.against]


def _origins_text(row: Checkpoint) -> str:
    if not row.origins:
        return f"put your own file here: {own_place(row)}"
    more = f" (or {len(row.origins) - 1} more)" if len(row.origins) > 1 else ""
    return f"from {row.origins[0]}{more}"


def _verify(options: argparse.Namespace) -> int:
    rows = {row.name: row for row in _unique_rows(_wanted(options.names or preset_names(), outline=True))}
    found, missing = locate(rows.values(), options.weights_dir)
    states = _states(rows.values(), found)
    wrong = 0
    for name, state in states.items():
        if isinstance(state, WrongContent):
            wrong += 1
            moved = "" if rows[name].path else f"; it was moved to {set_aside(found[name])}"
            print(f"{name}: WRONG: {state}{moved}")
        else:
            print(f"{name}: {_AGAINST[state.against]}: {state.sha256}  {found[name]}")
    if missing:
        print(f"missing, so not verified: {', '.join(row.name for row in missing)}")
    print(f"{len(states) - wrong} right, {wrong} wrong, {len(missing)} missing")
    return 1 if wrong else 0


def _pack(options: argparse.Namespace) -> int:
    item = _one_wanted(options.preset or _submitted_preset())
    found, missing = locate(item.rows, options.weights_dir)
    if missing:
        raise WeightsError(
            f"missing: {', '.join(row.name for row in missing)}; first run: {command('weights fetch', item.name)}"
        )
    packed = pack(item.rows, found, options.dir, item.own_preset)
    for path in packed.files:
        print(f"{path}  {size_text(path.stat().st_size)}{'  (git-lfs)' if path in packed.lfs_files else ''}")
    files = "file" if len(packed.files) == 1 else "files"
    print(f"{len(packed.files)} {files} for {item.name}, verified, in {packed.folder}")
    for path in packed.preset_files:
        print(path)
    if item.own_preset:
        print(f'to submit it, make "{item.own_preset.stem}" the preset in my_submission/user_config.py there')
    unlicensed = [row.name for row in item.rows if row.licence is None]
    if unlicensed:
        print(f"no licence is stated for {', '.join(unlicensed)}: do not make this repository public")
    if packed.lfs_files or packed.preset_files:
        lfs = "git lfs install && " if packed.lfs_files else ""
        folders = f"weights{f' {PRESETS}' if packed.preset_files else ''}"
        print(
            f"next, in {shlex.quote(str(options.dir))}: {lfs}git add {folders} && git commit -m 'Add the weights'"
        )
    return 0


_ACTIONS: dict[str, Callable[[argparse.Namespace], int]] = {
    "fetch": _fetch,
    "list": _list,
    "verify": _verify,
    "pack": _pack,
}
