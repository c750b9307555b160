"""The pages: benchmarks and boards, entries, the queue, signing in, one's own page."""

from typing import Annotated, Any
from urllib.parse import parse_qsl

from fastapi import APIRouter, Depends, Query, Request
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.responses import FileResponse, RedirectResponse, Response

from evaluator.reporting import charts
from evaluator.service import accounts, benchmarks, boards, entries, jobs, listening, organising
from evaluator.service.access import Anybody, Here, Organiser, Somebody, Wanted, cookie_name, set_cookie
from evaluator.service.accounts import Caller
from evaluator.service.errors import Refused
from evaluator.service.rendering import STATIC, moment, page
from evaluator.service.tables import UPLOADING, Entry, Upload

router = APIRouter(include_in_schema=False, default_response_class=Response)
MOST_FIELDS = 40
STATIC_SECONDS = 3600

Short = Annotated[str, Query(max_length=64)]
Form = dict[str, str]


async def read_form(request: Request) -> Form:
    """The fields of a form."""
    kind = request.headers.get("content-type", "")
    if not kind.startswith("application/x-www-form-urlencoded"):
        raise Refused("Expected the fields of a form.", 415)
    try:
        fields = parse_qsl(
            (await request.body()).decode(), keep_blank_values=True, max_num_fields=MOST_FIELDS
        )
    except ValueError:
        raise Refused("The form cannot be read.") from None
    return dict(fields)


Fields = Annotated[Form, Depends(read_form)]


def _to(address: str) -> RedirectResponse:
    return RedirectResponse(address, 303)


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
        shown = boards.board(session, found, caller, now, measure, stem, part, wanted)
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
            return _to(f"/entries/{made.id}")
    except Refused as error:
        with here.database.reading() as session:
            found = benchmarks.named(session, name)
        return page("new.html.j2", caller, error.status, benchmark=found, entry=form, problem=error.sentence)


def _details(form: Form) -> dict[str, Any]:
    """What a form says of an entry."""
    texts = ("name", "method", "training_data", "link", "description", "checkpoints", "visibility")
    given: dict[str, Any] = {key: form[key] for key in texts if key in form}
    return {**given, "is_ensemble": "is_ensemble" in form, "named_from": _day(form.get("named_from", ""))}


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
    form["named_from"] = "" if found.named_from is None else moment(found.named_from)[:10]
    return {**form, **({"is_ensemble": "on"} if found.is_ensemble else {})}


@router.post("/entries/{number}/edit")
def change(number: int, here: Here, caller: Somebody, form: Fields) -> Response:
    """Say something else of an entry."""
    with here.database.writing() as session:
        found = entries.find_visible(session, number, caller)
        entries.change(session, caller, found, entries.details(_details(form)))
    return _to(f"/entries/{number}")


@router.post("/entries/{number}/stop")
def stop(number: int, here: Here, caller: Somebody) -> Response:
    """Cancel or withdraw an entry."""
    with here.database.writing() as session:
        entries.stop(session, caller, entries.find_visible(session, number, caller))
    entries.remove_files(here.settings, number)
    return _to(f"/entries/{number}")


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


@router.get("/sign-in")
def ask_to_sign_in(caller: Anybody) -> Response:
    """The form."""
    return page("sign_in.html.j2", caller, problem=None, name="")


@router.post("/sign-in")
def sign_in(request: Request, here: Here, form: Fields) -> Response:
    """Sign in by name and password; a wrong name and a wrong password get the same answer in the same time."""
    name, now = form.get("name", ""), here.now()
    address = request.client.host if request.client else ""
    subjects = (f"name {name.strip().casefold()}", f"address {address}")
    with here.database.writing() as session:
        accounts.check_attempts(session, subjects, now)
        account, password_hash = accounts.password_of(session, name)
    fits = accounts.fits(password_hash, form.get("password", ""))
    with here.database.writing() as session:
        if account is None or not fits:
            accounts.note_failure(session, subjects, now)
            return page("sign_in.html.j2", None, 403, problem="Name and password do not fit.", name=name)
        token = accounts.sign_in(session, account, now)
    answer = _to("/")
    set_cookie(here.settings, answer, token)
    return answer


@router.post("/sign-out")
def sign_out(request: Request, here: Here) -> Response:
    """Forget this browser."""
    name = cookie_name(here.settings)
    with here.database.writing() as session:
        accounts.sign_out(session, request.cookies.get(name, ""))
    answer = _to("/")
    answer.delete_cookie(name, path="/", secure=here.settings.is_secure, httponly=True, samesite="lax")
    return answer


@router.get("/invitation/{token}")
def invitation(token: str, here: Here) -> Response:
    """The form of an invitation."""
    with here.database.reading() as session:
        role = accounts.open_invite(session, token, here.now()).role
    return page("invitation.html.j2", None, role=role, problem=None, name="")


@router.post("/invitation/{token}")
def accept(token: str, here: Here, form: Fields) -> Response:
    """Make the account of an invitation, and sign in."""
    name, now = form.get("name", ""), here.now()
    try:
        with here.database.writing() as session:
            made = accounts.accept(session, token, name, form.get("password", ""), now)
            cookie = accounts.sign_in(session, made.id, now)
    except Refused as error:
        with here.database.reading() as session:
            role = accounts.open_invite(session, token, now).role
        return page("invitation.html.j2", None, error.status, role=role, problem=error.sentence, name=name)
    answer = _to("/")
    set_cookie(here.settings, answer, cookie)
    return answer


@router.get("/account")
def account(here: Here, caller: Somebody) -> Response:
    """One's own entries and tokens."""
    return _account(here, caller, None)


def _account(here: Here, caller: Caller, made: str | None) -> Response:
    with here.database.reading() as session:
        own = entries.own(session, caller)
        return page(
            "account.html.j2",
            caller,
            entries=own,
            words=entries.STATE_WORDS,
            tokens=accounts.tokens_of(session, caller),
            made=made,
            url=here.settings.url,
        )


@router.post("/account/tokens")
def make_token(here: Here, caller: Somebody, form: Fields) -> Response:
    """A new token, shown this once."""
    with here.database.writing() as session:
        made = accounts.issue_token(
            session, caller, form.get("label", ""), form.get("scope", "read"), here.now()
        )
    return _account(here, caller, made)


@router.post("/account/tokens/{number}/revoke")
def revoke_token(number: int, here: Here, caller: Somebody) -> Response:
    """Take a token back."""
    with here.database.writing() as session:
        accounts.revoke_token(session, caller, number)
    return _to("/account")


@router.post("/account/password")
def change_password(here: Here, caller: Somebody, form: Fields) -> Response:
    """Change one's password, by the one that it was."""
    now, subjects = here.now(), (f"name {caller.name.casefold()}",)
    with here.database.writing() as session:
        accounts.check_attempts(session, subjects, now)
        _, password_hash = accounts.password_of(session, caller.name)
    fits = accounts.fits(password_hash, form.get("present", ""))
    with here.database.writing() as session:
        if fits:
            accounts.change_password(session, caller, form.get("new", ""))
        else:
            accounts.note_failure(session, subjects, now)
    if not fits:
        raise Refused("That is not your present password.", 403)
    return _to("/sign-in")


@router.get("/organiser")
def organise(here: Here, caller: Organiser) -> Response:
    """What only an organiser sees."""
    return _organiser(here, caller, None)


def _organiser(here: Here, caller: Caller, link: str | None) -> Response:
    with here.database.reading() as session:
        return page(
            "organiser.html.j2",
            caller,
            link=link,
            held_back=organising.held_back(session),
            teams=organising.teams(session),
            failed=organising.failed(session),
        )


@router.post("/organiser/invitations")
def invite(here: Here, caller: Organiser, form: Fields) -> Response:
    """A link for one new account."""
    with here.database.writing() as session:
        token = accounts.invite(session, form.get("role", "submitter"), here.now())
    return _organiser(here, caller, f"{here.settings.url}/invitation/{token}")


@router.post("/organiser/entries/{number}/{act}")
def decide(number: int, act: str, here: Here, caller: Organiser) -> Response:
    """Show the scores of an entry that were held back, or have one that failed be tried again."""
    with here.database.writing() as session:
        found = entries.find(session, number)
        organising.decide(session, found, act, here.now())
    return _to("/organiser")
