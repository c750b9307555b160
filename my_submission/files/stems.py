"""Which stems to write: a preset's own, and any sum of them and the mixture."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from my_submission.ensemble.signed_sum import parse_sum

if TYPE_CHECKING:
    from torch import Tensor

    from my_submission.signal.audio import Stems

MIXTURE = "mixture"

Sums = Mapping[str, Mapping[str, int]]
"""name -> {stem or "mixture": +1 or −1}, summed."""

_VOICES = ("vocals", "dialog")
_WITHOUT_VOICE = ("instrumental", "karaoke")
"""What people call the mixture without the voice, as any stem may be left out of it by the name `no_STEM`."""

_NAME = re.compile(r"[\w +−-]+")


def derived_stems(instruments: Sequence[str]) -> dict[str, str]:
    """The names that stand for a sum, and their sums."""
    voice = next((name for name in _VOICES if name in instruments), None)
    left_out = dict.fromkeys(_WITHOUT_VOICE, voice) | {f"no_{stem}": stem for stem in instruments}
    return {
        name: f"{MIXTURE} - {stem}" for name, stem in left_out.items() if stem and name not in instruments
    }


def two_stems(stem: str, instruments: Sequence[str]) -> tuple[str, str]:
    """A stem and the rest of the mixture, by the name that people use for it."""
    return stem, _WITHOUT_VOICE[0] if stem in _VOICES else f"no_{stem}"


def parse_stems(wanted: Sequence[str], instruments: Sequence[str]) -> dict[str, dict[str, int]]:
    """What to write, by name and in order.

    wanted: each a stem, a derived stem, a sum such as "drums + bass" (which is then also its name), or "NAME=SUM";
        empty means the preset's own stems.
    Raises ValueError, with what is allowed, for an unknown name, a malformed sum, or a name given twice.
    """
    sums: dict[str, dict[str, int]] = {}
    for text in wanted or instruments:
        name, _, right = text.partition("=")
        name = " ".join(name.split())
        if not _NAME.fullmatch(name):
            raise ValueError(f"stems: found {text!r}; a name may have letters, digits, spaces, + and -")
        if name in sums:
            raise ValueError(f"stems: {name!r} is given twice")
        sums[name] = _read_sum(right or derived_stems(instruments).get(name, name), instruments)
    return sums


def needed_stems(sums: Sums) -> tuple[str, ...]:
    """The preset's own stems that occur in any of the sums, each once."""
    return tuple(dict.fromkeys(term for terms in sums.values() for term in terms if term != MIXTURE))


def _read_sum(text: str, instruments: Sequence[str]) -> dict[str, int]:
    """`mixture - drums + bass` as {"mixture": 1, "drums": -1, "bass": 1}."""
    terms = parse_sum(text)
    if terms is None:
        raise ValueError(
            f"stems: expected a sum such as 'drums + bass' or 'mixture - vocals', found {text!r}"
        )
    allowed = (*instruments, MIXTURE)
    names = [name for name, _ in terms]
    for name in names:
        if name not in allowed or names.count(name) > 1:
            close = difflib.get_close_matches(name, allowed, 1)
            hint = f" (did you mean {close[0]!r}?)" if close and name not in allowed else ""
            derived = ", ".join(derived_stems(instruments))
            raise ValueError(
                f"stems: found {name!r} in {text!r}{hint}; allowed: {', '.join(allowed)}, each once in a sum, "
                f"and alone: {derived}"
            )
    return dict(terms)


def derive(sums: Sums, estimates: Stems, mixture: Tensor) -> Stems:
    """The wanted stems of a block, each (channels, samples); a single stem is the estimate itself, bit for bit."""
    signals = {**estimates, MIXTURE: mixture}
    return {
        name: _sum([(signals[term], sign) for term, sign in terms.items()]) for name, terms in sums.items()
    }


def _sum(terms: Sequence[tuple[Tensor, int]]) -> Tensor:
    (first, sign), *rest = terms
    total = first if sign > 0 else -first
    for signal, sign in rest:
        total = total + sign * signal
    return total
