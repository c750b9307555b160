"""Layouts of the known data sets: which folders and files below a data folder are tracks, and of which parts."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Protocol

from evaluator.challenge import CINEMATIC, MUSIC, Challenge, StemSet
from evaluator.running import moisesdb, stem_files
from evaluator.running.parts import Part

SUFFIXES = (".wav", ".flac")
SPLITS = ("train", "test", "valid", "val", "tr", "cv", "tt")
INSIDE = (
    *SPLITS,
    "flac",
)  # DnR v3 has its splits below a folder of the format, and that below the language's
OF_THE_DISK = "lost+found"  # which only root may read
DEEPEST = 4  # folders of folders of tracks
WHOLE = ("mixture", "mix")  # what a mixture in one file is called


@dataclass(frozen=True)
class Layout:
    """File names (without suffix) of a known data set; `{folder}` stands for the track folder's name."""

    name: str
    challenge: StemSet
    mixtures: tuple[tuple[str, ...], ...]  # alternatives; the first that is there counts
    stems: Mapping[str, str]


_WHOLE = tuple((name,) for name in WHOLE)
LAYOUTS = (
    Layout("music challenge or MUSDB18-HQ", MUSIC, _WHOLE, {stem: stem for stem in MUSIC.stems}),
    Layout(
        "cinematic challenge",
        CINEMATIC,
        (("{folder}_mixture_Lt", "{folder}_mixture_Rt"), ("{folder}_mixture",), *_WHOLE),
        {stem: f"{{folder}}_{stem}" for stem in CINEMATIC.stems},
    ),
    Layout(
        "DnR", CINEMATIC, (("mix",), ("mixture",)), {"dialog": "speech", "effect": "sfx", "music": "music"}
    ),
)


class Found(Protocol):
    """A track by the names of its files, of which nothing was read."""

    @property
    def name(self) -> str:
        """Its path below the data folder, "/" between a split and its track."""

    @property
    def place(self) -> Path:
        """Its folder, or the one file that it is."""

    @property
    def short(self) -> str:
        """The last part of its name."""

    @property
    def challenge(self) -> StemSet:
        """The stems that it is laid out for: those that are wanted, if it has them, else a challenge's."""

    @property
    def usual(self) -> StemSet | None:
        """The challenge whose stems it has, whatever is wanted."""

    @property
    def held(self) -> frozenset[str]:
        """Every stem that it has."""

    @property
    def missing(self) -> int:
        """How many of the stems of `challenge` it lacks."""

    def parts(self, problems: list[str]) -> tuple[list[Part], dict[str, Part]]:
        """Its mixtures and its references; what is missing or double is added to the problems."""


Names = Mapping[str, Sequence[Path]]
"""The audio files of a folder by their names in small letters, without suffix."""


def audio_names(folder: Path) -> Names:
    """The audio files in a folder; `Vocals.wav` is called vocals."""
    found: dict[str, list[Path]] = {}
    for entry in sorted(folder.iterdir()):
        if entry.suffix.lower() in SUFFIXES:
            found.setdefault(entry.stem.casefold(), []).append(entry)
    for several in found.values():
        several.sort(key=lambda entry: (SUFFIXES.index(entry.suffix.lower()), entry.name))
    return found


def called(name: str, folder: Path) -> str:
    """A layout's name of a file, as `audio_names` has it."""
    return name.format(folder=folder.name).casefold()


@dataclass(frozen=True)
class TrackFolder:
    """A track with one file for each stem, and one or two for its mixture."""

    name: str
    place: Path
    layout: Layout
    names: Names = field(repr=False)

    @property
    def short(self) -> str:
        return self.place.name

    @property
    def challenge(self) -> StemSet:
        return self.layout.challenge

    @property
    def usual(self) -> StemSet | None:
        layout = _best(LAYOUTS, self.place, self.names)
        complete = layout is not None and not _missing(self.place, self.names, layout)
        return layout.challenge if layout is not None and complete else None

    @property
    def held(self) -> frozenset[str]:
        known = {called(file, self.place): stem for stem, file in self.layout.stems.items()}
        mixtures = {called(file, self.place) for files in self.layout.mixtures for file in files}
        rest = {name: several[0].stem for name, several in self.names.items() if name not in mixtures}
        return frozenset(known.get(name, given) for name, given in rest.items() if name not in WHOLE)

    @property
    def missing(self) -> int:
        return _missing(self.place, self.names, self.layout)

    def parts(self, problems: list[str]) -> tuple[list[Part], dict[str, Part]]:
        references: dict[str, Part] = {}
        mixtures = self._mixtures(problems)
        for stem, file in self.layout.stems.items():
            if (path := self._find(file, problems)) is not None:
                references[stem] = path
        return mixtures, references

    def _mixtures(self, problems: list[str]) -> list[Part]:
        there = [
            files
            for files in self.layout.mixtures
            if any(called(name, self.place) in self.names for name in files)
        ]
        whole = [self.names[files[0]][0].name for files in there if files[0] in WHOLE]
        if len(whole) > 1 and len(there) == len(whole):
            problems.append(
                f"{self.place}: both {whole[0]} and {whole[1]}; remove the one that is no mixture"
            )
            return []
        wanted = there[0] if there else self.layout.mixtures[0][:1]
        return [path for name in wanted if (path := self._find(name, problems)) is not None]

    def _find(self, name: str, problems: list[str]) -> Path | None:
        """The one file of a name; a problem if there is none, or several."""
        present = self.names.get(called(name, self.place), ())
        if len(present) == 1:
            return present[0]
        if present:
            problems.append(f"{self.place}: both {present[0].name} and {present[1].name}; remove one")
        else:
            expected = self.place / name.format(folder=self.place.name)
            problems.append(f"{expected}{SUFFIXES[0]}: missing (or the same as {SUFFIXES[1]})")
        return None


def own_layouts(wanted: StemSet | None) -> tuple[Layout, ...]:
    """Where stems that are no challenge's may be: one file per stem, or among a challenge's files."""
    if wanted is None or isinstance(wanted, Challenge):
        return ()
    own = Layout("one file per stem", wanted, _WHOLE, {stem: stem for stem in wanted.stems})
    among = (
        replace(layout, challenge=wanted, stems={stem: layout.stems[stem] for stem in wanted.stems})
        for layout in LAYOUTS
        if set(wanted.stems) <= set(layout.stems)
    )
    return (own, *among)


def find(root: Path, wanted: StemSet | None, notes: list[str]) -> list[Found]:
    """The tracks below `root` in the order of their names; `notes` gets what is passed over."""
    return sorted(_tracks(root, wanted, own_layouts(wanted), notes), key=lambda found: found.name)


def _tracks(
    root: Path, wanted: StemSet | None, own: Sequence[Layout], notes: list[str], above: tuple[str, ...] = ()
) -> Iterator[Found]:
    for entry in sorted(root.iterdir()):
        name = "/".join((*above, entry.name))
        if entry.name.startswith(".") or entry.name == OF_THE_DISK:
            notes.append(f"{entry}: hidden, ignored")
        elif stem_files.is_one(entry):
            yield stem_files.StemFile("/".join((*above, stem_files.short(entry))), entry, wanted)
        elif not entry.is_dir():
            notes.append(f"{entry}: not a folder, ignored")
        elif moisesdb.is_one(entry):
            song = moisesdb.found(name, entry, wanted)
            notes += song.notes()
            yield song
        elif (layout := _layout_of(entry, own)) is not None:
            yield TrackFolder(name, entry, layout, audio_names(entry))
        elif len(above) < DEEPEST and _is_container(entry):
            inner: list[str] = []
            tracks = list(_tracks(entry, wanted, own, inner, (*above, entry.name)))
            notes += inner if tracks else [f"{entry}: holds no tracks of a known layout, ignored"]
            yield from tracks
        else:
            notes.append(f"{entry}: holds no files of a known layout, ignored")


def _is_container(folder: Path) -> bool:
    """Whether it holds tracks, or splits of them: of a language (DnR v3), of a provider (MoisesDB)."""
    if folder.name in INSIDE:
        return True
    inner = [entry for entry in folder.iterdir() if entry.is_dir()]
    return any(entry.name in INSIDE or moisesdb.is_one(entry) for entry in inner)


def _layout_of(folder: Path, own: Sequence[Layout] = ()) -> Layout | None:
    """The layout of `own`, else the known one, most of whose files are in `folder`; None if it has no such file."""
    names = audio_names(folder)
    return _best(own, folder, names) or _best(LAYOUTS, folder, names)


def _best(layouts: Sequence[Layout], folder: Path, names: Names) -> Layout | None:
    def matches(layout: Layout) -> int:
        mixtures = [called(name, folder) for files in layout.mixtures for name in files]
        return 2 * (len(layout.stems) - _missing(folder, names, layout)) + any(
            name in names for name in mixtures
        )

    best = max(layouts, key=matches, default=None)
    return best if best is not None and matches(best) else None


def _missing(folder: Path, names: Names, layout: Layout) -> int:
    """How many stems of a layout have no file in `folder`."""
    return sum(called(name, folder) not in names for name in layout.stems.values())


def describe(layouts: Sequence[Layout]) -> str:
    """Layouts in words, for a folder that has none of them."""
    described = []
    for layout in layouts:
        names = [*layout.mixtures[0], *layout.stems.values()]
        described.append(
            f"TRACK/{{{','.join(name.format(folder='TRACK') for name in names)}}} ({layout.name})"
        )
    return (
        "; or ".join(described)
        + f"; as {' or '.join(SUFFIXES)}; or TRACK{stem_files.SUFFIX} (MUSDB18)"
        + f"; or TRACK/{moisesdb.DESCRIPTION} beside the folders of its stems (MoisesDB)"
    )
