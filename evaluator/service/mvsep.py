"""The interface of MVSep's quality checker, at its own paths, so that its clients work with another host.

Known are the fields of `add` and of an entry, the names of the calls, and that an unknown entry is "Job not found"
with 400 (its public clients). Not known, and so assumed: the numbers of `proc`, how refusals other than that look,
the keys around the rows of `queue` and `leaderboard`, and that `delete` is a POST. Scores have two decimals here.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import parse_qsl

from fastapi import APIRouter, Query, Request
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from evaluator.measures.means import MEAN
from evaluator.service import accounts, benchmarks, boards, entries, jobs, one_piece
from evaluator.service.access import Anybody, Here
from evaluator.service.accounts import Caller
from evaluator.service.errors import Refused
from evaluator.service.forms import MOST_FIELDS, FormReader
from evaluator.service.running import Service
from evaluator.service.security import address_of
from evaluator.service.tables import (
    CANCELLED,
    DONE,
    FAILED,
    PRIVATE,
    QUEUED,
    REFUSED,
    SCORING,
    UPLOADING,
    VALIDATING,
    WITHDRAWN,
    Entry,
)

ROOT = "/api/quality_checker"
router = APIRouter(prefix=ROOT, include_in_schema=False)
MOST_ROWS = 20
NOT_FOUND = "Job not found"
PROC = {
    UPLOADING: 0,
    QUEUED: 0,
    VALIDATING: 1,
    SCORING: 1,
    DONE: 2,
    REFUSED: 3,
    FAILED: 3,
    CANCELLED: 3,
    WITHDRAWN: 3,
}
STEMS = {"instrumental": "instrum"}  # as its clients call them


def refusal(status: int, sentence: str, problems: tuple[str, ...] = ()) -> Response:
    """A refusal; its clients know 400 and 401."""
    status = status if status in (401, 500) else 400
    return JSONResponse({"success": False, "data": {"message": " ".join([sentence, *problems])}}, status)


@router.post("/add")
async def add(request: Request, here: Here) -> dict[str, Any]:
    """A new entry: its fields and its zip, which is written as it comes."""
    made = await one_piece.take(here, request)
    return {"success": True, "data": {"id": made, "link": f"{here.settings.url}/entries/{made}"}}


@router.get("/entry")
def entry(id: Annotated[str, Query(max_length=20)], here: Here, caller: Anybody) -> dict[str, Any]:
    """One entry."""
    with here.database.reading() as session:
        # Its clients ask without a token, and while an entry is not scored yet.
        found = session.get(Entry, one_piece.number(id))
        if found is None or (found.visibility == PRIVATE and not entries.is_own(found, caller)):
            raise Refused(NOT_FOUND)
        return {"success": True, "data": _row(session, found, caller, here.now())}


def _row(session: Session, found: Entry, caller: Caller | None, now: float) -> dict[str, Any]:
    """An entry as its clients read it: "Metric M for S: V" a line, and the same flat."""
    scores: dict[str, float | None] = {}
    lines = []
    if entries.scores_visible(found, caller):
        part = benchmarks.shown_parts(found.benchmark, now)[0]
        for measure, by_stem in boards.means_of(session, found, part).items():
            for stem, value in by_stem.items():
                if stem != MEAN and value is not None:
                    name = STEMS.get(stem, stem)
                    scores[f"{measure}_{name}"] = value
                    lines.append(f"Metric {measure} for {name}: {value:.2f}")
    is_shown = entries.is_visible(found, caller)  # else no more than how far it is
    message = entries.STATE_WORDS[found.state]
    if entries.is_own(found, caller):
        message = "\n".join([message, *map(str, found.problems)])
    return {
        "id": found.id,
        "dataset_type": found.benchmark.dataset_type or 0,
        "date": _date(found.created),
        "algo_name": found.name if is_shown else "",
        "main_text": found.description if is_shown else "",
        "proc": PROC[found.state],
        "proc_remote_date": _date(found.scored or found.submitted or found.created),
        "msg": message,
        "metrics": "\n".join(lines),
        "is_ensemble": int(found.is_ensemble),
        **scores,
    }


def _date(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}"


@router.get("/queue")
def queue(here: Here) -> dict[str, Any]:
    """What is under way."""
    with here.database.reading() as session:
        waiting = [
            {"id": each.entry, "dataset_type": _number_of(session, each.entry), "proc": PROC[each.state]}
            for each in jobs.queue(session)
        ]
        return {"success": True, "data": {"queue": waiting}}


def _number_of(session: Session, number: int) -> int:
    return entries.find(session, number).benchmark.dataset_type or 0


@router.get("/leaderboard")
def leaderboard(
    here: Here,
    caller: Anybody,
    dataset_type: Annotated[str, Query(max_length=8)] = "0",
    start: Annotated[int, Query(ge=0, le=1 << 31)] = 0,
    limit: Annotated[int, Query(ge=1)] = MOST_ROWS,
    algo_name_filter: Annotated[str, Query(max_length=100)] = "",
    sort: Annotated[str, Query(max_length=64)] = "",
) -> dict[str, Any]:
    """A part of a board, sorted by a stem, or by a measure and a stem (`sdr_vocals`)."""
    with here.database.reading() as session:
        found = one_piece.benchmark_of(session, dataset_type)
        sortables = {
            name: (measure, stem)
            for measure in found.measures
            for stem in found.stems
            for name in (f"{measure}_{STEMS.get(stem, stem)}",)
        }
        names = {STEMS.get(stem, stem): (found.measures[0], stem) for stem in found.stems}
        if sort and sort not in (sortables | names):
            raise Refused(f"sort: expected one of {', '.join(sortables)}")
        measure, stem = (sortables | names).get(sort, ("", ""))
        shown = boards.board(session, found, caller, here.now(), measure, stem)
        wanted = [row.entry for row in shown.rows if algo_name_filter.casefold() in row.name.casefold()]
        page = wanted[start : start + min(limit, MOST_ROWS)]
        rows = [_row(session, entries.find(session, number), caller, here.now()) for number in page]
        return {"success": True, "data": {"list": rows, "total": len(wanted), "sortables": list(sortables)}}


@router.post("/delete")
async def delete(request: Request, here: Here) -> dict[str, Any]:
    """Withdraw an entry by its number and the password it was given with."""
    fields = await _fields(request)
    await run_in_threadpool(_delete, here, fields, address_of(request.scope))
    return {"success": True, "data": {}}


async def _fields(request: Request) -> dict[str, str]:
    """The fields of a form of either kind."""
    if request.headers.get("content-type", "").startswith("multipart/"):
        reader = FormReader(request)
        async for block in reader.blocks():
            if block:
                raise Refused("Found a file, expected fields.")
        return reader.form.fields
    try:
        return dict(parse_qsl((await request.body()).decode(errors="replace"), max_num_fields=MOST_FIELDS))
    except ValueError:
        raise Refused(f"The form has more than {MOST_FIELDS} fields.") from None


def _delete(here: Service, fields: Mapping[str, str], address: str) -> None:
    text, now = fields.get("id", ""), here.now()
    number = one_piece.number(text)
    subjects = (f"entry {number}", f"address {address}")
    with here.database.writing() as session:
        attempt = accounts.begin_attempt(session, subjects, now)
        found = session.scalar(select(Entry).where(Entry.id == number, Entry.visibility != PRIVATE))
        hashed = accounts.NOBODYS_HASH if found is None else found.password_hash or accounts.NOBODYS_HASH
    fits = accounts.fits(hashed, fields.get("password", ""))
    with here.database.writing() as session:
        if fits:
            accounts.forgive(session, attempt)
            entries.end(session, entries.find(session, number))
    if not fits:
        raise Refused("There is no such entry, or its password is wrong.")
    entries.remove_files(here.settings, number)
