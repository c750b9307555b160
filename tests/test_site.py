"""The documents as a site, and what they link to."""

import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

from tests.test_documented_commands import DOCUMENTS
from tests.working_copy import ROOT

# What the wheel's folders say of themselves, where nobody looks for a page.
BESIDE = {"local_data/demo", "weights/demo"}
_HEADING = re.compile(r"^#+ +(.*)$", re.MULTILINE)


@pytest.fixture(scope="module")
def site() -> ModuleType:
    spec = importlib.util.spec_from_file_location("site_of_the_documents", ROOT / "docs" / "site.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def anchors(document: str) -> set[str]:
    """Of its headings, as they are made where the repository is read."""
    text = re.sub(r"^```.*?^```$", "", (ROOT / document).read_text(), flags=re.MULTILINE | re.DOTALL)
    return {re.sub(r"[^\w\- ]", "", words.lower()).replace(" ", "-") for words in _HEADING.findall(text)}


def links(document: str, site: ModuleType) -> Iterator[tuple[str, str]]:
    """(the file of the repository, the anchor) of each link that leads nowhere else."""
    for match in site._LINK.finditer((ROOT / document).read_text()):
        target, _, anchor = (match["target"] or "://").partition("#")
        if "://" not in target:
            place = (ROOT / document).parent / target if target else ROOT / document
            yield str(place.resolve().relative_to(ROOT)), anchor


def test_every_document_has_a_page(site: ModuleType) -> None:
    assert set(site.PLACES) == {each for each in DOCUMENTS if str(Path(each).parent) not in BESIDE}
    assert len(set(site.PLACES.values())) == len(site.PLACES)


@pytest.mark.parametrize("document", DOCUMENTS)
def test_links_lead_somewhere(document: str, site: ModuleType) -> None:
    for place, anchor in links(document, site):
        assert (ROOT / place).exists(), f"{document}: {place}"
        assert not anchor or anchor in anchors(place), f"{document}: {place}#{anchor}"


def test_the_readme_fits_on_a_few_screens() -> None:
    assert (ROOT / "README.md").read_text().count("\n") <= 200


@pytest.mark.slow
def test_the_site_is_made_and_needs_nobody_elses() -> None:
    done = subprocess.run(
        [sys.executable, "docs/site.py"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for page in (ROOT / ".cache" / "site").glob("*.html"):
        fetched = re.findall(r'<(?:script|link|img)[^>]*(?:src|href)="(https?:[^"]*)"', page.read_text())
        assert not fetched, page.name
