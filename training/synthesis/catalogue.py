"""Which sounds and voices the training audio may use, and which are held out for the demo tracks.

A General MIDI program that is held out is held out in both sound fonts, with all its banks.
"""

from dataclasses import dataclass

from .midi import Program
from .tools import DEMO_FONT

HELD_OUT_KITS = (16, 17, 33, 25, 4)
KITS = {
    "fluid": (0, 1, 2, 3, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 18, 19, 24, 32, 34, 35, 36, 40, 41),
    "musescore": (0, 8, 24, 40),
}

# General MIDI programs by family: (for training, held out).
BASSES = ((32, 33, 34, 36, 38), (35, 37, 39))
CHORDAL = {
    "piano": ((0, 1, 2, 4, 6, 7), (3, 5)),
    "chromatic": ((8, 9, 11, 12, 14), (10, 13)),
    "organ": ((16, 17, 19, 21), (18, 20)),
    "guitar": ((24, 26, 27, 29, 30), (25, 28)),
    "strings": ((46, 48, 50, 51), (45, 49)),
    "brass": ((61, 62), (63,)),
    "pad": ((88, 90, 92, 93, 95, 99), (89, 94)),
}
LEADS = {
    "bowed": ((40, 42), (41,)),
    "horn": ((56, 57, 60), (58, 59)),
    "reed": ((64, 65, 68, 71), (66, 70)),
    "pipe": ((73, 74, 78), (75, 79)),
    "synth": ((80, 81, 84, 87), (82, 86)),
    "plucked": ((22, 26, 105, 107), (104, 108)),
}
# Sound effects and percussion of General MIDI that scenes use.
EFFECT_PROGRAMS = ((120, 121, 122, 123, 126, 127, 119), (124, 125))


@dataclass(frozen=True)
class Voice:
    """A singer or speaker: espeak's voice, and what is done to it.

    `formant` scales the spectral envelope's frequencies, `breath` adds to the aperiodicity (0–1),
    `lowest` is the lowest MIDI pitch sung (the range is 17 semitones).
    """

    name: str
    formant: float
    breath: float
    lowest: int


@dataclass(frozen=True)
class Palette:
    """The sounds a render may choose from."""

    kits: tuple[Program, ...]
    basses: tuple[Program, ...]
    chordal: dict[str, tuple[Program, ...]]
    leads: dict[str, tuple[Program, ...]]
    effects: tuple[Program, ...]
    voices: tuple[tuple[str, bool], ...]
    accents: tuple[str, ...]


# espeak-ng's voice variants: (name, sounds female).
HELD_OUT_VARIANTS = (
    ("f4", True), ("Annie", True), ("steph2", True), ("linda", True),
    ("m4", False), ("Michael", False), ("benjamin", False), ("adam", False),
)  # fmt: skip
TRAINING_VARIANTS = (
    ("f1", True), ("f2", True), ("f3", True), ("f5", True), ("Alicia", True), ("Andrea", True),
    ("anika", True), ("aunty", True), ("belinda", True), ("grandma", True), ("shelby", True),
    ("steph", True), ("steph3", True), ("sandro", True),
    ("m1", False), ("m2", False), ("m3", False), ("m5", False), ("m6", False), ("m7", False),
    ("m8", False), ("Alex", False), ("Andy", False), ("antonio", False), ("boris", False),
    ("caleb", False), ("david", False), ("ed", False), ("edward", False), ("Gene", False),
    ("gustave", False), ("Hugo", False), ("iven", False), ("Jacky", False), ("john", False),
    ("Lee", False), ("marcelo", False), ("Marco", False), ("Mario", False), ("max", False),
    ("Mike", False), ("norbert", False), ("pablo", False), ("paul", False), ("pedro", False),
    ("quincy", False), ("rob", False), ("robert", False), ("travis", False), ("victor", False),
    ("zac", False),
)  # fmt: skip
TRAINING_ACCENTS = ("en-us", "en-gb", "en-gb-scotland", "en-029", "en-gb-x-gbcwmd")
HELD_OUT_ACCENTS = ("en-us", "en-gb-x-rp")


def programs(numbers: tuple[int, ...], fonts: tuple[str, ...]) -> tuple[Program, ...]:
    """Each of these programs in each of these sound fonts."""
    return tuple(Program(font, number) for font in fonts for number in numbers)


def training_palette() -> Palette:
    """Everything that is not held out, in both sound fonts."""
    fonts = ("fluid", "musescore")
    detuned = (Program("fluid", 38, 8), Program("musescore", 38, 8))
    return Palette(
        kits=tuple(Program(font, kit) for font, kits in KITS.items() for kit in kits),
        basses=programs(BASSES[0], fonts) + detuned,
        chordal={family: programs(train, fonts) for family, (train, _) in CHORDAL.items()},
        leads={family: programs(train, fonts) for family, (train, _) in LEADS.items()},
        effects=programs(EFFECT_PROGRAMS[0], fonts),
        voices=TRAINING_VARIANTS,
        accents=TRAINING_ACCENTS,
    )


def held_out_palette() -> Palette:
    """The demo tracks' sounds: programs, kits and voices that training never hears, of one sound font."""
    fonts = (DEMO_FONT,)
    return Palette(
        kits=tuple(Program(DEMO_FONT, kit) for kit in HELD_OUT_KITS),
        basses=programs(BASSES[1], fonts),
        chordal={family: programs(held, fonts) for family, (_, held) in CHORDAL.items()},
        leads={family: programs(held, fonts) for family, (_, held) in LEADS.items()},
        effects=programs(EFFECT_PROGRAMS[1], fonts),
        voices=HELD_OUT_VARIANTS,
        accents=HELD_OUT_ACCENTS,
    )
