"""HTML pages from the templates of this folder: self-contained, so that they open from disk without network."""

from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from sdx import pages as shared

TEMPLATES = Path(__file__).with_name("templates")


def _asset(name: str) -> Markup:
    """A style sheet or script, of this folder or shared by all packages, put into the page as it is."""
    folder = TEMPLATES if (TEMPLATES / name).is_file() else shared.FOLDER
    return Markup((folder / name).read_text(encoding="utf-8"))


# One for all pages: to compile a template takes longer than to fill it, and a site has a page of each run.
_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.FileSystemLoader(TEMPLATES),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_ENVIRONMENT.globals["asset"] = _asset


def render(template: str, **values: Any) -> str:
    """The page; a value that is missing is an error, and every value is escaped."""
    return _ENVIRONMENT.get_template(template).render(**values)
