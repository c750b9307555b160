"""An entry in one form, as clients of MVSep's quality checker send it: fields and a zip, in whatever order.

The zip is written as it comes, and the entry made of it once the form is complete; what can be refused earlier, by
the fields before the zip, is. Where the token comes after it, nobody knows yet whose it is: of such forms a few are
taken at a time, one of each address, for an hour at most, and each counts as a failed attempt of its address until
its token has come.
"""

import asyncio
import secrets
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from evaluator.service import accounts, benchmarks, entries, received, uploads
from evaluator.service.accounts import Caller
from evaluator.service.errors import Refused, TooSlow
from evaluator.service.forms import FormReader
from evaluator.service.running import Service
from evaluator.service.security import SMALL_SECONDS, address_of
from evaluator.service.tables import ANONYMOUS, Attempt, Benchmark, Upload
from evaluator.service.transfers import transferring
from evaluator.service.uploads import DISK_FULL, Writer

NOBODYS = "form of nobody yet"
MOST_OF_NOBODY, NOBODYS_SECONDS = 4, 3600.0
NUMBER_CHARACTERS = 9

Fields = Mapping[str, str]


@dataclass
class _Zip:
    """A zip on its way; account: whose it is, and attempt: what is forgiven, once that is known."""

    path: Path
    most_bytes: int
    writer: Writer
    account: int | None
    attempt: list[Attempt] = field(default_factory=list)
    length: int = 0

    def take(self, block: bytes) -> None:
        """Write what has come; Refused for more than the tracks allow."""
        self.length += len(block)
        if self.length > self.most_bytes:
            raise Refused(f"zipfile: more than the {self.most_bytes} bytes that the tracks allow")
        self.writer.write(block)


async def take(here: Service, request: Request) -> int:
    """Read a form, and have the entry that it makes be scored; its number. Refused for what cannot be one."""
    reader = FormReader(request)
    coming: _Zip | None = None
    admitted = ExitStack()
    try:
        # Until it is known whose it is, or that it is one of the few of nobody, there may be as many as connections.
        async with asyncio.timeout(SMALL_SECONDS) as until:
            async for block in reader.blocks():
                if coming is None and reader.form.filename is not None:
                    until.reschedule(None)
                    caller = await run_in_threadpool(_caller, here, reader.form.fields)
                    _admit(here, caller, request, admitted)
                    coming = await run_in_threadpool(_begin, here, caller, reader.form.fields, request)
                    if caller is None:
                        until.reschedule(asyncio.get_running_loop().time() + NOBODYS_SECONDS)
                if coming is not None and block:
                    await run_in_threadpool(coming.take, block)
        if coming is None:
            raise Refused("zipfile: missing; expected a zip in the form")
        return await run_in_threadpool(_enter, here, reader.form.fields, coming)
    except TimeoutError:
        raise TooSlow from None
    finally:
        admitted.close()
        if coming is not None:
            await run_in_threadpool(_clear, here, coming)


def number(text: str, absent: int = 0) -> int:
    """The number that a text is, as far as a row may have it."""
    return int(text) if text.isascii() and text.isdecimal() and len(text) <= NUMBER_CHARACTERS else absent


def benchmark_of(session: Session, text: str) -> Benchmark:
    """The benchmark that a field names by its number; Refused with those there are."""
    found = benchmarks.numbered(session, number(text, absent=-1))
    if found is None:
        every = [f"{each.dataset_type} ({each.name})" for each in _numbered(session)]
        raise Refused(
            f"dataset_type: expected one of {', '.join(every) or 'none: there is no such benchmark'}"
        )
    return found


def _numbered(session: Session) -> list[Benchmark]:
    return [each for each in benchmarks.every(session) if each.dataset_type is not None]


def _caller(here: Service, fields: Fields) -> Caller | None:
    """Who sends a form, if the token has come; Refused for one that is not valid."""
    if "api_token" not in fields:
        return None
    with here.database.reading() as session:
        found = accounts.of_token(session, fields["api_token"], here.now())
    if found is None:
        raise Refused("api_token: unknown, or has expired", 401)
    return found[0]


def _admit(here: Service, caller: Caller | None, request: Request, admitted: ExitStack) -> None:
    """Note, for as long as `admitted` is open, that somebody sends a form; Refused while they send another."""
    another = "Another form is being sent; wait for it to end"
    if caller is None:
        full = Refused(f"{another}, or send the api_token before the zip.", 423)
        admitted.enter_context(here.at_once(f"{NOBODYS} at {address_of(request.scope)}", 1, full))
        admitted.enter_context(here.at_once(NOBODYS, MOST_OF_NOBODY, full))
    else:
        admitted.enter_context(here.at_once(f"form of {caller.account}", 1, Refused(f"{another}.", 423)))
        admitted.enter_context(transferring(here, caller, request.scope))


def _begin(here: Service, caller: Caller | None, fields: Fields, request: Request) -> _Zip:
    """A place for the zip, if what is known by now allows one."""
    attempt: list[Attempt] = []
    if caller is None:
        subjects = (f"address {address_of(request.scope)}",)
        with here.database.writing() as session:
            attempt = accounts.begin_attempt(session, subjects, here.now())
    with here.database.reading() as session:
        known = "dataset_type" in fields
        found = [benchmark_of(session, fields["dataset_type"])] if known else _numbered(session)
        most = max(map(uploads.most_bytes_of_zip, found), default=0)
        stated = min(int(request.headers.get("content-length", most)), most)
        if caller is not None:
            uploads.check_room(here.settings, session, caller.account, stated, here.now())
        elif not here.settings.has_room_for(stated):
            raise Refused(DISK_FULL, 507)
    path = here.settings.root / uploads.INCOMING / secrets.token_hex(16)
    path.parent.mkdir(parents=True, exist_ok=True)
    return _Zip(path, most, Writer(path, 0), caller.account if caller is not None else None, attempt)


def _enter(here: Service, fields: Fields, coming: _Zip) -> int:
    """Make an entry of a form that is complete, and put it into the queue; all of it or nothing."""
    caller = _caller(here, fields)
    if caller is None:
        raise Refused("api_token: missing; expected a token of your page", 401)
    coming.account = caller.account
    coming.writer.flush()
    coming.writer.close()  # Windows moves no file that is open
    password = fields.get("password", "")
    hashed = accounts.hash_password(password) if password else None  # dear, so for nobody without an account
    made: int | None = None
    try:
        with here.database.writing() as session:
            accounts.forgive(session, coming.attempt)
            benchmark = benchmark_of(session, fields.get("dataset_type", "0"))
            if coming.length > (most := uploads.most_bytes_of_zip(benchmark)):
                raise Refused(f"zipfile: {coming.length} bytes, expected at most {most} by the tracks")
            received.require_left(here.settings, session, caller.account, coming.length, here.now())
            said = entries.details(
                {
                    "name": fields.get("algo_name", ""),
                    "description": fields.get("main_text", ""),
                    "is_ensemble": fields.get("ensemble", "0") == "1",
                    "visibility": ANONYMOUS,
                }
            )
            entry = entries.create(here.settings, session, caller, benchmark, said, here.now())
            entry.password_hash, made = hashed, entry.id
            upload = _upload(here, entry.id, coming)
            session.add(upload)
            session.flush()
            entries.submit(session, caller, entry, here.now())
            here.settings.entry_folder(made).mkdir(parents=True, exist_ok=True)
            coming.path.rename(uploads.path_of(here.settings, upload))
    except BaseException:
        if made is not None:
            entries.remove_files(here.settings, made)
        raise
    return made


def _upload(here: Service, entry: int, coming: _Zip) -> Upload:
    assert coming.writer.digest is not None
    return Upload(
        id=coming.path.name,
        entry_id=entry,
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


def _clear(here: Service, coming: _Zip) -> None:
    """Close the file, remove it where no entry has it, and count what came."""
    coming.writer.close()
    coming.path.unlink(missing_ok=True)
    if coming.account is not None and coming.length > 0:
        with here.database.writing() as session:
            received.note(session, coming.account, coming.length, here.now())
