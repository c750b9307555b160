"""A service for the tests: its data, its people, requests as a program or a browser sends them."""

import hashlib
import io
import shutil
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
import soundfile
from fastapi.testclient import TestClient
from numpy.typing import NDArray
from sqlalchemy import Engine, event, select
from starlette.routing import BaseRoute

from evaluator.challenge import MUSIC
from evaluator.service import accounts, benchmarks, entries, uploads
from evaluator.service.app import create_app
from evaluator.service.benchmarks import Rules
from evaluator.service.database import Database, connect
from evaluator.service.running import Service
from evaluator.service.settings import Settings
from evaluator.service.tables import Account, Benchmark
from evaluator.service.worker import Worker
from tests.evaluator import audio

BASE = "http://127.0.0.1:8000"
FRAMES = {"a": 1500, "b": 2000}
PASSWORD = "correct horse"
PATCH = {"Content-Type": "application/offset+octet-stream", "Tus-Resumable": "1.0.0"}
START = 1_800_000_000.0
ENGINES: dict[str, Engine] = {}
"""The first of each kind."""
ROUTES: list[BaseRoute] = []
"""Of the first application: what FastAPI works out of them takes longer than ten requests, and is always the same."""


@dataclass
class World:
    """A service, a clock that stands still until it is moved, and who there is."""

    root: Path
    data: Path
    settings: Settings
    database: Database
    seconds: float = START
    app: Any = None
    tokens: dict[str, str] = field(default_factory=dict)

    def now(self) -> float:
        return self.seconds

    def close(self) -> None:
        self.database.close()

    def browser(self) -> TestClient:
        """A client without cookies yet, which follows no redirects and sends what a browser sends."""
        headers = {"Sec-Fetch-Site": "same-origin"}
        return TestClient(self.app, base_url=BASE, headers=headers, follow_redirects=False)

    def signed_in(self, name: str) -> TestClient:
        """A browser in which somebody, who has an account, has signed in."""
        browser = self.browser()
        answer = browser.post("/sign-in", data={"name": name, "password": PASSWORD})
        assert answer.status_code == 303, answer.text
        return browser

    def program(self, name: str | None) -> TestClient:
        """A client with somebody's token; None for nobody's."""
        headers = {} if name is None else {"Authorization": f"Bearer {self.token(name)}"}
        return TestClient(self.app, base_url=BASE, headers=headers, raise_server_exceptions=True)

    def token(self, name: str, role: str = "submitter") -> str:
        """Somebody's token; they get an account first, if they have none."""
        if name not in self.tokens:
            with self.database.writing() as session:
                accounts.accept(
                    session, accounts.invite(session, role, self.now()), name, PASSWORD, self.now()
                )
            with self.database.writing() as session:
                scope = "read" if role == "reader" else "submit"
                caller = self.caller(name)
                self.tokens[name] = accounts.issue_token(session, caller, "tests", scope, self.now())
        return self.tokens[name]

    def caller(self, name: str) -> accounts.Caller:
        with self.database.reading() as session:
            found = session.scalars(select(Account).where(Account.name == name)).one()
            return accounts.Caller(found.id, found.name, found.role)

    def add(self, name: str, data: Path | None = None, **rules: Any) -> Benchmark:
        """A benchmark of the small data, hidden unless `rules` say otherwise."""
        with self.database.writing() as session:
            made = Rules(name, data or self.data, **{"private_share": 0.0, **rules})
            return benchmarks.add(self.settings, session, made, self.now())

    def worker(self) -> Worker:
        return Worker(self.settings, self.database, name="tests", clock=self.now)

    def begin(self, name: str, benchmark: str = "bench", said: Mapping[str, Any] | None = None) -> int:
        """The number of somebody's new entry; said: of it."""
        given = {"benchmark": benchmark, "name": "mine", **(said or {})}
        answer = self.program(name).post("/api/v1/entries", json=given)
        assert answer.status_code == 201, answer.text
        return int(answer.json()["entry"])

    def declare(self, name: str, entry: int, files: Mapping[str, bytes]) -> list[dict[str, Any]]:
        """Say which files come; returns the uploads."""
        given = [
            {"name": file, "length": len(content), "sha256": hashlib.sha256(content).hexdigest()}
            for file, content in files.items()
        ]
        answer = self.program(name).post(f"/api/v1/entries/{entry}/files", json={"files": given})
        assert answer.status_code == 200, answer.text
        return list(answer.json()["uploads"])

    def send(self, name: str, location: str, content: bytes, offset: int = 0) -> httpx2.Response:
        headers = {**PATCH, "Upload-Offset": str(offset)}
        return self.program(name).patch(location, content=content[offset:], headers=headers)

    def uploaded(
        self,
        name: str,
        files: Mapping[str, bytes],
        said: Mapping[str, Any] | None = None,
        benchmark: str = "bench",
    ) -> int:
        """An entry whose files are all there, not submitted yet."""
        entry = self.begin(name, benchmark, said)
        for upload, content in zip(self.declare(name, entry, files), files.values(), strict=True):
            answer = self.send(name, upload["location"], content)
            assert answer.status_code == 204, answer.text
        return entry

    def placed(
        self,
        name: str,
        files: Mapping[str, bytes],
        said: Mapping[str, Any] | None = None,
        benchmark: str = "bench",
    ) -> int:
        """As `uploaded`, without a request: for tests of what comes afterwards."""
        self.token(name)
        given = {"name": "mine", **(said or {})}
        team = given.pop("team", None)
        with self.database.writing() as session:
            caller, found = self.caller(name), benchmarks.named(session, benchmark)
            entry = entries.create(
                self.settings, session, caller, found, entries.details(given), self.now(), team
            )
            sizes = [uploads.Given(file, len(content)) for file, content in files.items()]
            made = uploads.create(self.settings, session, caller, entry, sizes, self.now())
            for upload, content in zip(made, files.values(), strict=True):
                uploads.path_of(self.settings, upload).write_bytes(content)
                upload.offset = upload.length
                assert uploads.verify(session, upload.id, hashlib.sha256(content).hexdigest(), self.now())
            return entry.id

    def submit(self, name: str, entry: int) -> httpx2.Response:
        return self.program(name).post(f"/api/v1/entries/{entry}/submit")

    def scored(self, name: str, files: Mapping[str, bytes], benchmark: str = "bench", **said: Any) -> int:
        """An entry that was submitted and worked at."""
        entry = self.uploaded(name, files, said, benchmark)
        answer = self.submit(name, entry)
        assert answer.status_code == 202, answer.text
        assert self.worker().work_once()
        return entry

    def show(self, name: str | None, entry: int) -> dict[str, Any]:
        answer = self.program(name).get(f"/api/v1/entries/{entry}")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())


def make_world(root: Path, database: str | None = None) -> World:
    """A service whose benchmark `bench` has two short tracks with the four stems of music."""
    settings = Settings(root / "service", database=database)
    settings.root.mkdir()
    made = World(root, audio.write_music(root / "data", FRAMES), settings, connect(settings))
    made.add("bench")
    return with_app(made)


def copy_world(template: Path, root: Path, database: str | None = None) -> World:
    """The same from a copy of another one's folder, and of its database, whose schema is that of now."""
    for name in ("service", "data"):
        shutil.copytree(template / name, root / name)
    settings = Settings(root / "service", database=database)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("evaluator.service.database.migrate", lambda found: None)
        made = World(root, root / "data", settings, with_statements(connect(settings)))
    with made.database.writing() as session:
        benchmarks.named(session, "bench").folder = str(made.data)
    return with_app(made)


def with_statements(database: Database) -> Database:
    """A database that knows the statements of earlier ones: to compile one takes longer than to run it.

    And no test cuts the power, so nothing waits for the disk.
    """
    if not database.is_sqlite:
        return database
    engine = database.engine
    first = ENGINES.setdefault("sqlite", engine)
    engine.dialect, engine._compiled_cache = first.dialect, first._compiled_cache
    event.listen(engine, "connect", lambda raw, record: raw.execute("PRAGMA synchronous=OFF"))
    return Database(engine)


def with_app(made: World) -> World:
    """The world with its application."""
    made.app = create_app(Service(made.settings, made.database, made.now))
    ROUTES[:] = made.app.router.routes = list(ROUTES or made.app.router.routes)
    return made


def sound(
    values: NDArray[np.float64], container: str = "WAV", subtype: str = "PCM_16", rate: int = 44100
) -> bytes:
    """A sound file of (samples, channels)."""
    file = io.BytesIO()
    soundfile.write(file, values, rate, format=container, subtype=subtype)
    return file.getvalue()


def estimates(
    level: float = 0.9, stems: tuple[str, ...] = MUSIC.stems, container: str = "WAV"
) -> dict[str, bytes]:
    """Estimates of the small data: each reference times `level`, side by side."""
    return {
        f"{track}_{stem}.{container.lower()}": sound(level * audio.noise(frames, seed=seed), container)
        for seed, (track, frames) in enumerate(FRAMES.items())
        for stem in stems
    }


def zipped(files: Mapping[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip of files."""
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", method) as archive:
        for name, file in files.items():
            archive.writestr(name, file)
    return content.getvalue()
