"""The worker itself, without a sandbox: submissions that work with the organisers' wrapper work here, in any form."""

import json
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import numpy as np
import pytest
import soundfile

from evaluator.isolation import worker
from my_submission import aicrowd_wrapper

STEMS = ("bass", "drums", "other", "vocals")
START = """
import os, sys
import numpy as np

STEMS = ["bass", "drums", "other", "vocals"]

def separate(mixture, rate, factor=0.25):
    arrays = {stem: mixture * factor for stem in STEMS}
    return arrays, dict.fromkeys(STEMS, rate)
"""
FORMS = {
    "method": """
        class MySeparationModel:
            instruments = STEMS
            def separate_music_file(self, mixture, rate):
                return separate(mixture, rate, FACTOR)
    """,
    "static": """
        class MySeparationModel:
            instruments = STEMS
            @staticmethod
            def separate_music_file(mixture, rate):
                return separate(mixture, rate, FACTOR)
    """,
    "class": """
        class MySeparationModel:
            instruments = STEMS
            @classmethod
            def separate_music_file(cls, mixture, rate):
                return separate(mixture, rate, FACTOR)
    """,
    "inherited": """
        class Base:
            def separate_music_file(self, mixture, rate):
                return separate(mixture, rate, FACTOR)
        class MySeparationModel(Base):
            instruments = STEMS
    """,
    "own": """
        class MySeparationModel:
            instruments = STEMS
            def __init__(self):
                self.separate_music_file = lambda mixture, rate: separate(mixture, rate, FACTOR)
    """,
    "made": """
        class Made:
            instruments = STEMS
            def separate_music_file(self, mixture, rate):
                return separate(mixture, rate, FACTOR)
        def MySeparationModel():
            return Made()
    """,
    "list": """
        class MySeparationModel:
            instruments = STEMS
            def separate_music_file(self, mixture, rate):
                return list(separate(mixture, rate, FACTOR))
    """,
}
ENDS = {
    "closes its streams": ("sys.stdout.close(); sys.stderr.close()", None),
    "sets its streams to none": ("sys.stdout = sys.stderr = None", None),
    "closes them and raises": (
        "sys.stdout.close(); sys.stderr.close(); 1 / 0",
        "ZeroDivisionError: division by zero",
    ),
    "a surrogate": ("raise ValueError('a name \\udcff\\nand more')", "ValueError: a name \\udcff"),
    "no text": (
        "class Odd(Exception):\n  def __str__(self): 1 / 0\nraise Odd",
        "Odd: (it cannot be shown as text)",
    ),
    "no words": ("raise KeyboardInterrupt", "KeyboardInterrupt"),
}


def said(tmp_path: Path, body: str, tracks: int = 1) -> list[dict[str, Any]]:
    """What a worker answers that constructs the submission and is given the same track so many times."""
    package = tmp_path / "my_submission"
    package.mkdir()
    (package / "user_config.py").write_text(START + body)
    mixtures, predictions = tmp_path / "mixtures", tmp_path / "predictions"
    (mixtures / "song").mkdir(parents=True)
    predictions.mkdir()
    soundfile.write(mixtures / "song" / "mixture.wav", np.full((100, 2), 0.5), 44100)
    requests = [{"op": "construct"}, *[{"op": "separate", "folder": "song"}] * tracks]
    told = subprocess.run(
        [sys.executable, worker.__file__, tmp_path, mixtures, predictions, aicrowd_wrapper.__file__],
        input="".join(f"{json.dumps(request)}\n" for request in requests),
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    return [json.loads(line) for line in told.stdout.splitlines()]


@pytest.mark.thorough
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("factor", "nonfinite"), [("0.25", []), ("np.nan", sorted(STEMS))])
def test_the_method_may_be_any_callable(tmp_path: Path, form: str, factor: str, nonfinite: list[str]) -> None:
    ready, done = said(tmp_path, f"FACTOR = {factor}\n{dedent(FORMS[form])}")
    assert ready["event"] == "ready"
    assert (done["event"], done.get("nonfinite")) == ("done", nonfinite)


@pytest.mark.thorough
@pytest.mark.parametrize(("line", "error"), ENDS.values(), ids=ENDS)
def test_odd_streams_and_exceptions_end_no_worker(tmp_path: Path, line: str, error: str | None) -> None:
    form = dedent(FORMS["method"]).replace("return separate", "act(); return separate")
    act = "def act():\n" + "".join(f"    {part}\n" for part in line.split("\n"))
    events = said(tmp_path, f"FACTOR = 0.25\n{act}{form}", tracks=2)[1:]
    assert [(event["event"], event.get("error")) for event in events] == [
        ("done", None) if error is None else ("failed", error)
    ] * 2
