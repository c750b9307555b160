"""What is heard and seen of an entry's tracks, where references are open: which tracks, as which files.

The child that scores makes the files (judge.py), the worker takes them out (judging.py), the server hands them out as
they are (listening.py). Names are ours: no name of a file comes from whoever sent the entry.
"""

import shutil
from base64 import b64decode
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evaluator.reporting import track_details
from evaluator.running.dataset import Track

FOLDER = "shown"  # in an entry's folder; one folder for each track in it, by the track's number
MIXTURE = "mixture"
SIGNALS = ("reference", "estimate", "error")  # of each stem; the error is reference − estimate
MOST_TRACKS = 6  # a minute of four stems takes about 15 MB
LONGEST_SECONDS = track_details.AUDIO_SECONDS  # of a track that is shown: the child holds it in memory
KINDS = {".ogg": ("audio/ogg", b"OggS"), ".png": ("image/png", b"\x89PNG\r\n\x1a\n")}
"""{suffix: (media type, how the content begins)}."""


def chosen(tracks: Sequence[Mapping[str, Any]], part: str) -> list[int]:
    """The numbers of the tracks that are shown, of a benchmark's: the same ones of each entry, of this part alone."""
    found = [
        index
        for index, track in enumerate(tracks)
        if track["part"] == part and track["frames"] <= LONGEST_SECONDS * track["rate_hz"]
    ]
    return found[:MOST_TRACKS]


def files(stems: Sequence[str]) -> list[str]:
    """The names of the files of a track."""
    signals = [MIXTURE, *(_signal(stem, signal) for stem in stems for signal in SIGNALS)]
    return [f"{signal}{suffix}" for signal in signals for suffix in KINDS]


def _signal(stem: str, signal: str) -> str:
    return f"{stem}-{signal}"


def write(track: Track, estimates: Path, target: Path) -> None:
    """Write the files of a track, whose estimates lie in a folder as STEM.wav, into another folder."""
    audio = target / "audio"
    audio.mkdir()
    request = track_details.Request(track, estimates, audio, "track")
    details = track_details.inline(track_details.describe(request), audio)
    shutil.rmtree(audio)
    _write(target / MIXTURE, details[MIXTURE], details["audio"][MIXTURE])
    for stem in details["stems"]:
        for signal in SIGNALS:
            sound = details["audio"][f"{stem['name']}/{signal}"]
            _write(target / _signal(stem["name"], signal), stem[signal], sound)


def _write(stub: Path, pictures: Mapping[str, str], sound: str) -> None:
    stub.with_name(f"{stub.name}.png").write_bytes(b64decode(pictures["spectrogram"]))
    stub.with_name(f"{stub.name}.ogg").write_bytes(b64decode(sound))
