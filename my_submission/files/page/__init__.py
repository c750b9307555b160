"""One page with the stems of a run, to be heard in sync, soloed and muted; it opens from disk, without network."""

import base64
import json
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
from markupsafe import Markup

from my_submission.files.errors import OutputExists, OutputFailed
from my_submission.files.listening import fits_a_browser, write_listening_copy
from my_submission.files.options import SeparatedFile
from sdx import pages
from sdx.terminal import one_line

NAME, AUDIO = "stems.html", "stems.html-audio"
_OURS = '<meta name="generator" content="sdx separate">'
_HERE = Path(__file__).parent


def check_page(output_dir: Path, *, overwrite: bool) -> None:
    """OutputExists if something that is no page of ours has its name."""
    path = output_dir / NAME
    if path.exists() and not overwrite and _OURS not in _beginning(path):
        raise OutputExists(f"{path} already exists, and is no page of stems; --overwrite replaces it")


def write_page(
    output_dir: Path, recordings: Sequence[SeparatedFile], tell: Callable[[Path], object] = lambda path: None
) -> Path:
    """Write the page of these recordings into their output folder, with its sound in scripts beside it.

    tell: is told of each recording before its sound is copied. Raises OutputFailed or UnreadableAudio.
    """
    page, audio = output_dir / NAME, output_dir / AUDIO
    songs = []
    try:
        audio.mkdir(exist_ok=True)
        for old in audio.glob("*.js"):
            old.unlink()
        for number, recording in enumerate(recordings, 1):
            tell(recording.source)
            songs.append(_song(recording, number, output_dir))
        page.write_text(_render(songs), encoding="utf-8")
    except OSError as error:
        raise OutputFailed(f"{page}: cannot be written: {error.strerror or error}") from error
    return page


def _beginning(path: Path) -> str:
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            return file.read(2000)
    except OSError:
        return ""


def _song(recording: SeparatedFile, number: int, output_dir: Path) -> dict[str, Any]:
    is_short = fits_a_browser(recording.seconds, len(recording.files))
    return {
        "title": one_line(recording.source.name),
        "folder": one_line(_folder(recording.files, output_dir)),
        "seconds": recording.seconds,
        "stems": [
            {
                "name": stem,
                "link": quote(os.fsencode(os.path.relpath(path, output_dir).replace(os.sep, "/"))),
                "script": _script(path, f"{number}-{place}.js", recording.seconds, output_dir)
                if is_short
                else None,
            }
            for place, (stem, path) in enumerate(recording.files.items(), 1)
        ],
    }


def _folder(files: Mapping[str, Path], output_dir: Path) -> str:
    return str(next(iter(files.values())).parent.relative_to(output_dir))


def _script(stem: Path, name: str, seconds: float, output_dir: Path) -> str:
    """Write a stem's sound as a script beside the page; its name."""
    with tempfile.TemporaryDirectory(dir=output_dir, prefix=".") as folder:
        copy = Path(folder, "copy.mp3")
        write_listening_copy(stem, copy, seconds)
        content = base64.b64encode(copy.read_bytes()).decode("ascii")
    (output_dir / AUDIO / name).write_text(f"sdxAudio({json.dumps(name)}, {json.dumps(content)});\n")
    return name


def _render(songs: Sequence[Mapping[str, Any]]) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE), autoescape=True, undefined=jinja2.StrictUndefined,
        trim_blocks=True, lstrip_blocks=True,
    )  # fmt: skip
    environment.globals["asset"] = _asset
    return environment.get_template("page.html.j2").render(songs=songs, audio_folder=AUDIO)


def _asset(name: str) -> Markup:
    return Markup(
        (_HERE / name).read_text(encoding="utf-8") if (_HERE / name).is_file() else pages.read(name)
    )
