"""The studio's addresses, all of them below the token: its page, its songs, what is heard and saved."""

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from urllib.parse import quote

import jinja2

from my_submission.studio.desk import Desk
from my_submission.studio.guard import Guard
from my_submission.studio.songs import Song
from my_submission.studio.web import (
    ASGIApp,
    ClientDisconnect,
    FileResponse,
    HTMLResponse,
    JSONResponse,
    Request,
    Response,
    Route,
    Starlette,
    StreamingResponse,
    run_in_threadpool,
)
from my_submission.studio.zipped import zipped
from sdx import pages

_HERE = Path(__file__).parent
_STATIC = {
    name: folder / name
    for folder, names in (
        (pages.FOLDER, ("style.css", "player.css", "mixer.css", "elements.js", "player.js", "mixer.js")),
        (_HERE / "static", ("studio.css", "studio.js")),
    )
    for name in names
}
_PAGE = jinja2.Environment(
    loader=jinja2.FileSystemLoader(_HERE), autoescape=True, undefined=jinja2.StrictUndefined,
    trim_blocks=True, lstrip_blocks=True,
)  # fmt: skip


class Refused(Exception):  # noqa: N818, the name says it
    """A request that cannot be met; the message says why, in one sentence."""

    def __init__(self, status: int, words: str) -> None:
        super().__init__(words)
        self.status = status


class _Answers:
    """What each address answers. about: what separates, for people."""

    def __init__(self, desk: Desk, about: str) -> None:
        self._desk, self._about = desk, about

    def _song_of(self, request: Request) -> Song:
        song = self._desk.find(request.path_params["song"])
        if song is None:
            raise Refused(404, "There is no such song any more.")
        return song

    async def page(self, _: Request) -> Response:
        return HTMLResponse(_PAGE.get_template("studio.html.j2").render(about=self._about))

    async def static(self, request: Request) -> Response:
        path = _STATIC.get(request.path_params["name"])
        if path is None:
            raise Refused(404, "There is no such file.")
        return FileResponse(path)

    async def songs(self, _: Request) -> Response:
        return JSONResponse([song.as_json() for song in self._desk.songs])

    async def add(self, request: Request) -> Response:
        song = await _receive(request, self._desk)
        return JSONResponse(song.as_json(), 201)

    async def remove(self, request: Request) -> Response:
        await run_in_threadpool(self._desk.remove, self._song_of(request))
        return Response(status_code=204)

    async def listen(self, request: Request) -> Response:
        song = self._song_of(request)
        path = song.listening.get(request.path_params["stem"])
        if path is None:
            raise Refused(404, "There is nothing to be heard of that name.")
        return FileResponse(path, media_type="audio/mpeg")

    async def save(self, request: Request) -> Response:
        song = self._song_of(request)
        path = song.stems.get(request.path_params["stem"])
        if path is None:
            raise Refused(404, "There is no such stem.")
        return _as_attachment(FileResponse(path), f"{_title(song)} ({path.stem}){path.suffix}")

    async def save_all(self, request: Request) -> Response:
        song = self._song_of(request)
        if not song.stems:
            raise Refused(404, "Its stems are not there yet.")
        names = {f"{path.stem}{path.suffix}": path for path in song.stems.values()}
        return _as_attachment(
            StreamingResponse(zipped(names), media_type="application/zip"), f"{_title(song)}.zip"
        )


def create_app(desk: Desk, token: str, about: str) -> ASGIApp:
    """The studio. about: what separates, for people. It starts the desk, and closes it at its end."""

    @contextlib.asynccontextmanager
    async def lifespan(_: Starlette) -> AsyncIterator[None]:
        desk.start()
        try:
            yield
        finally:
            await run_in_threadpool(desk.close)

    at, answers = f"/{token}", _Answers(desk, about)
    routes = [
        Route(f"{at}/", answers.page),
        Route(f"{at}/static/{{name}}", answers.static),
        Route(f"{at}/songs", answers.songs, methods=["GET"]),
        Route(f"{at}/songs", answers.add, methods=["POST"]),
        Route(f"{at}/songs/{{song}}", answers.remove, methods=["DELETE"]),
        Route(f"{at}/songs/{{song}}/listen/{{stem}}", answers.listen),
        Route(f"{at}/songs/{{song}}/stems/{{stem}}", answers.save),
        Route(f"{at}/songs/{{song}}/stems.zip", answers.save_all),
    ]
    handlers: dict[object, Callable[[Request, Exception], Awaitable[Response]]] = {Refused: _refusal}
    app = Starlette(routes=routes, lifespan=lifespan, exception_handlers=handlers)  # type: ignore[arg-type]
    return Guard(app, token)


async def _refusal(_: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, getattr(error, "status", 400))


async def _receive(request: Request, desk: Desk) -> Song:
    """Write a song to its place while it comes; nothing is left of one that does not come in full."""
    stated, room = request.headers.get("content-length", ""), desk.room_bytes
    if not stated.isdecimal():
        raise Refused(411, "The request does not say how long the song is.")
    size = int(stated)
    if not size:
        raise Refused(422, "This file is empty.")
    if size > room:
        raise Refused(
            413,
            f"This song has {size / 1e6:.0f} MB, and there is room for {room / 1e6:.0f} MB; free some disk space.",
        )
    try:
        song = await run_in_threadpool(desk.expect, request.query_params.get("name", ""))
    except OSError as error:
        raise Refused(507, f"The song cannot be kept: {error.strerror}.") from error
    try:
        await _write(request, song, size)
    except BaseException as error:
        await run_in_threadpool(desk.remove, song)
        if isinstance(error, OSError):
            raise Refused(507, f"The song cannot be written: {error.strerror}.") from error
        raise
    desk.arrived(song)
    return song


async def _write(request: Request, song: Song, size: int) -> None:
    """Raises Refused if it is not as long as it says, or was given up."""
    came = 0
    with song.upload.open("wb") as file:
        try:
            async for piece in request.stream():
                came += len(piece)
                if came > size or song.given_up.is_set():
                    break
                await run_in_threadpool(file.write, piece)
        except ClientDisconnect as error:
            raise Refused(400, "The song broke off.") from error
    if song.given_up.is_set():
        raise Refused(409, "The song was removed.")
    if came != size:
        raise Refused(400, f"The song has {came} bytes, and the request says {size}.")


def _title(song: Song) -> str:
    return song.name.rpartition(".")[0] or song.name


def _as_attachment(response: Response, name: str) -> Response:
    """To be saved under a name (RFC 6266)."""
    response.headers["Content-Disposition"] = f"attachment; filename*=UTF-8''{quote(name, safe='')}"
    return response
