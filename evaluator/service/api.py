"""The JSON interface, /api/v1: benchmarks, boards, entries, the queue, and uploads by the tus protocol."""

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request
from pydantic import BaseModel, ConfigDict, Field, field_validator
from sqlalchemy.orm import Session
from starlette.responses import FileResponse, Response

from evaluator.service import benchmarks, boards, entries, jobs, receiving, references, uploads
from evaluator.service.access import Anybody, Here, Somebody, Wanted
from evaluator.service.accounts import Caller
from evaluator.service.answers import (
    BenchmarkInFull,
    BenchmarkShown,
    BoardShown,
    EntriesShown,
    EntryShown,
    QueueShown,
    Refusal,
    UploadsShown,
    content,
    headers,
)
from evaluator.service.boards import Board
from evaluator.service.client import LONGEST_TEAM, team_problem
from evaluator.service.entries import Change, Details
from evaluator.service.tables import Benchmark, Entry, Upload
from evaluator.service.transfers import Download
from evaluator.service.tus import TUS, TUS_VERSION, expires, metadata, whole
from evaluator.service.uploads import Given

ROOT = "/api/v1"
router = APIRouter(
    prefix=ROOT, responses={"4XX": {"model": Refusal, "description": "Why the request was refused"}}
)
SHORT_OF_DISK: dict[int | str, dict[str, Any]] = {
    507: {"model": Refusal, "description": "The service is short of disk space"}
}


class NewEntry(Details):
    """What is said of a new entry, and which benchmark it is for."""

    benchmark: Annotated[str, Field(max_length=64)]
    team: Annotated[str, Field(min_length=1, max_length=LONGEST_TEAM)] | None = None  # it is submitted for

    @field_validator("team")
    @classmethod
    def _can_be_seen(cls, team: str | None) -> str | None:
        if team is not None and (problem := team_problem(team)):
            raise ValueError(problem)
        return team


class FileGiven(BaseModel):
    """A file that will be sent."""

    model_config = ConfigDict(extra="forbid")
    name: Annotated[str, Field(min_length=1, max_length=400)]
    length: Annotated[int, Field(ge=0, le=1 << 50)]
    sha256: Annotated[str, Field(max_length=64)] | None = None


class FilesGiven(BaseModel):
    """All files that will be sent."""

    model_config = ConfigDict(extra="forbid")
    files: Annotated[list[FileGiven], Field(max_length=uploads.MOST_FILES_AT_ONCE)]


Short = Annotated[str, Query(max_length=64)]


@router.get("/benchmarks", response_model=list[BenchmarkShown])
def list_benchmarks(here: Here, caller: Anybody) -> list[dict[str, Any]]:
    """All benchmarks, oldest first."""
    with here.database.reading() as session:
        return [_benchmark(session, each, caller, here.now()) for each in benchmarks.every(session)]


@router.get("/benchmarks/{name}", response_model=BenchmarkInFull)
def show_benchmark(name: str, here: Here, caller: Anybody) -> dict[str, Any]:
    """A benchmark, with its tracks as estimates of them are called."""
    with here.database.reading() as session:
        found = benchmarks.named(session, name)
        tracks = [
            {key: track[key] for key in ("folder", "frames", "rate_hz", "channels")} for track in found.tracks
        ]
        for_teams = caller is not None and caller.may_submit_for_teams
        return {**_benchmark(session, found, caller, here.now()), "tracks": tracks, "for_teams": for_teams}


def _benchmark(session: Session, found: Benchmark, caller: Caller | None, now: float) -> dict[str, Any]:
    left = None if caller is None else entries.quota_left(session, caller, found, now)
    return {
        "name": found.name,
        "title": found.title,
        "stems": found.stems,
        "measures": found.measures,
        "tracks": len(found.tracks),
        "references": "open" if found.is_open else "hidden",
        "opens": found.opens,
        "closes": found.closes,
        "scores_a_day": found.per_day,
        "scores_in_all": found.in_all,
        "scores_left": None if left is None else {"today": left[0], "in_all": left[1]},
        "mixtures": f"{ROOT}/benchmarks/{found.name}/mixtures.zip",
    }


@router.get(
    "/benchmarks/{name}/mixtures.zip",
    response_class=FileResponse,
    responses={200: content("application/zip", format="binary")},
)
def mixtures(name: str, here: Here, caller: Anybody) -> FileResponse:
    """The mixtures to separate, TRACK_mixture.wav side by side."""
    with here.database.reading() as session:
        found = benchmarks.named(session, name)
    path = here.settings.mixtures_file(found.name)
    file_name = f"{found.name}-mixtures.zip"
    return Download(here, caller, path, media_type="application/zip", filename=file_name)


def asked_board(
    name: str,
    here: Here,
    caller: Anybody,
    wanted: Wanted,
    measure: Short = "",
    stem: Short = "",
    part: Short = "",
) -> Board:
    """The board that a request asks for."""
    with here.database.reading() as session:
        found = benchmarks.named(session, name)
        return boards.board(session, found, caller, here.now(), measure, stem, part, wanted, here.sure)


AskedBoard = Annotated[Board, Depends(asked_board)]


@router.get("/leaderboards/{name}", response_model=BoardShown)
def leaderboard(shown: AskedBoard) -> dict[str, Any]:
    """The board of a benchmark by one measure, best by `stem` first."""
    return {
        "benchmark": shown.benchmark,
        "measure": shown.measure,
        "stem": shown.stem,
        "part": shown.part,
        "rows": boards.records(shown),
        "withdrawn": shown.withdrawn,
        "published": references.records(shown.published),
    }


@router.get("/queue", response_model=QueueShown)
def queue(here: Here) -> dict[str, Any]:
    """What is under way, and how many workers there are."""
    with here.database.reading() as session:
        waiting = jobs.queue(session)
        return {
            "workers": jobs.living_workers(session, here.now()),
            "entries": [
                {
                    "entry": each.entry,
                    "benchmark": each.benchmark,
                    "state": each.state,
                    "place": each.place,
                    "tracks_done": each.tracks_done,
                    "tracks": each.tracks,
                    "attempts": each.attempts,
                    "submitted": each.submitted,
                }
                for each in waiting
            ],
        }


@router.post("/entries", status_code=201, response_model=EntryShown)
def add_entry(said: NewEntry, here: Here, caller: Somebody) -> dict[str, Any]:
    """Begin an entry; its files come next."""
    details = Details(**said.model_dump(exclude={"benchmark", "team"}))
    with here.database.writing() as session:
        benchmark = benchmarks.named(session, said.benchmark)
        entry = entries.create(here.settings, session, caller, benchmark, details, here.now(), said.team)
        return _entry(session, entry, caller, here.now())


@router.get("/entries", response_model=EntriesShown)
def own_entries(here: Here, caller: Somebody) -> dict[str, Any]:
    """The caller's entries, newest first."""
    with here.database.reading() as session:
        found = entries.own(session, caller)
        return {"entries": [_entry(session, each, caller, here.now()) for each in found]}


@router.get("/entries/{number}", response_model=EntryShown)
def show_entry(number: int, here: Here, caller: Anybody) -> dict[str, Any]:
    """An entry, with as much of its scores as the caller may see."""
    with here.database.reading() as session:
        return _entry(session, entries.find_visible(session, number, caller), caller, here.now())


def _entry(session: Session, entry: Entry, caller: Caller | None, now: float) -> dict[str, Any]:
    own = entries.is_own(entry, caller)
    parts = benchmarks.shown_parts(entry.benchmark, now)
    seen = entries.scores_visible(entry, caller)
    return {
        "entry": entry.id,
        "benchmark": entry.benchmark.name,
        "state": entry.state,
        "words": entries.STATE_WORDS[entry.state],
        "problems": entry.problems if own else [],
        "author": entries.author(entry, caller, now),
        "team": entry.team if own else None,
        **{
            key: getattr(entry, key)
            for key in (
                *("name", "method", "is_ensemble", "training_data", "link", "description", "checkpoints"),
                *("derives_instrumental", "visibility", "named_from", "stems"),
                *("created", "submitted", "scored"),
            )
        },
        "held_back": entry.suspicion is not None,
        "means": {part: boards.means_of(session, entry, part) for part in parts} if seen else None,
    }


@router.patch("/entries/{number}", response_model=EntryShown)
def change_entry(number: int, said: Change, here: Here, caller: Somebody) -> dict[str, Any]:
    """Say something else of an entry; what is not said stays as it is."""
    with here.database.writing() as session:
        entry = entries.find_visible(session, number, caller)
        entries.change(session, caller, entry, said)
        return _entry(session, entry, caller, here.now())


@router.delete("/entries/{number}", response_model=EntryShown)
def stop_entry(number: int, here: Here, caller: Somebody) -> dict[str, Any]:
    """Cancel an entry that is not scored yet, or withdraw one that is."""
    with here.database.writing() as session:
        entry = entries.find_visible(session, number, caller)
        entries.stop(session, caller, entry)
        shown = _entry(session, entry, caller, here.now())
    entries.remove_files(here.settings, number)
    return shown


@router.post("/entries/{number}/files", response_model=UploadsShown, responses=SHORT_OF_DISK)
def add_files(number: int, given: FilesGiven, here: Here, caller: Somebody) -> dict[str, Any]:
    """Say which files will come: one zip, or one for each stem; every name and length is checked now.

    Files of the same name and length that were begun earlier go on where they are.
    """
    files = [Given(file.name, file.length, file.sha256) for file in given.files]
    with here.database.writing() as session:
        entry = entries.find_visible(session, number, caller)
        made = uploads.create(here.settings, session, caller, entry, files, here.now())
        return {"uploads": [_upload(each) for each in made]}


def _upload(upload: Upload) -> dict[str, Any]:
    return {
        "name": upload.name,
        "location": f"{ROOT}/uploads/{upload.id}",
        "offset": upload.offset,
        "length": upload.length,
        "complete": upload.is_verified,
    }


@router.post("/entries/{number}/submit", status_code=202, response_model=EntryShown)
def submit(number: int, here: Here, caller: Somebody) -> dict[str, Any]:
    """Have an entry whose files are complete be scored."""
    with here.database.reading() as session:
        entries.require_owner(caller, entries.find_visible(session, number, caller))
    receiving.verify_rest(here, caller, number)
    with here.database.writing() as session:
        entry = entries.find_visible(session, number, caller)
        entries.submit(session, caller, entry, here.now())
        return _entry(session, entry, caller, here.now())


@router.options("/uploads", status_code=204, response_class=Response)
def about_uploads() -> Response:
    """What of tus is there."""
    return Response(
        status_code=204,
        headers={
            **TUS,
            "Tus-Version": TUS_VERSION,
            "Tus-Extension": "creation,termination,expiration",
        },
    )


@router.post(
    "/uploads",
    status_code=201,
    response_class=Response,
    responses=SHORT_OF_DISK,
    openapi_extra={
        "parameters": headers(
            Upload_Length="Of the file, in bytes",
            Upload_Metadata="Pairs of a name and a value in base64: entry, filename, and sha256 where it is known",
        )
    },
)
def begin_upload(request: Request, here: Here, caller: Somebody) -> Response:
    """Begin one file by tus: Upload-Metadata names the entry, the filename and, if known, the sha256."""
    said = metadata(request.headers.get("upload-metadata", ""))
    length = whole(request.headers.get("upload-length"), "Upload-Length")
    entry_number = whole(said.get("entry"), "Upload-Metadata: entry")
    given = Given(said.get("filename", ""), length, said.get("sha256"))
    with here.database.writing() as session:
        entry = entries.find_visible(session, entry_number, caller)
        (made,) = uploads.create(here.settings, session, caller, entry, [given], here.now())
    return Response(
        status_code=201, headers={**TUS, **_expires(here), "Location": f"{ROOT}/uploads/{made.id}"}
    )


def _expires(here: Here) -> dict[str, str]:
    """When an upload to which something has just come is removed if nothing more does."""
    return expires(here.now() + here.settings.upload_seconds)


@router.head("/uploads/{number}", response_class=Response)
def ask_upload(number: str, here: Here, caller: Somebody) -> Response:
    """How far an upload is."""
    with here.database.reading() as session:
        upload = uploads.find(session, caller, number)
    return Response(headers={**TUS, "Upload-Offset": str(upload.offset), "Upload-Length": str(upload.length)})


@router.patch(
    "/uploads/{number}",
    status_code=204,
    response_class=Response,
    responses=SHORT_OF_DISK,
    openapi_extra={
        "parameters": headers(Upload_Offset="Where these bytes begin in the file; how many the service has"),
        "requestBody": {"required": True, **content(receiving.CONTENT_TYPE, format="binary")},
    },
)
async def send_upload(number: str, request: Request, here: Here, caller: Somebody) -> Response:
    """More bytes of an upload."""
    offset = await receiving.receive(here, caller, number, request)
    return Response(status_code=204, headers={**TUS, **_expires(here), "Upload-Offset": str(offset)})


@router.delete("/uploads/{number}", status_code=204, response_class=Response)
def drop_upload(number: str, here: Here, caller: Somebody) -> Response:
    """Give an upload up."""
    with here.database.writing() as session:
        uploads.remove(here.settings, session, caller, number)
    return Response(status_code=204, headers=TUS)


@router.get(
    "/leaderboards/{name}/export/{kind}",
    response_class=Response,
    responses={200: content("text/plain")},
)
def export(kind: Literal["csv", "latex"], shown: AskedBoard) -> Response:
    """The board as CSV or LaTeX; as JSON it is the board itself."""
    text, suffix = (boards.as_csv(shown), "csv") if kind == "csv" else (boards.as_latex(shown), "tex")
    attachment = {"Content-Disposition": f'attachment; filename="{shown.benchmark}-{shown.measure}.{suffix}"'}
    return Response(text, media_type="text/plain; charset=utf-8", headers=attachment)
