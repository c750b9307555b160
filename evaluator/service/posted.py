"""What a page's form sends, and where the browser goes then."""

import re
from typing import Annotated
from urllib.parse import parse_qsl

from fastapi import Depends, Request
from starlette.responses import RedirectResponse

from evaluator.service.errors import Refused

MOST_FIELDS = 40
OWN_PATH = re.compile(
    r"(/[A-Za-z0-9_.~-]+)+"
)  # never //other.example, whatever a browser makes of backslashes
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


def own_path(path: str) -> str:
    """The path of a page of ours that somebody else may have written; "/" for what could lead elsewhere."""
    return path if OWN_PATH.fullmatch(path) else "/"


def to(address: str) -> RedirectResponse:
    """Have the browser get another page."""
    return RedirectResponse(address, 303)
