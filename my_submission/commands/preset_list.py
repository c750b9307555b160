"""`separate --list`: the presets by what they are good for."""

import textwrap
from collections.abc import Iterator
from pathlib import Path

from my_submission.commands.models import headline
from my_submission.ensemble.preset_reader import load_preset
from my_submission.ensemble.systems import System, about_bytes, all_systems, rows_by_licence
from my_submission.files.default_preset import configured_preset
from my_submission.locations import command
from my_submission.weights import Checkpoint
from my_submission.weights.required import locate, size_text

_USES = {
    frozenset(
        ("vocals", "instrumental")
    ): "a voice and what accompanies it: karaoke, a cappellas, learning a part",
    frozenset(("bass", "drums", "other", "vocals")): "a band: practising without one's own part, remixes",
    frozenset(("bass", "drums", "other", "piano", "vocals")): "a band with a piano",
    frozenset(("dialog", "effect", "music")): "films, podcasts and broadcasts: what is spoken, noises, music",
}
_WIDTH, _INDENT = 100, 26


def preset_list(weights_dir: Path | None) -> Iterator[str]:
    """All presets in lines, those of one use together, what is here first.

    Raises PresetError or WeightsError for a file that is not as it should be.
    """
    systems = [system for system in all_systems() if system.kind == "preset"]
    missing = {one.name: locate(one.files, weights_dir)[1] for one in systems}
    for makes in dict.fromkeys(frozenset(one.makes) for one in systems):
        stems = next(one.makes for one in systems if frozenset(one.makes) == makes)
        use = _USES.get(makes)
        yield f"{', '.join(stems)}{f' ({use})' if use else ''}"
        for one in sorted(systems, key=lambda one: (bool(missing[one.name]), one.name)):
            if frozenset(one.makes) == makes:
                yield from _lines(one, missing[one.name])
        yield ""
    default = configured_preset(weights_dir)
    yield f"Without --preset it is {default}. `{command('weights fetch NAME')}` gets the files of another."
    yield (
        f"A score is what others published, in dB, on the set in brackets: compare those of one set only. "
        f"`{command('models --json NAME')}` has all of them."
    )


def _lines(one: System, missing: tuple[Checkpoint, ...]) -> list[str]:
    files = f"{size_text(about_bytes(missing))} to fetch" if missing else "here"
    facts = [files, "; ".join(rows_by_licence(one.files)), headline(one)]
    about = f"{load_preset(one.name).description} [{', '.join(fact for fact in facts if fact != '-')}]"
    return textwrap.wrap(
        about,
        _WIDTH,
        initial_indent=f"  {one.name}".ljust(_INDENT - 1) + " ",
        subsequent_indent=" " * _INDENT,
        break_long_words=False,
        break_on_hyphens=False,
    )
