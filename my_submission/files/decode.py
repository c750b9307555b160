"""Any recording as float32 blocks: by libsndfile if it can read it, else by ffmpeg if it is installed."""

import contextlib
import json
import logging
import math
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import soundfile
import torch
from torch import Tensor

from my_submission.files.channels import Groups, ManyChannels, groups_by_place, groups_in_order, places_of
from my_submission.files.errors import UnreadableAudio
from my_submission.signal.arrays import SpooledSignal
from my_submission.signal.audio import check_sample_rate

log = logging.getLogger(__name__)

TAGS = ("title", "artist", "album", "date", "genre", "tracknumber", "comment", "copyright")
"""The tags that are kept, by libsndfile's names."""

_FFMPEG_TAGS = {"track": "tracknumber"}  # ffmpeg's name -> libsndfile's, where they differ
_BLOCK_SAMPLES = 2**18


@dataclass(frozen=True)
class AudioInfo:
    """What a file says about its audio before it is decoded.

    channels: how many `decode` gives. groups: which of them are separated together.
    downmixed: whether the file has more, which are folded down.
    seconds: the length that the file states, which may be an estimate, or None.
    """

    sample_rate: int
    channels: int
    seconds: float | None
    tags: Mapping[str, str]
    decoder: Literal["libsndfile", "ffmpeg"]
    groups: Groups
    downmixed: bool = False


def probe(path: Path, many_channels: ManyChannels = "error") -> AudioInfo:
    """What a file holds, whether libsndfile or ffmpeg reads it.

    many_channels: what to do with more than two. If ffmpeg is installed, it says which is which and folds them down;
        without it, pairs are neighbours.
    Raises UnreadableAudio for a file that neither can read, or that has no audio, a rate outside 8 to 192 kHz, or
    too many channels; OSError for one that cannot be opened.
    """
    with path.open("rb"):
        pass
    info = _probe_libsndfile(path)
    if isinstance(info, str):
        info = _probe_ffmpeg(path, info)
    try:
        check_sample_rate(info.sample_rate)
    except ValueError as error:
        raise UnreadableAudio(f"{path}: {error}") from error
    return _with_many_channels(path, info, many_channels) if info.channels > 2 else info


def _probe_libsndfile(path: Path) -> AudioInfo | str:
    """What libsndfile sees, or why it cannot read the file."""
    try:
        with soundfile.SoundFile(path) as file:
            tags = {name: value for name, value in file.copy_metadata().items() if name in TAGS}
            seconds = file.frames / file.samplerate
            groups = groups_in_order(file.channels)
            return AudioInfo(file.samplerate, file.channels, seconds, tags, "libsndfile", groups)
    except soundfile.LibsndfileError as error:
        return str(error.error_string).strip().rstrip(".")


def _probe_ffmpeg(path: Path, refusal: str) -> AudioInfo:
    """refusal: what libsndfile had to say, for the error."""
    if shutil.which("ffmpeg") is None or shutil.which("ffprobe") is None:
        raise UnreadableAudio(
            f"{path}: libsndfile cannot read it ({refusal}), and ffmpeg, which reads video and many more formats, "
            f"is not installed; install it (apt-get install ffmpeg) or convert the file to WAV"
        )
    entries = "stream=sample_rate,channels,channel_layout,duration:stream_tags:format=duration:format_tags"
    probed = subprocess.run(
        ["ffprobe", "-v", "error", "-select_streams", "a:0", "-show_entries", entries, "-of", "json", f"file:{path}"],
        capture_output=True, check=False,
    )  # fmt: skip
    if probed.returncode != 0:
        reason = _last_line(probed.stderr)
        raise UnreadableAudio(f"{path}: neither libsndfile ({refusal}) nor ffmpeg ({reason}) can read it")
    document = json.loads(probed.stdout)
    if not document.get("streams"):
        raise UnreadableAudio(f"{path}: ffmpeg finds no audio in it")
    stream, container = document["streams"][0], document.get("format", {})
    seconds = stream.get("duration") or container.get("duration")
    channels = int(stream["channels"])
    places = places_of(stream.get("channel_layout", "")) if channels > 2 else ()
    return AudioInfo(
        sample_rate=int(stream["sample_rate"]),
        channels=channels,
        seconds=float(seconds) if seconds else None,
        tags=_ffmpeg_tags(stream) | _ffmpeg_tags(container),
        decoder="ffmpeg",
        groups=groups_by_place(places) if len(places) == channels else groups_in_order(channels),
    )


def _ffmpeg_tags(section: Mapping[str, Any]) -> dict[str, str]:
    named = {name.lower(): str(value) for name, value in section.get("tags", {}).items()}
    tags = {_FFMPEG_TAGS.get(name, name): value for name, value in named.items()}
    return {name: value for name, value in tags.items() if name in TAGS}


def _with_many_channels(path: Path, info: AudioInfo, choice: ManyChannels) -> AudioInfo:
    found = f"{path}: expected 1 or 2 channels, found {info.channels}"
    if choice == "error":
        raise UnreadableAudio(
            f"{found}; --pairs separates left and right in pairs, and --downmix folds everything down to two "
            f"(in the library: many_channels='pairs' or 'downmix')"
        )
    has_ffmpeg = shutil.which("ffmpeg") is not None and shutil.which("ffprobe") is not None
    if choice == "downmix":
        if not has_ffmpeg:
            raise UnreadableAudio(f"{found}; folding them down needs ffmpeg, which is not installed")
        return replace(info, channels=2, decoder="ffmpeg", groups=groups_in_order(2), downmixed=True)
    if info.decoder == "libsndfile" and has_ffmpeg:
        # The order of channels is ffmpeg's only if ffmpeg decodes them (for Ogg Vorbis, libsndfile's differs).
        with contextlib.suppress(UnreadableAudio):
            info = replace(info, groups=_probe_ffmpeg(path, "").groups, decoder="ffmpeg")
    return info


def _last_line(output: bytes) -> str:
    lines = output.decode(errors="replace").strip().splitlines()
    return lines[-1] if lines else "no reason given"


def decode(path: Path, info: AudioInfo) -> Iterator[Tensor]:
    """A file's samples as (channels, samples) float32 blocks; integer PCM is scaled to ±1.

    Raises UnreadableAudio if decoding fails or a sample is NaN or infinite.
    """
    start = 0
    for block in _libsndfile_blocks(path) if info.decoder == "libsndfile" else _ffmpeg_blocks(path, info):
        if not np.isfinite(block).all():
            sample, channel = np.argwhere(~np.isfinite(block))[0]
            raise UnreadableAudio(
                f"{path}: expected finite samples, found {block[sample, channel]} at sample {start + sample} "
                f"({(start + sample) / info.sample_rate:.2f} s) of channel {channel}; repair the file first"
            )
        start += len(block)
        yield torch.from_numpy(np.ascontiguousarray(block.T))


def _libsndfile_blocks(path: Path) -> Iterator[Any]:
    try:
        with soundfile.SoundFile(path) as file:
            while len(block := file.read(_BLOCK_SAMPLES, dtype="float32", always_2d=True)):
                yield block
    except soundfile.LibsndfileError as error:
        raise UnreadableAudio(f"{path}: libsndfile stopped reading it: {error.error_string}") from error


def _ffmpeg_blocks(path: Path, info: AudioInfo) -> Iterator[Any]:
    channels = ["-ac", str(info.channels)] if info.channels <= 2 else []  # more channels stay as they are
    command = [
        "ffmpeg", "-nostdin", "-v", "error", "-i", f"file:{path}", "-map", "0:a:0",
        *channels, "-ar", str(info.sample_rate), "-f", "f32le", "pipe:1",
    ]  # fmt: skip
    frame_bytes = 4 * info.channels
    with (
        tempfile.TemporaryFile() as complaints,
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=complaints) as process,
    ):
        assert process.stdout is not None
        try:
            while data := process.stdout.read(_BLOCK_SAMPLES * frame_bytes):
                whole = len(data) - len(data) % frame_bytes
                yield np.frombuffer(data[:whole], dtype="<f4").reshape(-1, info.channels)
        except BaseException:
            process.kill()
            raise
        exit_code = process.wait()
        complaints.seek(0)
        said = complaints.read()
    if exit_code != 0:
        raise UnreadableAudio(f"{path}: ffmpeg stopped reading it: {_last_line(said)}")
    if said.strip():
        log.warning("%s: ffmpeg complained while reading it: %s", path, _last_line(said))


def read_into(path: Path, info: AudioInfo, signal: SpooledSignal) -> Tensor:
    """Decode a file into an empty signal; return which channels are not silent, (channels,) bool.

    Raises UnreadableAudio if it has no samples.
    """
    sounding = torch.zeros(info.channels, dtype=torch.bool)
    for block in decode(path, info):
        signal.append(block)
        sounding |= block.any(dim=1)
    if not signal.samples:
        raise UnreadableAudio(f"{path}: it holds no audio samples")
    stated = info.seconds
    if stated is not None and math.isfinite(stated):
        missing = stated - signal.samples / info.sample_rate
        if missing > max(1.0, 0.01 * stated):
            log.warning(
                "%s: %.1f s are missing of the %.1f s that it states; the rest is separated",
                path, missing, stated,
            )  # fmt: skip
    return sounding
