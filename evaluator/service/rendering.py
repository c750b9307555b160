"""HTML for people: the templates of this room, in the style of the reports."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jinja2
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from evaluator.measures.catalogue import MEASURES
from evaluator.reporting import pages as report_pages
from evaluator.reporting.leaderboard_view import published_columns
from evaluator.service.accounts import Caller
from sdx import pages as shared

HERE = Path(__file__).parent
STATIC = {
    name: (folder / name, kind)
    for folder, names in (
        (shared.FOLDER, ("style.css",)),
        (report_pages.TEMPLATES, ("sort.js",)),
        (HERE / "static", ("service.css", "upload.js", "refresh.js")),
    )
    for name in names
    for kind in ["text/css" if name.endswith(".css") else "text/javascript"]
}


def moment(seconds: float | None) -> str:
    """A moment in words, in UTC."""
    return "–" if seconds is None else f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"


def size(size_bytes: int) -> str:
    """A size in words."""
    return (
        f"{size_bytes / (1 << 30):.2f} GiB" if size_bytes >= 1 << 30 else f"{size_bytes / (1 << 20):.1f} MiB"
    )


_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.FileSystemLoader([HERE / "templates", report_pages.TEMPLATES]),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_ENVIRONMENT.filters |= {"moment": moment, "size": size}
_ENVIRONMENT.globals |= {"MEASURES": MEASURES, "published_columns": published_columns}


def page(template: str, caller: Caller | None, status: int = 200, **values: Any) -> HTMLResponse:
    """A page; a value that is missing is an error, and every value is escaped."""
    text = _ENVIRONMENT.get_template(template).render(caller=caller, **values)
    return HTMLResponse(text, status)


def refusal(request: Request, status: int, sentence: str, problems: tuple[str, ...] = ()) -> Response:
    """The page of what cannot be done, with a way to sign in where that would help, and back from there."""
    caller: Caller | None = getattr(request.state, "signed_in", None)
    helps = caller is None and status in (401, 404)
    back = str(request.url.path) if helps and request.method == "GET" else "/"
    return page(
        "refusal.html.j2", caller, status, sentence=sentence, problems=problems, helps=helps, back=back
    )
