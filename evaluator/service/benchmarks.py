"""Benchmarks: data with references, what is measured, which part of it is private, and the rules for entries."""

import math
import re
import secrets
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from evaluator import printable
from evaluator.challenge import STEM_NAME, StemSet, of_stems
from evaluator.measures.catalogue import MEASURES
from evaluator.running import dataset
from evaluator.running.dataset import Contents, Dataset, Track
from evaluator.running.staging import stage_mixture
from evaluator.service import references
from evaluator.service.database import Database
from evaluator.service.errors import Refused, SetupError
from evaluator.service.settings import Settings
from evaluator.service.tables import PRIVATE_PART, PUBLIC_PART, Benchmark

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
ZIP_TIME = (1980, 1, 1, 0, 0, 0)  # the same files make the same zip
COPY_BYTES = 1 << 20
MOST_LISTED = 10


@dataclass(frozen=True)
class Rules:
    """What an organiser says of a benchmark. Dates are seconds since 1970; None is no bound.

    stems: None for those of the challenge that the data is laid out for.
    private_share: of the tracks, whose scores are shown once the benchmark has closed.
    dataset_type: the number by which MVSep's clients name it, if they are to find it.
    published_sets: names of sets of published scores, which are shown below the board.
    progress: is called with each track whose files were read, and the number of tracks.
    """

    name: str
    folder: Path
    title: str = ""
    stems: tuple[str, ...] | None = None
    measures: tuple[str, ...] = ("sdr",)
    is_open: bool = False
    private_share: float = 0.5
    seed: int = 0
    opens: float | None = None
    closes: float | None = None
    per_day: int = 5
    in_all: int = 100
    dataset_type: int | None = None
    published_sets: tuple[str, ...] = ()
    progress: Callable[[Track, int], None] = field(default=lambda track, total: None)


def add(settings: Settings, session: Session, rules: Rules, now: float) -> Benchmark:
    """Read and check the data, and make the benchmark with its zip of mixtures.

    Raises SetupError for rules that cannot be, DataError for data that cannot be used.
    """
    _check(session, rules)
    with _read(settings, rules) as read:
        return _keep(settings, session, rules, read, now)


def add_beside_others(settings: Settings, database: Database, rules: Rules, now: float) -> Benchmark:
    """The same while a service runs, whose database is held for as long only as its row takes to be written."""
    with database.reading() as session:
        _check(session, rules)
    with _read(settings, rules) as read, database.writing() as session:
        _check(session, rules)
        return _keep(settings, session, rules, read, now)


@dataclass(frozen=True)
class _Read:
    """What takes long: data whose files were all read, their hash, and the zip of its mixtures."""

    data: Dataset
    sha256: str
    mixtures: Path


@contextmanager
def _read(settings: Settings, rules: Rules) -> Iterator[_Read]:
    """Read the data; the zip is removed afterwards, unless it was moved."""
    wanted = None if rules.stems is None else of_stems(rules.stems)
    data = dataset.load(rules.folder.resolve(), wanted=wanted)
    references.require_fitting(rules.published_sets, data.challenge.stems)
    total = len(data.tracks)
    digest = dataset.content_hash(data.tracks, lambda track: rules.progress(track, total))
    mixtures = settings.mixtures_file(rules.name).with_name(f"{secrets.token_hex(8)}.zip")
    try:
        write_mixtures(data, mixtures)
        yield _Read(data, digest, mixtures)
    finally:
        mixtures.unlink(missing_ok=True)


def _keep(settings: Settings, session: Session, rules: Rules, read: _Read, now: float) -> Benchmark:
    data = read.data
    made = Benchmark(
        name=rules.name,
        title=rules.title or rules.name,
        dataset_type=rules.dataset_type,
        folder=str(data.path),
        data_sha256=read.sha256,
        stems=list(data.challenge.stems),
        measures=list(rules.measures),
        tracks=_described(data, rules),
        is_open=rules.is_open,
        seed=rules.seed,
        opens=rules.opens,
        closes=rules.closes,
        per_day=rules.per_day,
        in_all=rules.in_all,
        created=now,
        published_sets=list(rules.published_sets),
    )
    session.add(made)
    session.flush()
    read.mixtures.replace(settings.mixtures_file(rules.name))
    return made


def refer(benchmark: Benchmark, names: Sequence[str]) -> None:
    """Show these sets of published scores below its board, and no others; SetupError for what cannot be one."""
    references.require_known(names)
    references.require_fitting(names, benchmark.stems)
    benchmark.published_sets = list(names)


def _check(session: Session, rules: Rules) -> None:
    if not NAME.fullmatch(rules.name):
        raise SetupError(
            f"{printable.plain(rules.name)}: no name of a benchmark; expected lower-case letters, digits and hyphens"
        )
    if session.scalar(select(Benchmark.id).where(Benchmark.name == rules.name)) is not None:
        raise SetupError(f"{rules.name}: there is a benchmark of this name; choose another")
    if rules.dataset_type is not None and numbered(session, rules.dataset_type) is not None:
        raise SetupError(f"dataset type {rules.dataset_type}: another benchmark has it; choose another")
    if unknown := [name for name in rules.measures if name not in MEASURES]:
        raise SetupError(f"measures: found {', '.join(unknown)}, expected some of {', '.join(MEASURES)}")
    references.require_known(rules.published_sets)
    if not 0 <= rules.private_share < 1:
        raise SetupError(f"private share: found {rules.private_share:g}, expected 0 or more, and less than 1")
    if rules.opens is not None and rules.closes is not None and rules.closes <= rules.opens:
        raise SetupError("it would close before it opens; swap the dates")


def _described(data: Dataset, rules: Rules) -> list[dict[str, Any]]:
    """The tracks as the table keeps them."""
    parts = split([track.name for track in data.tracks], rules.private_share, rules.seed)
    return [
        {
            "name": track.name,
            "folder": track.folder,
            "frames": track.frames,
            "rate_hz": track.rate_hz,
            "channels": sorted({track.estimate_channels, track.reference_channels}),
            "part": parts[track.name],
        }
        for track in data.tracks
    ]


def split(names: Sequence[str], private_share: float, seed: int) -> dict[str, str]:
    """Which part each track belongs to: by its name and the seed alone, one public track at least."""
    shuffled = sorted(names, key=lambda name: sha256(f"{seed}\n{name}".encode()).hexdigest())
    public = math.ceil(len(names) * (1 - private_share))
    return {name: PUBLIC_PART if place < public else PRIVATE_PART for place, name in enumerate(shuffled)}


def write_mixtures(data: Dataset, target: Path) -> None:
    """A zip of the mixtures, `<folder of the track>_mixture.wav` side by side; each is one file of all channels."""
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_suffix(".draft")
    plain = StemSet(data.challenge.name, data.challenge.stems)
    with zipfile.ZipFile(draft, "w", zipfile.ZIP_STORED) as archive:
        for track in data.tracks:
            with tempfile.TemporaryDirectory(dir=target.parent) as place:
                (mixture,) = plain.mixture_paths(stage_mixture(track, plain, Path(place)))
                info = zipfile.ZipInfo(f"{track.folder}_mixture.wav", ZIP_TIME)
                info.external_attr = 0o100644 << 16
                with (
                    mixture.open("rb") as source,
                    archive.open(info, "w", force_zip64=True) as written,
                ):
                    while block := source.read(COPY_BYTES):
                        written.write(block)
    draft.replace(target)


def named(session: Session, name: str) -> Benchmark:
    """The benchmark of a name; Refused with 404 if there is none."""
    known = NAME.fullmatch(name)  # else no database need be asked, nor know all its characters
    found = session.scalar(select(Benchmark).where(Benchmark.name == name)) if known else None
    if found is None:
        there = ", ".join(printable.listed([each.name for each in every(session)], MOST_LISTED)) or "none yet"
        raise Refused(f"There is no benchmark {printable.plain(name, 80)}; there are: {there}.", 404)
    return found


def numbered(session: Session, dataset_type: int) -> Benchmark | None:
    """The benchmark that MVSep's clients know by this number."""
    return session.scalar(select(Benchmark).where(Benchmark.dataset_type == dataset_type))


def every(session: Session) -> list[Benchmark]:
    """All benchmarks, oldest first."""
    return list(session.scalars(select(Benchmark).order_by(Benchmark.id)))


def contents(benchmark: Benchmark) -> Contents:
    """What the data holds, by the record of it."""
    return Contents(
        {track["name"]: track["folder"] for track in benchmark.tracks},
        frozenset(stem for stem in benchmark.stems if STEM_NAME.fullmatch(stem)),
    )


def is_closed(benchmark: Benchmark, now: float) -> bool:
    """Whether it takes no entries any more, and shows its private part."""
    return benchmark.closes is not None and now >= benchmark.closes


def has_private_part(benchmark: Benchmark) -> bool:
    """Whether some tracks are scored in secret."""
    return any(track["part"] == PRIVATE_PART for track in benchmark.tracks)


def shown_parts(benchmark: Benchmark, now: float) -> tuple[str, ...]:
    """The parts whose means anybody may see, the one that counts first."""
    if has_private_part(benchmark) and is_closed(benchmark, now):
        return PRIVATE_PART, PUBLIC_PART
    return (PUBLIC_PART,)
