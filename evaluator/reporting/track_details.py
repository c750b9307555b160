"""One track for the report page: pictures, SDR over time, and audio for the players.

Signals are (samples, channels) float32. The error is reference − estimate, the residual is the mixture minus the
sum of the estimates.
"""

import json
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from evaluator.reporting import pictures
from evaluator.reporting.pictures import Signal
from evaluator.running import parts
from evaluator.running.dataset import Track
from evaluator.running.parts import Part

AUDIO_SECONDS = 600.0  # of a track, at most: a browser decodes five signals of it into memory
EXCERPT_SECONDS = 10.0
VORBIS_BYTES = 10_300.0  # a second of one channel, about, for a forecast
PICTURE_BYTES = 36_000.0  # of one signal, as text, at most
VORBIS_LEVEL = 0.4  # of libsndfile's compression levels from 0 to 1; about 160 kbit/s for music in stereo
WRITE_FRAMES = 4096  # at once: libsndfile's Vorbis encoder overflows its stack on much longer blocks


@dataclass(frozen=True)
class Request:
    """What to do for one track; `audio` is the folder for its audio, None for none.

    excerpts: only the worst and the median 10 seconds of each stem are to be heard, without the residual.
    """

    track: Track
    estimates: Path
    audio: Path | None
    prefix: str  # of the names of its audio files
    excerpts: bool = False


def describe(request: Request) -> dict[str, Any]:
    """Pictures and measures of a track as JSON, and where its audio is; writes the audio.

    `audio` is {name: file}, and with excerpts {} beside a list of `excerpts`, each with its place and its audio.
    """
    track = request.track
    mixture = _mixture(track)
    residual = mixture.copy()
    stems = []
    audio: dict[str, str] = {}
    excerpts: list[dict[str, Any]] = []
    for stem, path in track.references.items():
        estimate = _read(request.estimates / f"{stem}.wav", track.estimate_channels)
        reference = _read(path, track.estimate_channels)
        residual -= estimate
        signals = {"reference": reference, "estimate": estimate, "error": reference - estimate}
        stems.append(
            {
                "name": stem,
                **_pictures(signals, track.rate_hz),
                "sdr": pictures.sdr_over_time(reference, estimate, track.rate_hz),
            }
        )
        if request.excerpts:
            heard = {"mixture": mixture, **{f"{stem}/{name}": signal for name, signal in signals.items()}}
            excerpts += _excerpts(request, stem, heard)
        else:
            audio |= _write(request, {f"{stem}/{name}": signal for name, signal in signals.items()})
    whole = {"mixture": mixture, "residual": residual}
    if not request.excerpts:
        audio |= _write(request, whole)
    return {
        "seconds": track.seconds,
        "audio_seconds": min(track.seconds, AUDIO_SECONDS),
        "stems": stems,
        **_pictures(whole, track.rate_hz),
        "audio": audio,
        "excerpts": excerpts,
    }


def forecast_bytes(track: Track, excerpts: bool, audio: bool) -> float:
    """How large the details of a track become, about: mostly its sound, as text."""
    stems = len(track.references)
    pictured = PICTURE_BYTES * (3 * stems + 2)
    if not audio:
        return pictured
    seconds = min(track.seconds, AUDIO_SECONDS) * (3 * stems + 2)
    if excerpts:
        number = 1 if track.seconds <= EXCERPT_SECONDS else 2
        seconds = number * min(track.seconds, EXCERPT_SECONDS) * 4 * stems
    return pictured + seconds * VORBIS_BYTES * track.estimate_channels * 4 / 3


def _excerpts(request: Request, stem: str, signals: Mapping[str, Signal]) -> list[dict[str, Any]]:
    """The worst and the median 10 seconds of a stem: where they are, their SDR, and their audio, which is written."""
    rate = request.track.rate_hz
    found = []
    reference, estimate = signals[f"{stem}/reference"], signals[f"{stem}/estimate"]
    for place in pictures.worst_and_median(reference, estimate, rate, EXCERPT_SECONDS):
        first = place.start * rate
        pieces = {
            name: signal[first : first + round(EXCERPT_SECONDS * rate)] for name, signal in signals.items()
        }
        seconds = len(pieces["mixture"]) / rate
        said = {"stem": stem, "kind": place.kind, "start": place.start, "seconds": seconds, "sdr": place.sdr}
        found.append({**said, "audio": _write(request, pieces, f"{place.start}-")})
    return found


def sdr_over_time(track: Track, estimates: Path) -> dict[str, list[float | None]]:
    """{stem: global SDR in dB within each second}, of `estimates`/{stem}.wav."""
    return {
        stem: pictures.sdr_over_time(
            _read(path, track.estimate_channels),
            _read(estimates / f"{stem}.wav", track.estimate_channels),
            track.rate_hz,
        )
        for stem, path in track.references.items()
    }


def _read(part: Part, channels: int) -> Signal:
    """The samples of a part; one channel stands for the same signal in all."""
    signal = parts.read(part)
    return np.repeat(signal, channels, axis=1) if signal.shape[1] == 1 else signal


def _mixture(track: Track) -> Signal:
    if len(track.mixtures) == 1:
        return _read(track.mixtures[0], track.estimate_channels)
    return np.concatenate([_read(path, 1) for path in track.mixtures], axis=1)


def _pictures(signals: Mapping[str, Signal], rate_hz: int) -> dict[str, Any]:
    """{name: {peaks, spectrogram}}, all on the scale of the loudest one, so that they can be compared by eye."""
    powers = {name: pictures.spectrogram(signal, rate_hz) for name, signal in signals.items()}
    top_power = max(float(power.max()) for power in powers.values()) or 1.0
    top = max(float(np.abs(signal).max()) for signal in signals.values()) or 1.0
    return {
        name: {
            "peaks": b64encode(pictures.peaks(signal, top).tobytes()).decode(),
            "spectrogram": b64encode(
                pictures.png(pictures.shades(powers[name], top_power), pictures.palette())
            ).decode(),
        }
        for name, signal in signals.items()
    }


def _write(request: Request, signals: Mapping[str, Signal], place: str = "") -> dict[str, str]:
    """Write each signal as an audio file wrapped in a script, and return {name: file name}.

    A page opened from disk may load scripts from beside it, but may not read other files into Web Audio.
    """
    if request.audio is None:
        return {}
    written = {}
    for name, signal in signals.items():
        file = f"{request.prefix}-{place}{name.replace('/', '-')}.js"
        if (request.audio / file).exists():  # the mixture at that place, for another stem
            written[name] = file
            continue
        frames = int(AUDIO_SECONDS * request.track.rate_hz)
        content = b64encode(
            _vorbis(signal[:frames], request.track.rate_hz, request.audio / f"{file}.ogg")
        ).decode()
        write_script(request.audio / file, content)
        written[name] = file
    return written


def write_script(path: Path, content: str) -> None:
    """Write text that the page loads when it needs it: from disk, a page may load nothing but scripts."""
    path.write_text(f"sdxAudio({json.dumps(path.name)}, {json.dumps(content)});\n")


def _vorbis(signal: Signal, rate_hz: int, scratch: Path) -> bytes:
    """The signal as Ogg Vorbis, clipped at full scale like the file a submission writes."""
    clipped = np.clip(signal, -1, 1)
    with soundfile.SoundFile(
        scratch,
        "w",
        rate_hz,
        clipped.shape[1],
        format="OGG",
        subtype="VORBIS",
        compression_level=VORBIS_LEVEL,
    ) as file:
        for start in range(0, len(clipped), WRITE_FRAMES):
            file.write(clipped[start : start + WRITE_FRAMES])
    content = scratch.read_bytes()
    scratch.unlink()
    return content


def inline(details: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The same with the content of its audio files (base64) in place of their names."""
    excerpts = [{**each, "audio": _contents(each["audio"], folder)} for each in details["excerpts"]]
    return {**details, "audio": _contents(details["audio"], folder), "excerpts": excerpts}


def _contents(audio: Mapping[str, str], folder: Path) -> dict[str, str]:
    return {name: _content(folder / file) for name, file in audio.items()}


def _content(script: Path) -> str:
    """The second argument of the one call in a script that we wrote."""
    call = script.read_text().strip()
    _, content = json.loads(f"[{call.removeprefix('sdxAudio(').removesuffix(');')}]")
    return str(content)
