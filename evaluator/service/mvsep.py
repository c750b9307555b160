"""The interface of MVSep's quality checker, at its own paths, so that its clients work with another host.

Known are the fields of `add` and of an entry, the names of the calls, and that an unknown entry is "Job not found"
with 400 (its public clients). Not known, and so assumed: the numbers of `proc`, how refusals other than that look,
the keys around the rows of `queue` and `leaderboard`, and that `delete` is a POST. Scores have two decimals here.
"""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import parse_qsl

from fastapi import APIRouter, Query, Request
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from evaluator.measures.means import MEAN
from evaluator.service import accounts, benchmarks, boards, entries, jobs, uploads
from evaluator.service.access import Anybody, Here
from evaluator.service.accounts import Caller
from evaluator.service.errors import Refused
from evaluator.service.forms import FormReader
from evaluator.service.running import Service
from evaluator.service.tables import (
    ANONYMOUS,
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
    Benchmark,
    Entry,
    Upload,
)
from evaluator.service.uploads import Writer

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


@dataclass
class _Coming:
    """A zip on its way, and the entry that it is of."""

    entry: int
    upload: str
    most_bytes: int
    writer: Writer
    length: int = 0

    def take(self, block: bytes) -> None:
        """Write what has come; Refused for more than the tracks allow."""
        self.length += len(block)
        if self.length > self.most_bytes:
            raise Refused(f"zipfile: more than the {self.most_bytes} bytes that the tracks allow")
        self.writer.write(block)


@router.post("/add")
async def add(request: Request, here: Here) -> dict[str, Any]:
    """A new entry: its fields, then its zip, which is written as it comes."""
    reader = FormReader(request)
    coming: _Coming | None = None
    try:
        async for block in reader.blocks():
            if coming is None and reader.form.filename is not None:
                coming = await run_in_threadpool(_begin, here, reader.form.fields, request)
            if coming is not None and block:
                await run_in_threadpool(coming.take, block)
        if coming is None:
            raise Refused("zipfile: missing; expected a zip in the form")
        await run_in_threadpool(_submit, here, coming)
    except BaseException:
        if coming is not None:
            await run_in_threadpool(_give_up, here, coming.entry)
        raise
    finally:
        if coming is not None:
            coming.writer.close()
    return {
        "success": True,
        "data": {"id": coming.entry, "link": f"{here.settings.url}/entries/{coming.entry}"},
    }


def _caller(session: Session, here: Service, token: str) -> Caller:
    found = accounts.of_token(session, token, here.now())
    if found is None:
        raise Refused("api_token: unknown, or its time is over; it must come before the zip", 401)
    return found[0]


def _begin(here: Service, fields: Mapping[str, str], request: Request) -> _Coming:
    """A new entry by the fields before the zip."""
    password = fields.get("password", "")
    hashed = accounts.hash_password(password) if password else None
    with here.database.writing() as session:
        caller = _caller(session, here, fields.get("api_token", ""))
        benchmark = _benchmark(session, fields.get("dataset_type", "0"))
        said = entries.details(
            {
                "name": fields.get("algo_name", ""),
                "description": fields.get("main_text", ""),
                "is_ensemble": fields.get("ensemble", "0") == "1",
                "visibility": ANONYMOUS,
            }
        )
        entry = entries.create(here.settings, session, caller, benchmark, said, here.now())
        entry.password_hash = hashed
        most = uploads.most_bytes_of_zip(benchmark)
        stated = int(request.headers.get("content-length", most))
        uploads.check_room(here.settings, session, caller, min(stated, most), here.now())
        number = entry.id
    folder, upload = here.settings.entry_folder(number), secrets.token_hex(16)
    folder.mkdir(parents=True, exist_ok=True)
    return _Coming(number, upload, most, Writer(folder / upload, 0))


def _number(text: str, absent: int = 0) -> int:
    """The number that a text is, as far as a row may have it."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else absent


def _benchmark(session: Session, text: str) -> Benchmark:
    found = benchmarks.numbered(session, _number(text, absent=-1))
    if found is None:
        every = [
            f"{each.dataset_type} ({each.name})"
            for each in benchmarks.every(session)
            if each.dataset_type is not None
        ]
        raise Refused(
            f"dataset_type: expected one of {', '.join(every) or 'none: there is no such benchmark'}"
        )
    return found


def _submit(here: Service, coming: _Coming) -> None:
    """Put an entry whose zip is there into the queue."""
    coming.writer.flush()
    assert coming.writer.digest is not None
    with here.database.writing() as session:
        found = entries.find(session, coming.entry)
        session.add(
            Upload(
                id=coming.upload,
                entry_id=found.id,
                name="upload.zip",
                track=None,
                stem=None,
                length=coming.length,
                offset=coming.length,
                sha256=coming.writer.digest.hexdigest(),
                is_verified=True,
                created=here.now(),
                touched=here.now(),
            )
        )
        session.flush()
        author = Caller(found.account.id, found.account.name, found.account.role)
        entries.submit(session, author, found, here.now())


def _give_up(here: Service, number: int) -> None:
    with here.database.writing() as session:
        entry = entries.find(session, number)
        if entry.state == UPLOADING:
            entry.state = CANCELLED
            entries.remove_files(here.settings, number)


@router.get("/entry")
def entry(id: Annotated[str, Query(max_length=20)], here: Here, caller: Anybody) -> dict[str, Any]:
    """One entry."""
    with here.database.reading() as session:
        # Its clients ask without a token, and while an entry is not scored yet.
        found = session.get(Entry, _number(id))
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
    message = entries.STATE_WORDS[found.state]
    if entries.is_own(found, caller):
        message = "\n".join([message, *map(str, found.problems)])
    return {
        "id": found.id,
        "dataset_type": found.benchmark.dataset_type or 0,
        "date": _date(found.created),
        "algo_name": found.name,
        "main_text": found.description,
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
        found = _benchmark(session, dataset_type)
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
    address = request.client.host if request.client else ""
    await run_in_threadpool(_delete, here, fields, address)
    return {"success": True, "data": {}}


async def _fields(request: Request) -> dict[str, str]:
    """The fields of a form of either kind."""
    if request.headers.get("content-type", "").startswith("multipart/"):
        reader = FormReader(request)
        async for block in reader.blocks():
            if block:
                raise Refused("Found a file, expected fields.")
        return reader.form.fields
    return dict(parse_qsl((await request.body()).decode(errors="replace"), max_num_fields=20))


def _delete(here: Service, fields: Mapping[str, str], address: str) -> None:
    text, now = fields.get("id", ""), here.now()
    number = _number(text)
    subjects = (f"entry {number}", f"address {address}")
    with here.database.writing() as session:
        accounts.check_attempts(session, subjects, now)
        found = session.scalar(select(Entry).where(Entry.id == number, Entry.visibility != PRIVATE))
        hashed = accounts.NOBODYS_HASH if found is None else found.password_hash or accounts.NOBODYS_HASH
    fits = accounts.fits(hashed, fields.get("password", ""))
    with here.database.writing() as session:
        if not fits:
            accounts.note_failure(session, subjects, now)
        else:
            entries.end(session, entries.find(session, number))
    if not fits:
        raise Refused("There is no such entry, or its password is another.")
    entries.remove_files(here.settings, number)
