"""Small folders in the true layouts of published data sets, of noise."""

import functools
import json
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory

import av
import numpy as np
import soundfile
from numpy.typing import NDArray

from tests.evaluator import audio

STREAMS = ("mixture", "drums", "bass", "other", "vocals")
AAC_FRAME = 1024


def write_stem_file(path: Path, signals: list[NDArray[np.float64]], rate_hz: int = 44100) -> Path:
    """A `.stem.mp4` with these streams, (samples, channels) each, as AAC."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", format="mp4") as container:
        streams = []
        for signal in signals:
            stream = container.add_stream("aac", rate=rate_hz)
            stream.layout = "stereo" if signal.shape[1] == 2 else "mono"
            stream.bit_rate = 256_000
            streams.append(stream)
        for stream, signal in zip(streams, signals, strict=True):
            for start in range(0, len(signal), AAC_FRAME):
                piece = np.ascontiguousarray(signal[start : start + AAC_FRAME].T, np.float32)
                layout = "stereo" if len(piece) == 2 else "mono"
                frame = av.AudioFrame.from_ndarray(piece, format="fltp", layout=layout)
                frame.sample_rate, frame.pts, frame.time_base = rate_hz, start, Fraction(1, rate_hz)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    return path


def tone(number: int, frames: int, channels: int = 2) -> NDArray[np.float64]:
    """A tone of its own for each number."""
    wave = 0.1 * np.sin(2 * np.pi * 220 * (number + 1) * np.arange(frames) / audio.RATE_HZ)
    return np.repeat(wave[:, None], channels, axis=1)


def write_musdb18(root: Path, names: tuple[str, ...] = ("A - One",), frames: int = 20480) -> Path:
    """MUSDB18: `test/NAME.stem.mp4`."""
    (root / "test").mkdir(parents=True, exist_ok=True)
    for name in names:
        (root / "test" / f"{name}.stem.mp4").write_bytes(_stem_file(frames))
    return root


@functools.cache
def _stem_file(frames: int) -> bytes:
    """A `.stem.mp4` of tones and their sum: to encode one takes longer than to read it."""
    stems = [tone(number, frames) for number in range(4)]
    with TemporaryDirectory() as folder:
        return write_stem_file(Path(folder) / "tones.stem.mp4", [np.sum(stems, axis=0), *stems]).read_bytes()


def write_dnr_v3(root: Path, languages: tuple[str, ...] = ("eng", "fra"), rate_hz: int = 48000) -> Path:
    """DnR v3: `LANGUAGE/flac/{train,val,test}/ID/{mixture,speech,music,sfx}.flac`, 24 bits, with manifests beside."""
    for number, language in enumerate(languages):
        for split in ("train", "val", "test"):
            folder = root / language / "flac" / split / "000001"
            folder.mkdir(parents=True)
            stems = {
                name: audio.noise(9600, channels=1, seed=10 * number + i)
                for i, name in enumerate(("speech", "music", "sfx"))
            }
            files = {**stems, "mixture": np.sum(list(stems.values()), axis=0)}
            for name, signal in files.items():
                soundfile.write(folder / f"{name}.flac", signal, rate_hz, subtype="PCM_24")
            manifest = root / language / "manifest" / split / "000001"
            manifest.mkdir(parents=True)
            (manifest / "speech.csv").write_text("start,end\n")
    return root


Song = dict[str, list[NDArray[np.float64]]]


def write_moisesdb(root: Path, songs: dict[str, Song]) -> Path:
    """MoisesDB: `moisesdb_v0.1/SONG/STEM/TAKE.wav` and `SONG/data.json`."""
    for name, stems in songs.items():
        folder = root / "moisesdb_v0.1" / name
        described = []
        for stem, takes in stems.items():
            (folder / stem).mkdir(parents=True)
            tracks = []
            for number, take in enumerate(takes):
                soundfile.write(folder / stem / f"take-{number}.wav", take, 44100, subtype="PCM_16")
                tracks.append(
                    {"id": f"take-{number}", "trackType": stem, "has_bleed": False, "extension": "wav"}
                )
            described.append({"id": stem, "stemName": stem, "tracks": tracks})
        song = {"song": name, "artist": "nobody", "genre": "none", "stems": described}
        (folder / "data.json").write_text(json.dumps(song))
    return root


def song(frames: int = 3000) -> Song:
    """A song with two takes of drums, mono and shorter ones, and stems that the challenge calls other."""
    return {
        "vocals": [audio.noise(frames, seed=1)],
        "bass": [audio.noise(frames, channels=1, seed=2)],
        "drums": [audio.noise(frames, seed=3), audio.noise(frames - 500, seed=4)],
        "guitar": [audio.noise(frames, seed=5)],
        "percussion": [audio.noise(frames - 1, channels=1, seed=6)],
    }
