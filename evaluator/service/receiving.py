"""The bytes of an upload: written as they come, flushed before they are acknowledged."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect, Request

from evaluator.service import received, uploads
from evaluator.service.accounts import Caller
from evaluator.service.errors import Refused, TooSlow
from evaluator.service.running import Service
from evaluator.service.tables import Upload
from evaluator.service.transfers import transferring
from evaluator.service.uploads import CHECKSUM_MISMATCH, Writer

BLOCK_BYTES = 2 << 20  # of memory that an upload takes
FLUSHED_BYTES = 32 << 20  # after these, what came is flushed and noted, so that an interruption costs no more
CONTENT_TYPE = "application/offset+octet-stream"


@dataclass(frozen=True)
class _Upload:
    """An upload as it stood when its next bytes began to come."""

    number: str
    account: int
    path: Path
    offset: int
    length: int
    is_verified: bool


async def receive(service: Service, caller: Caller, number: str, request: Request) -> int:
    """Take the body of a PATCH as the bytes of an upload from its offset on; returns the offset after them.

    Refused where the offset is another one (409), somebody writes already (423), more comes than was said (413) or
    than may come in a day (429), or the whole has another hash than was said (460).
    """
    taken = Refused("Another connection is sending this upload; wait for it to end.", 423)
    with service.at_once(f"upload {number}", 1, taken), transferring(service, caller, request.scope):
        upload = await run_in_threadpool(_find, service, caller, number, request)
        offset, digest = await _take(service, upload, request)
        if offset == upload.length and not upload.is_verified:  # else nothing came, and hashing is dear
            await run_in_threadpool(_verify, service, caller, number, digest)
        return offset


def _find(service: Service, caller: Caller, number: str, request: Request) -> _Upload:
    """An upload that may go on as the request says."""
    if request.headers.get("content-type") != CONTENT_TYPE:
        raise Refused(f"Content-Type: expected {CONTENT_TYPE}", 415)
    with service.database.reading() as session:
        upload = uploads.find(session, caller, number)
        account, left = upload.entry.account_id, upload.length - upload.offset
        said = request.headers.get("upload-offset", "")
        if said != str(upload.offset):
            raise Refused(f"Upload-Offset: found {said[:20]!r}, expected {upload.offset}", 409)
        coming = request.headers.get("content-length", "0")
        if coming.isdecimal() and int(coming) > left:
            raise Refused(f"{coming} bytes come, but only {left} are left.", 413)
        if left > 0:
            _require_disk(service)
            # All of it was counted when it was begun; but what has another hash than was said comes once more.
            received.require_left(service.settings, session, account, left, service.now())
        path = uploads.path_of(service.settings, upload)
        return _Upload(number, account, path, upload.offset, upload.length, upload.is_verified)


async def _take(service: Service, upload: _Upload, request: Request) -> tuple[int, str | None]:
    """Write what comes; of a connection that breaks, what has come by then is kept, too.

    While one block is written, the next one comes, and what was written before is flushed. Returns the offset after
    it all, and the hash of the file up to there, if all of it came just now.
    """
    coming = noted = upload.offset
    writing, noting = _Behind(), _Behind()
    with await run_in_threadpool(Writer, upload.path, upload.offset) as writer:
        try:
            async for block in _blocks(request):
                coming += len(block)
                if coming > upload.length:
                    raise Refused(f"More bytes came than the {upload.length} of the upload.", 413)
                await writing.start(writer.write, block)
                if writer.offset - noted >= FLUSHED_BYTES:
                    before, noted = noted, writer.offset
                    await noting.start(_note, service, writer, upload, before, noted)
                    await run_in_threadpool(_require_disk, service)
            await writing.done()
        finally:
            await writing.settled()
            try:
                await noting.done()
            finally:
                if writer.offset > noted:
                    await run_in_threadpool(_note, service, writer, upload, noted, writer.offset)
        return writer.offset, None if writer.digest is None else writer.digest.hexdigest()


class _Behind:
    """Has one call at a time run in a thread, while whoever started it goes on."""

    def __init__(self) -> None:
        self._running: asyncio.Future[object] | None = None

    async def start(self, function: Callable[..., object], *arguments: object) -> None:
        """Start a call once the one before is done, whose error is raised here."""
        await self.done()
        self._running = asyncio.ensure_future(run_in_threadpool(function, *arguments))

    async def done(self) -> None:
        """Wait for what is running; raises what went wrong in it."""
        running, self._running = self._running, None
        if running is not None:
            await running

    async def settled(self) -> None:
        """Wait for what is running, whatever comes of it; used where an error is on its way already."""
        if self._running is not None:
            await asyncio.gather(self._running, return_exceptions=True)


async def _blocks(request: Request) -> AsyncIterator[bytes]:
    """The body in blocks of BLOCK_BYTES; the last is shorter. What came before a break is given, too."""
    parts: list[bytes] = []
    size = 0
    stream = request.stream()
    try:
        while True:
            part = await anext(stream)
            parts.append(part)
            size += len(part)
            if size >= BLOCK_BYTES:
                yield b"".join(parts)
                parts, size = [], 0
    except (StopAsyncIteration, ClientDisconnect, TooSlow):
        pass
    if parts:
        yield b"".join(parts)


def _require_disk(service: Service) -> None:
    """Refused once what is kept free of the disk is touched: several uploads may each have found room for theirs."""
    if not service.settings.has_room_for(0):
        raise Refused(uploads.DISK_FULL, 507)


def _note(service: Service, writer: Writer, upload: _Upload, before: int, after: int) -> None:
    """Flush, then move the offset on; what came is counted even if the upload was deleted meanwhile."""
    writer.flush()
    with service.database.writing() as session:
        is_ours = uploads.advance(session, upload.number, before, after, service.now())
        received.note(session, upload.account, after - before, service.now())
    if not is_ours:
        raise Refused("This upload was deleted meanwhile, or another connection has sent these bytes.", 409)


def _verify(service: Service, caller: Caller, number: str, digest: str | None = None) -> None:
    """Compare the hash of what came with the one that was said; with another one the upload begins again.

    digest: that hash, where it is known without reading the file again.
    """
    with service.database.reading() as session:
        upload = uploads.find(session, caller, number)
    found = digest or uploads.digest(service.settings, upload)
    with service.database.writing() as session:
        fits = uploads.verify(session, number, found, service.now())
    if not fits:
        raise Refused(
            f"What came has the SHA-256 {found}, expected {upload.sha256}; send it again.", CHECKSUM_MISMATCH
        )


def verify_rest(service: Service, caller: Caller, entry: int) -> None:
    """Verify the uploads that came in full and were not verified, since the service was ended just then."""
    with service.database.reading() as session:
        found = session.scalars(
            select(Upload.id).where(
                Upload.entry_id == entry, Upload.offset == Upload.length, Upload.is_verified.is_(False)
            )
        ).all()
    for number in found:
        _verify(service, caller, number)
