"""Makes a site of the documents, in .cache/site: `make docs`.

The documents stay where they are read, beside the code. They are copied under short names, and their links are
rewritten: to another page, to a picture that is copied, too, or, where they lead to code, to nothing but their words.
A link or an anchor that leads nowhere ends the build.
"""

import logging
import posixpath
import re
import shutil
from pathlib import Path

import yaml
from mkdocs.commands.build import build
from mkdocs.config import load_config

REPOSITORY = Path(__file__).resolve().parents[1]
STAGE, SITE = REPOSITORY / ".cache" / "site-pages", REPOSITORY / ".cache" / "site"
PAGES = {
    "": {"README.md": "index.md", "docs/install.md": "install.md"},
    "Separate": {
        "docs/separate.md": "separate.md",
        "docs/ensembles.md": "ensembles.md",
        "docs/models.md": "models.md",
        "docs/presets.md": "presets.md",
        "docs/zero-shot.md": "zero-shot.md",
        "weights/README.md": "weights.md",
    },
    "Evaluate": {
        "docs/evaluate.md": "evaluate.md",
        "evaluator/README.md": "evaluator.md",
        "docs/report.md": "report.md",
        "docs/ci.md": "ci.md",
        "docs/time-and-speed.md": "time-and-speed.md",
        "docs/tune.md": "tune.md",
        "docs/papers.md": "papers.md",
        "docs/measure-it.md": "measure-it.md",
        "docs/submitting.md": "submitting.md",
        "local_data/README.md": "data.md",
    },
    "Run a benchmark": {"docs/run-a-benchmark.md": "run-a-benchmark.md", "docs/clusters.md": "clusters.md"},
    "Train and extend": {"docs/add-a-model.md": "add-a-model.md", "training/README.md": "training.md"},
    "About": {
        "docs/verified.md": "verified.md",
        "docs/compared.md": "compared.md",
        "docs/licences.md": "licences.md",
        "SECURITY.md": "security.md",
        "ARCHITECTURE.md": "architecture.md",
        "CONTRIBUTING.md": "contributing.md",
        "tests/README.md": "tests.md",
        "benchmarks/README.md": "benchmarks.md",
        "CHANGELOG.md": "changelog.md",
    },
}
"""{section: {document: its page}}, in the order of the menu."""
PLACES = {source: page for pages in PAGES.values() for source, page in pages.items()}
PICTURES = (".svg", ".png")
# What is code is no link, but the words of a link may be code.
_LINK = re.compile(
    r"^```.*?^```$|(?P<picture>!?)\[(?P<words>[^\]]*)\]\((?P<target>[^)\s]+)\)|`[^`\n]+`",
    re.MULTILINE | re.DOTALL,
)


def rewritten(text: str, source: str) -> str:
    """The text of the document `source`, with links as they are on the site."""

    def link(match: re.Match[str]) -> str:
        if match["target"] is None:
            return match[0]
        target, _, anchor = match["target"].partition("#")
        if not target or "://" in target:
            return match[0]
        place = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        if place in PLACES:
            return f"[{match['words']}]({PLACES[place]}{'#' * bool(anchor)}{anchor})"
        if place.endswith(PICTURES):
            shutil.copyfile(REPOSITORY / place, STAGE / posixpath.basename(place))
            return f"{match['picture']}[{match['words']}]({posixpath.basename(place)})"
        if not (REPOSITORY / place).exists():
            raise SystemExit(f"{source}: the link to {target} leads nowhere")
        return match["words"]

    return _LINK.sub(link, text)


def stage() -> Path:
    """Write all pages and the configuration; returns the latter."""
    shutil.rmtree(STAGE, ignore_errors=True)
    STAGE.mkdir(parents=True)
    menu: list[object] = []
    for section, pages in PAGES.items():
        for source, page in pages.items():
            (STAGE / page).write_text(
                rewritten((REPOSITORY / source).read_text(encoding="utf-8"), source), "utf-8"
            )
        menu += [{section: list(pages.values())}] if section else list(pages.values())
    configuration = {
        "site_name": "Sound demixing kit",
        "docs_dir": str(STAGE),
        "site_dir": str(SITE),
        "use_directory_urls": False,  # so that pages open from disk, too
        "nav": menu,
        "theme": {
            "name": "material",
            "font": False,  # nothing is fetched from anywhere
            "features": ["navigation.sections", "navigation.top"],
            "palette": [
                {
                    "media": f"(prefers-color-scheme: {scheme})",
                    "scheme": name,
                    "toggle": {"icon": "material/brightness-6", "name": f"switch to {other}"},
                }
                for scheme, name, other in (("light", "default", "dark"), ("dark", "slate", "light"))
            ],
        },
        "plugins": ["search"],
        "markdown_extensions": ["tables", "toc", "sane_lists", "pymdownx.superfences", "pymdownx.highlight"],
        "validation": {"links": {"anchors": "warn", "not_found": "warn", "unrecognized_links": "warn"}},
        "strict": True,
    }
    file = STAGE.with_suffix(".yml")
    file.write_text(yaml.safe_dump(configuration, sort_keys=False), "utf-8")
    return file


def main() -> None:
    """Build the site; ends with 1 at the first link that leads nowhere."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    build(load_config(str(stage())))
    print(f"open {SITE / 'index.html'}")


if __name__ == "__main__":
    main()
