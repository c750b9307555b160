"""The pages: benchmarks and boards, entries, the queue."""

from typing import Annotated, Any

from fastapi import APIRouter, Query
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.responses import FileResponse, Response

from evaluator.reporting import charts
from evaluator.service import benchmarks, boards, entries, jobs, listening, organising
from evaluator.service.access import Anybody, Here, Somebody, Wanted
from evaluator.service.errors import Refused
from evaluator.service.posted import Fields, Form, to
from evaluator.service.rendering import STATIC, moment, page
from evaluator.service.tables import UPLOADING, Entry, Upload

router = APIRouter(include_in_schema=False, default_response_class=Response)
STATIC_SECONDS = 3600
CHOICES = ("is_ensemble", "derives_instrumental")

Short = Annotated[str, Query(max_length=64)]


@router.get("/static/{name}")
def static(name: str) -> Response:
    """A style sheet or script of ours."""
    if name not in STATIC:
        raise Refused("There is nothing at this address.", 404)
    path, kind = STATIC[name]
    return FileResponse(path, media_type=kind, headers={"Cache-Control": f"max-age={STATIC_SECONDS}"})


@router.get("/")
def home(here: Here, caller: Anybody) -> Response:
    """All benchmarks."""
    now = here.now()
    with here.database.reading() as session:
        shown = [
            (each, boards.board(session, each, caller, now), benchmarks.is_closed(each, now))
            for each in benchmarks.every(session)
        ]
        return page("home.html.j2", caller, benchmarks=shown)


@router.get("/benchmarks/{name}")
def benchmark(
    name: str,
    here: Here,
    caller: Anybody,
    wanted: Wanted,
    measure: Short = "",
    stem: Short = "",
    part: Short = "",
) -> Response:
    """The board of a benchmark."""
    now = here.now()
    with here.database.reading() as session:
        found = benchmarks.named(session, name)
        shown = boards.board(session, found, caller, now, measure, stem, part, wanted, here.sure)
        return page(
            "benchmark.html.j2",
            caller,
            benchmark=found,
            board=shown,
            wanted=wanted,
            parts=benchmarks.shown_parts(found, now),
            is_split=benchmarks.has_private_part(found),
            is_closed=benchmarks.is_closed(found, now),
            left=None if caller is None else entries.quota_left(session, caller, found, now),
        )


@router.get("/benchmarks/{name}/new")
def new_entry(name: str, here: Here, caller: Somebody) -> Response:
    """The form of a new entry."""
    with here.database.reading() as session:
        found = benchmarks.named(session, name)
        return page("new.html.j2", caller, benchmark=found, entry=None, problem=None)


@router.post("/benchmarks/{name}/new")
def add_entry(name: str, here: Here, caller: Somebody, form: Fields) -> Response:
    """Begin an entry; its page then takes the files."""
    try:
        with here.database.writing() as session:
            found = benchmarks.named(session, name)
            made = entries.create(
                here.settings, session, caller, found, entries.details(_details(form)), here.now()
            )
            return to(f"/entries/{made.id}")
    except Refused as error:
        with here.database.reading() as session:
            found = benchmarks.named(session, name)
        return page("new.html.j2", caller, error.status, benchmark=found, entry=form, problem=error.sentence)


def _details(form: Form) -> dict[str, Any]:
    """What a form says of an entry."""
    texts = ("name", "method", "training_data", "link", "description", "checkpoints", "visibility")
    given: dict[str, Any] = {key: form[key] for key in texts if key in form}
    return {**given, **{key: key in form for key in CHOICES}, "named_from": _day(form.get("named_from", ""))}


def _day(text: str) -> float | None:
    """The beginning of a day that a form names; None for none."""
    return None if not text.strip() else organising.moment_of(text.strip())


@router.get("/entries/{number}")
def entry(number: int, here: Here, caller: Anybody) -> Response:
    """An entry: what it is, how far it is, what came of it."""
    now = here.now()
    with here.database.reading() as session:
        found = entries.find_visible(session, number, caller)
        seen = entries.scores_visible(found, caller)
        parts = benchmarks.shown_parts(found.benchmark, now) if seen else ()
        return page(
            "entry.html.j2",
            caller,
            entry=found,
            benchmark=found.benchmark,
            words=entries.STATE_WORDS[found.state],
            author=entries.author(found, caller, now),
            is_own=entries.is_own(found, caller),
            seen=seen,
            parts=[(part, boards.means_of(session, found, part)) for part in parts],
            strips=_strips(session, found, parts[0]) if seen and found.benchmark.is_open else None,
            heard=listening.tracks_of(here.settings, found) if seen else {},
            place=next((each for each in jobs.queue(session) if each.entry == number), None),
            workers=jobs.living_workers(session, now),
            uploads=_uploads(session, found) if found.state == UPLOADING else [],
        )


def _uploads(session: Session, found: Entry) -> list[Upload]:
    return list(session.scalars(select(Upload).where(Upload.entry_id == found.id).order_by(Upload.name)))


def _strips(session: Session, found: Entry, part: str) -> dict[str, Any] | None:
    """The tracks' scores by stem, of the first measure of an open benchmark."""
    measure = found.benchmark.measures[0]
    tracks = boards.tracks_of(session, found, measure, part)
    values = {
        stem: [
            (index, track, value)
            for index, (track, scores) in enumerate(tracks.items())
            if (value := scores.get(stem)) is not None
        ]
        for stem in found.stems
    }
    every = [value for several in values.values() for _, _, value in several]
    if not every:
        return None
    return {
        "measure": measure,
        "axis": charts.axis(every),
        "strips": [charts.strip(stem, several) for stem, several in values.items() if several],
        "tracks": tracks,
    }


@router.get("/entries/{number}/edit")
def edit(number: int, here: Here, caller: Somebody) -> Response:
    """The form of an entry that is there."""
    with here.database.reading() as session:
        found = entries.find_visible(session, number, caller)
        entries.require_owner(caller, found)
        return page("new.html.j2", caller, benchmark=found.benchmark, entry=_as_form(found), problem=None)


def _as_form(found: Entry) -> Form:
    texts = ("name", "method", "training_data", "link", "description", "checkpoints", "visibility")
    form = {key: str(getattr(found, key)) for key in texts}
    form["named_from"] = _day_of(found)
    return {**form, **{key: "on" for key in CHOICES if getattr(found, key)}}


def _day_of(found: Entry) -> str:
    """The day of its author's name, as the form has it."""
    return "" if found.named_from is None else moment(found.named_from)[:10]


@router.post("/entries/{number}/edit")
def change(number: int, here: Here, caller: Somebody, form: Fields) -> Response:
    """Say something else of an entry."""
    with here.database.writing() as session:
        found = entries.find_visible(session, number, caller)
        said = _details(form)
        if said["named_from"] == _day(_day_of(found)):  # the form has days alone, programs say moments
            said["named_from"] = found.named_from
        entries.change(session, caller, found, entries.details(said))
    return to(f"/entries/{number}")


@router.post("/entries/{number}/stop")
def stop(number: int, here: Here, caller: Somebody) -> Response:
    """Cancel or withdraw an entry."""
    with here.database.writing() as session:
        entries.stop(session, caller, entries.find_visible(session, number, caller))
    entries.remove_files(here.settings, number)
    return to(f"/entries/{number}")


@router.get("/queue")
def queue(here: Here, caller: Anybody) -> Response:
    """What is under way."""
    with here.database.reading() as session:
        return page(
            "queue.html.j2",
            caller,
            waiting=jobs.queue(session),
            workers=jobs.living_workers(session, here.now()),
            words=entries.STATE_WORDS,
        )
