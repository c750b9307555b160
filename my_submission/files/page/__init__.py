"""One page with the stems of a run, to be heard in sync, soloed and muted; it opens from disk, without network."""

import base64
import json
import os
import re
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
from my_submission.plain_files import open_regular, replace_file
from sdx import pages
from sdx.terminal import one_line

NAME, AUDIO = "stems.html", "stems.html-audio"
_OURS = '<meta name="generator" content="sdx separate">'
_SCRIPT_NAME = re.compile(r"\d+-\d+\.js")  # of a recording and its stem
_HERE = Path(__file__).parent


def check_page(output_dir: Path, *, overwrite: bool) -> None:
    """OutputExists if something that is no page of ours has its name, or that of its folder of sound."""
    path = output_dir / NAME
    if path.exists() and not overwrite and _OURS not in _beginning(path):
        raise OutputExists(f"{path} already exists, and is no page of stems; --overwrite replaces it")
    _check_audio(output_dir / AUDIO)


def write_page(
    output_dir: Path, recordings: Sequence[SeparatedFile], tell: Callable[[Path], object] = lambda path: None
) -> Path:
    """Write the page of these recordings into their output folder, with its sound in scripts beside it.

    What an earlier page left there is removed, and nothing else. tell: is told of each recording before its sound is
    copied. Raises OutputFailed, OutputExists (as `check_page` for its folder of sound) or UnreadableAudio.
    """
    page, audio = output_dir / NAME, output_dir / AUDIO
    songs = []
    _check_audio(audio)
    try:
        audio.mkdir(exist_ok=True)
        for old in filter(_is_script, audio.iterdir()):
            old.unlink()
        for number, recording in enumerate(recordings, 1):
            tell(recording.source)
            songs.append(_song(recording, number, output_dir))
        content = _render(songs).encode()
        replace_file(page, lambda file: file.write(content))
    except OSError as error:
        raise OutputFailed(f"{page}: cannot be written: {error.strerror or error}") from error
    return page


def _check_audio(folder: Path) -> None:
    """OutputExists where its scripts would be, or replace, what is somebody else's."""
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        raise OutputExists(
            f"{folder} is {'a link' if folder.is_symlink() else 'no folder'}, and the page keeps its sound in a "
            "folder of that name; move it away, or name another --output"
        )
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if _SCRIPT_NAME.fullmatch(path.name) and not _is_script(path):
            raise OutputExists(f"{path} is no sound of a page, and has the name of one; move it away")


def _is_script(path: Path) -> bool:
    """Whether a page wrote it."""
    is_named_so = _SCRIPT_NAME.fullmatch(path.name) and not path.is_symlink()
    return bool(is_named_so) and _beginning(path).startswith(_script_start(path.name))


def _script_start(name: str) -> str:
    return f"sdxAudio({json.dumps(name)}, "


def _beginning(path: Path) -> str:
    try:
        with open_regular(path) as file:
            return file.read(2000).decode("utf-8", "replace")
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
    text = f"{_script_start(name)}{json.dumps(content)});\n"
    replace_file(output_dir / AUDIO / name, lambda file: file.write(text.encode()))
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
