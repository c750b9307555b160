"""Draws the README's pictures from real runs in a scratch copy: `.venv/bin/python docs/pictures.py`.

- `terminal.svg`: what a terminal shows of an evaluation that is held to its baseline.
- `report.png`: that run's report page in headless Chromium (Debian packages `chromium`, `chromium-driver`).
- the table below `<!-- printed by make eval -->` in README.md.

It takes some minutes, and fails where a track does: run it on a machine that is not busy, or with --time-factor,
which the picture of the terminal then shows.
"""

import argparse
import html
import io
import os
import pty
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from PIL import Image
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
from tests.working_copy import ROOT, copy_working_tree

DOCS = ROOT / "docs"
CHECKED = "python run_eval.py --track cinematic --check evaluator/baselines/cdx-demo.json --report"
COLUMNS = 100
MARKER = "<!-- printed by make eval -->\n```text\n"

_ESCAPE = re.compile(r"\x1b\[(\d*)([A-Za-z])")
_LINE_HEIGHT, _CHARACTER_WIDTH, _MARGIN, _BAR_HEIGHT = 19, 8.43, 18, 34


def main() -> int:
    """Draw what is asked for; by default everything."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("only", nargs="*", choices=[[], "table", "terminal", "report"], metavar="PICTURE")
    parser.add_argument("--time-factor", metavar="X", help="seconds allowed per second of audio")
    options = parser.parse_args()
    wanted = options.only or ["table", "terminal", "report"]
    checked = CHECKED if options.time_factor is None else f"{CHECKED} --time-factor {options.time_factor}"
    with tempfile.TemporaryDirectory() as folder:
        copy = copy_working_tree(Path(folder) / "sdx23-kit")
        if "table" in wanted:
            write_table(in_terminal("make --no-print-directory eval", copy))
        if {"terminal", "report"} & set(wanted):
            shown = in_terminal(checked, copy)
            if "terminal" in wanted:
                (DOCS / "terminal.svg").write_text(as_svg(checked, shown), encoding="utf-8")
            if "report" in wanted:
                (page,) = copy.glob("runs/*/report.html")
                photograph(page, DOCS / "report.png")
    return 0


def in_terminal(command: str, folder: Path) -> list[str]:
    """What a terminal of COLUMNS columns shows in the end; RuntimeError with it if the command fails."""
    ours, its = pty.openpty()
    settings = {"COLUMNS": str(COLUMNS), "LINES": "40", "TERM": "xterm-256color"}
    environment = os.environ | settings | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    with subprocess.Popen(
        ["sh", "-c", f"stty cols {COLUMNS} rows 40; {command}"],
        cwd=folder, env=environment, stdin=its, stdout=its, stderr=its, start_new_session=True,
    ) as process:  # fmt: skip
        os.close(its)
        written = b""
        while True:
            try:
                data = os.read(ours, 2**16)
            except OSError:  # how Linux says that nobody is at the other end any more
                break
            if not data:
                break
            written += data
    os.close(ours)
    lines = screen(written.decode())
    if process.returncode != 0:
        raise RuntimeError("\n".join([f"{command}: exit code {process.returncode}", *lines]))
    return lines


def screen(written: str) -> list[str]:
    """What is left of text with carriage returns and the escape sequences that progress bars use."""
    lines, row, column = [""], 0, 0
    position = 0
    while position < len(written):
        escape = _ESCAPE.match(written, position)
        if escape:
            position = escape.end()
            if escape[2] == "A":
                row = max(0, row - int(escape[1] or 1))
            elif escape[2] == "K":
                lines[row] = lines[row][:column]
            continue
        character = written[position]
        position += 1
        if character == "\r":
            column = 0
        elif character == "\n":
            row += 1
            if row == len(lines):
                lines.append("")
        else:
            lines[row] = lines[row][:column].ljust(column) + character + lines[row][column + 1 :]
            column += 1
    return [line.rstrip() for line in lines]


def as_svg(command: str, lines: list[str]) -> str:
    """A terminal window with the command and what it showed."""
    while lines and not lines[-1]:
        lines = lines[:-1]
    width = round(2 * _MARGIN + _CHARACTER_WIDTH * max(len(line) for line in [*lines, "$ " + command]))
    height = _BAR_HEIGHT + _MARGIN + _LINE_HEIGHT * (len(lines) + 1)
    rows = [f'<tspan fill="#7ee787">$ {html.escape(command)}</tspan>', *map(_coloured, lines)]
    text = "\n".join(
        f'<text x="{_MARGIN}" y="{_BAR_HEIGHT + 14 + _LINE_HEIGHT * place}">{row}</text>'
        for place, row in enumerate(rows)
        if row
    )
    dots = "".join(
        f'<circle cx="{20 + 20 * place}" cy="17" r="6" fill="{colour}"/>'
        for place, colour in enumerate(("#ff5f57", "#febc2e", "#28c840"))
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}">\n'
        f"<title>{html.escape(command)}</title>\n"
        f'<rect width="{width}" height="{height}" rx="9" fill="#14181f"/>\n{dots}\n'
        f'<g font-family="ui-monospace, Menlo, Consolas, \'DejaVu Sans Mono\', monospace" font-size="14" '
        f'fill="#d6dbe3">\n{text}\n</g>\n</svg>\n'
    )


def _coloured(line: str) -> str:
    """Statuses and verdicts stand out; the characters are those that were printed."""
    shown = html.escape(line, quote=False).replace(" ", "\xa0")  # spaces that no renderer folds
    shown = re.sub(r"(?<=\xa0\xa0)ok(?=\xa0\xa0)", '<tspan fill="#7ee787">ok</tspan>', shown)
    if "would have passed" in line or line.startswith("No regression"):
        return f'<tspan fill="#7ee787" font-weight="bold">{shown}</tspan>'
    return f'<tspan fill="#8b949e">{shown}</tspan>' if set(line) == {"-"} else shown


def photograph(page: Path, target: Path) -> None:
    """A report's head and its first track, one below the other, as PNG."""
    options = webdriver.ChromeOptions()
    options.binary_location = _program("chromium")
    for flag in ("headless", "no-sandbox", "disable-gpu", "hide-scrollbars", "window-size=1180,2000"):
        options.add_argument(f"--{flag}")
    driver = webdriver.Chrome(options, Service(_program("chromedriver")))
    try:
        driver.get(page.as_uri())
        end = driver.find_element(By.ID, "scores").location["y"]
        head = _image(driver.get_screenshot_as_png())
        head = head.crop((0, 0, head.width, end))
        driver.get(f"{page.as_uri()}#track-0")
        driver.refresh()
        time.sleep(2)  # the pictures are drawn as they come into view
        track = _image(driver.find_element(By.ID, "track-0").screenshot_as_png)
    finally:
        driver.quit()
    both = Image.new("RGB", (head.width, head.height + track.height), head.getpixel((0, 0)))
    both.paste(head, (0, 0))
    both.paste(track, ((head.width - track.width) // 2, head.height))
    both.quantize(128).save(target, optimize=True)


def _program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise RuntimeError(f"{name} is not there; install the Debian packages chromium and chromium-driver")
    return found


def _image(png: bytes) -> Image.Image:
    return Image.open(io.BytesIO(png)).convert("RGB")


def write_table(lines: list[str]) -> None:
    """Put what `make eval` printed into the README, from the table's head to the verdict."""
    first = next(place for place, line in enumerate(lines) if line.startswith("track "))
    table = "\n".join(lines[first:]).rstrip()
    readme = ROOT / "README.md"
    before, marker, after = readme.read_text(encoding="utf-8").partition(MARKER)
    if not marker:
        raise RuntimeError(f"{readme}: {MARKER!r} is not there")
    _, fence, rest = after.partition("```\n")
    readme.write_text(f"{before}{marker}{table}\n{fence}{rest}", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
