"""Musical material: scales, chord progressions, grooves, and patterns of sixteen steps per bar."""

from dataclasses import dataclass

STEPS = 16  # a bar has sixteen steps
MAJOR, MINOR = (0, 2, 4, 5, 7, 9, 11), (0, 2, 3, 5, 7, 8, 10)
DORIAN, MIXOLYDIAN = (0, 2, 3, 5, 7, 9, 10), (0, 2, 4, 5, 7, 9, 10)
# Chords as scale degrees (0 = tonic), one per bar.
PROGRESSIONS: dict[tuple[int, ...], tuple[tuple[int, ...], ...]] = {
    MAJOR: (
        (0, 4, 5, 3),
        (0, 5, 3, 4),
        (0, 3, 4, 3),
        (5, 3, 0, 4),
        (0, 1, 3, 4),
        (0, 2, 3, 4),
        (1, 4, 0, 5),
        (0, 0, 3, 4),
        (3, 0, 4, 5),
        (0, 3, 0, 4),
    ),
    MINOR: (
        (0, 5, 2, 6),
        (0, 3, 4, 0),
        (0, 6, 5, 6),
        (0, 5, 3, 4),
        (0, 2, 5, 6),
        (0, 0, 5, 6),
        (3, 0, 5, 6),
        (0, 6, 3, 5),
    ),
    DORIAN: ((0, 3, 0, 3), (0, 2, 3, 0), (0, 6, 3, 0), (0, 1, 2, 3)),
    MIXOLYDIAN: ((0, 6, 3, 0), (0, 3, 6, 3), (0, 4, 6, 3), (0, 0, 6, 3)),
}

KICK, RIM, SNARE, CLAP, HAT, OPEN_HAT, RIDE, CRASH = 36, 37, 38, 39, 42, 46, 51, 49
TOMS, TAMBOURINE, SHAKER, COWBELL = (50, 47, 45, 43), 54, 70, 56


@dataclass(frozen=True)
class Groove:
    """Drum patterns of a style: x hit, o ghost note, ? now and then; one of each is chosen per song."""

    tempo: tuple[int, int]
    kick: tuple[str, ...]
    snare: tuple[str, ...]
    hat: tuple[str, ...]
    swing: float = 0.0


EIGHTHS, SIXTEENTHS, QUARTERS = "x.x.x.x.x.x.x.x.", "xoxoxoxoxoxoxoxo", "x...x...x...x..."
BACKBEAT = "....x.......x..."
GROOVES = {
    "rock": Groove(
        (96, 144),
        ("x.....x.x.....?.", "x.x.....x.x...?.", "x......xx.x....."),
        (BACKBEAT,),
        (EIGHTHS, QUARTERS),
    ),
    "pop": Groove(
        (90, 128),
        ("x.....x...x...?.", "x..x....x..x....", "x.....?.x......."),
        (BACKBEAT, "....x..o....x..?"),
        (EIGHTHS, SIXTEENTHS),
    ),
    "disco": Groove(
        (108, 132),
        (QUARTERS,),
        (BACKBEAT, "....x.......x..o"),
        ("..O...O...O...O.", "x.O.x.O.x.O.x.O.", SIXTEENTHS),
    ),
    "funk": Groove(
        (88, 116),
        ("x..x..x...x..x..", "x.x....x..x..?..", "x......x.xx....."),
        ("....x..o.o..x..o", "....x.o..o.ox..."),
        (SIXTEENTHS, "x.xxx.xOx.xxx.x."),
    ),
    "ballad": Groove(
        (60, 84),
        ("x.......x.x.....", "x......xx......."),
        (BACKBEAT, "....x.......x.o."),
        (EIGHTHS, "x...o...x...o..."),
    ),
    "hiphop": Groove(
        (78, 98),
        ("x..x...?..x.....", "x.x.......xx....", "x......x..x..x.."),
        (BACKBEAT,),
        (EIGHTHS, "x.x.x.xxx.x.x.xx"),
        0.2,
    ),
    "half": Groove(
        (120, 150),
        ("x.....?...x.....", "x..x......x..?.."),
        ("........x.......", "........x.....o."),
        (EIGHTHS, "xxx.xxx.xxxxxxx."),
    ),
    "latin": Groove(
        (96, 128),
        ("x..xx..xx..xx..x", "x..x..x.x..x..x."),
        ("r..r..r...r..r..", "...r..r...r..r.."),
        (EIGHTHS, SIXTEENTHS),
    ),
    "shuffle": Groove((84, 132), ("x.....x.x.....x.", "x.......x.x....."), (BACKBEAT,), (EIGHTHS,), 0.33),
    "punk": Groove(
        (148, 178),
        ("x.....x.x.x.....", "x...x...x...x..."),
        ("....x.......x...", "..x...x...x...x."),
        (EIGHTHS, QUARTERS),
    ),
    "break": Groove(
        (150, 172),
        ("x.........x.....", "x.x.......x..?.."),
        ("....x..o.o..x...", "....x..o.o....x."),
        (EIGHTHS, "x.x.x.xxx.x.x.x."),
    ),
    "reggae": Groove(
        (68, 88),
        ("........x.......", "x.......x......."),
        ("........r.......", "........x......."),
        ("..x...x...x...x.", EIGHTHS),
        0.15,
    ),
}

# Bass patterns: R root, 5 fifth, 8 octave, 3 third, 7 seventh, n towards the next root, - held, . silent.
BASS_PATTERNS = (
    "R-R-R-R-R-R-R-R-",
    "R---....5---....",
    "R--R--R-..R-5-8-",
    "R-8-R-8-R-8-R-8-",
    "R-------R---5-n-",
    "R--.R-..8-.R..5-",
    "R---3---5---7---",
    "R---------------",
    "R..R..8.R..R.58.",
    "R.RR..R.R.RR..n.",
    "R-----R-5---3-n-",
    "..R-..R-..R-..R-",
    "R---R---R---R---",
    "R-R-8-R-5-R-7-R-",
    "R-----5-8-----5-",
    "R.R.R.R.R.R.R.n.",
    "R---5---8---5---",
    "R--3--5-R--3--n-",
)
CHORD_PATTERNS = (
    "x---------------",
    "x-------x-------",
    "x---x---x---x---",
    "..x...x...x...x.",
    "x-x-x-x-x-x-x-x-",
    "x--x--x-x--x--x-",
    "x..x..x...x..x..",
    "x-----x---------",
    "..x-..x-..x-..x-",
    "x--x--x---------",
)
# One bar of sung rhythm each: x a syllable, - held, . silent.
SUNG_PATTERNS = (
    "x-x-x-x---x---..",
    "..x-x-x-x-----..",
    "x---x-x-x---....",
    "x-x-x---x-x-x---",
    "x--x--x-x-------",
    "....x-x-x-x-x---",
    "x-----x-x-------",
    "x-x-xx--x-x-x-..",
    "x-------x-------",
    "..x-x---x-x---..",
    "x---x---x---x---",
    "x-------------..",
    "x--x--x--x--x-x-",
    "..x--x--x--x----",
)
SHORT_SOUNDS = frozenset({"guitar", "piano", "chromatic"})
