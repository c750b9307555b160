"""A user's recordings: found below a folder, measured, and read as stereo at 44.1 kHz, whatever their format.

libsndfile reads wav, flac, ogg, mp3, aiff and more; what it cannot read, ffmpeg reads if it is installed.
"""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import soxr

from evaluator.datasets.mixing import RATE_HZ, Audio

# What is taken for a recording; everything else in the folder is left alone.
SUFFIXES = frozenset(
    f".{name}"
    for names in (
        ("wav", "w64", "rf64", "flac", "ogg", "opus", "mp3", "aif", "aiff", "aifc", "au", "caf"),
        ("m4a", "aac", "mp4", "mkv", "mka", "wma", "ac3", "webm", "wv"),
    )
    for name in names
)
# ITU-R BS.775: left, right, centre, low frequencies (left out), left and right surround.
SURROUND_CHANNELS = 6
SURROUND_TO_STEREO = np.array(
    [[1, 0], [0, 1], [0.7071, 0.7071], [0, 0], [0.7071, 0], [0, 0.7071]], np.float32
)


class RecordingError(Exception):
    """A file that cannot be used; the message begins with its path."""


@dataclass(frozen=True)
class Recording:
    """A file, its duration in seconds, and whether ffmpeg is what reads it."""

    path: Path
    seconds: float
    by_ffmpeg: bool


def find(root: Path) -> list[Path]:
    """Audio files below `root` in name order; hidden files and folders do not count."""
    return sorted(
        path
        for path in root.rglob("*")
        if path.suffix.lower() in SUFFIXES
        and path.is_file()
        and not any(part.startswith(".") for part in path.relative_to(root).parts)
    )


def probe(path: Path) -> Recording:
    """What libsndfile or, failing that, ffmpeg says of the file. Raises RecordingError if neither reads it."""
    try:
        info = soundfile.info(path)
    except (soundfile.LibsndfileError, OSError) as error:
        if shutil.which("ffprobe") is None:
            raise RecordingError(
                f"{path}: libsndfile cannot read it ({error}), and ffmpeg is not installed"
            ) from error
        return Recording(path, _ffprobe_seconds(path), by_ffmpeg=True)
    if info.channels > 2 and info.channels != SURROUND_CHANNELS:
        raise RecordingError(f"{path}: {info.channels} channels, expected 1, 2 or {SURROUND_CHANNELS} (5.1)")
    return Recording(path, info.frames / info.samplerate, by_ffmpeg=False)


def _ffprobe_seconds(path: Path) -> float:
    command = ["ffprobe", "-v", "error", "-select_streams", "a:0", "-show_entries"]
    command += ["format=duration:stream=codec_type", "-of", "default=noprint_wrappers=1", f"file:{path}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    fields = dict(line.split("=", 1) for line in done.stdout.split() if "=" in line)
    if done.returncode != 0 or "codec_type" not in fields:
        reason = done.stderr.strip().splitlines()[-1:] or ["it holds no audio"]
        raise RecordingError(f"{path}: neither libsndfile nor ffmpeg reads it ({reason[0]})")
    try:
        return float(fields["duration"])
    except (KeyError, ValueError) as error:
        raise RecordingError(f"{path}: ffmpeg does not know its duration") from error


def read(recording: Recording, start_seconds: float, seconds: float) -> Audio:
    """An excerpt as (2, samples) at 44.1 kHz, shorter where the file ends: mono on both sides, 5.1 mixed down.

    Raises RecordingError for a file that cannot be decoded or holds NaN or infinity.
    """
    if recording.by_ffmpeg:
        audio = _read_by_ffmpeg(recording.path, start_seconds, seconds)
    else:
        audio = _read_by_libsndfile(recording.path, start_seconds, seconds)
    if not np.isfinite(audio).all():
        raise RecordingError(f"{recording.path}: holds NaN or infinite samples")
    return audio[:, : round(seconds * RATE_HZ)]


def _read_by_libsndfile(path: Path, start_seconds: float, seconds: float) -> Audio:
    try:
        with soundfile.SoundFile(path) as file:
            file.seek(min(file.frames, round(start_seconds * file.samplerate)))
            count = int(np.ceil(seconds * file.samplerate)) + 1
            samples = file.read(count, dtype="float32", always_2d=True)
            rate = file.samplerate
    except (soundfile.LibsndfileError, OSError) as error:
        raise RecordingError(f"{path}: cannot be decoded at {start_seconds:.1f} s ({error})") from error
    if samples.shape[1] == SURROUND_CHANNELS:
        samples = samples @ SURROUND_TO_STEREO
    elif samples.shape[1] == 1:
        samples = np.repeat(samples, 2, axis=1)
    if rate != RATE_HZ and len(samples):
        samples = soxr.resample(samples, rate, RATE_HZ)
    return np.ascontiguousarray(samples.T, dtype=np.float32)


def _read_by_ffmpeg(path: Path, start_seconds: float, seconds: float) -> Audio:
    command = ["ffmpeg", "-v", "error", "-nostdin", "-ss", str(start_seconds), "-t", str(seconds + 0.01)]
    command += ["-i", f"file:{path}", "-map", "a:0", "-ac", "2", "-ar", str(RATE_HZ), "-f", "f32le", "-"]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode != 0:
        reason = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["no reason given"]
        raise RecordingError(f"{path}: ffmpeg cannot decode it at {start_seconds:.1f} s ({reason[0]})")
    samples = np.frombuffer(done.stdout, dtype="<f4")
    return np.ascontiguousarray(samples[: len(samples) // 2 * 2].reshape(-1, 2).T)
