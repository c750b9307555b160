"""One recording into one file per stem: decode, separate block by block, write."""

import contextlib
import os
import shutil
import time
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from my_submission.ensemble.engine import Progress
from my_submission.ensemble.preset_reader import load_preset
from my_submission.files.channels import (
    Groups,
    ManyChannels,
    check_many_channels,
    share_progress,
    side_by_side,
)
from my_submission.files.decode import AudioInfo, probe, read_into
from my_submission.files.default_preset import configured_preset
from my_submission.files.encode import AudioWriter, Encoding, exists_message, made_folder, temporary_path
from my_submission.files.errors import OutputExists, OutputFailed
from my_submission.files.inputs import TEMPLATE, Recording, check_template, targets
from my_submission.files.journal import Entry, find_done, write_entry
from my_submission.files.levels import Clipping, Levels, check_clipping, limited
from my_submission.files.stems import Sums, derive, needed_stems, parse_stems
from my_submission.separator import SeparationModel
from my_submission.signal.arrays import SpooledSignal, SpoolFailed
from my_submission.signal.audio import MODEL_SAMPLE_RATE, Stems, to_stereo
from my_submission.signal.chunking import Reader
from my_submission.signal.resampling import StreamResampler, at_mixture_rate, resampled_length

_READ_SAMPLES = 2**18
_BLOCK_SAMPLES = 2**22


class StreamingModel(Protocol):
    """What separates: a `SeparationModel`, or anything with these members.

    sharing_stems: how many stems, asked for or not, add up to the mixture; 0 if they do not.
    stream: several may be under way at a time; the length of its blocks depends on `samples` only.
    """

    @property
    def instruments(self) -> list[str]: ...

    @property
    def sharing_stems(self) -> int: ...

    def stream(
        self, read: Reader, samples: int, progress: Progress | None = None
    ) -> Iterator[tuple[int, Stems]]: ...

    def measure(self) -> None: ...

    def work(self, samples: int) -> float: ...

    def provenance(self) -> dict[str, Any]: ...


@dataclass(frozen=True)
class ModelChoice:
    """Which model separates; see `SeparationModel`. No `stems` means all of them."""

    preset: str
    device: str = "auto"
    precision: str = "auto"
    weights_dir: Path | None = None
    fast: bool = False
    stems: tuple[str, ...] = ()
    memory_budget: int | None = None


@dataclass(frozen=True)
class FileOptions:
    """How to write stems; checked on construction (ValueError), except for `stems`, which depend on the preset.

    stems: what to write (`parse_stems`); empty: the preset's own stems. format, bits: see `Encoding`.
    template: the path of a stem's file inside the output folder. clipping: see `Clipping`.
    many_channels: what to do with more than two channels, see `ManyChannels`. overwrite: replace existing files.
    resume: skip a recording whose files exist, were made with the same settings, and are unchanged.
    """

    stems: tuple[str, ...] = ()
    format: str = "wav"
    bits: str | None = None
    template: str = TEMPLATE
    clipping: Clipping = "error"
    many_channels: ManyChannels = "error"
    overwrite: bool = False
    resume: bool = False

    def __post_init__(self) -> None:
        Encoding(self.format, self.bits)
        check_template(self.template)
        check_clipping(self.clipping)
        check_many_channels(self.many_channels)

    @property
    def encoding(self) -> Encoding:
        return Encoding(self.format, self.bits)


@dataclass(frozen=True)
class SeparatedFile:
    """A recording whose stems are written.

    files: stem -> its file. samples: of every file. groups: which channels were separated together.
    compute_seconds: the time it took, 0 if it was skipped.
    gain: on all stems, 1 except with clipping "scale". clipped: stem -> number of samples cut at ±1.
    skipped: `resume` found it done.
    """

    source: Path
    files: Mapping[str, Path]
    sample_rate: int
    channels: int
    groups: Groups
    samples: int
    gain: float
    clipped: Mapping[str, int]
    compute_seconds: float
    skipped: bool

    @property
    def seconds(self) -> float:
        """Seconds of audio."""
        return self.samples / self.sample_rate


def separate_file(
    source: str | Path,
    output_dir: str | Path,
    *,
    model: StreamingModel | None = None,
    options: FileOptions | None = None,
    progress: Progress | None = None,
) -> SeparatedFile:
    """Separate one recording of any length in bounded memory.

    source: any file that libsndfile reads, or ffmpeg if it is installed; 8 to 192 kHz.
    output_dir: created if necessary. model: by default the configured preset's, loaded for this call; for several
        files, make one and pass it every time. progress: called with (work done, work in all).
    The stems have the recording's rate, channels and length. Files appear under their names once all are finished.
    Raises FileSeparationError (UnreadableAudio, OutputExists, WouldClip, OutputFailed), ValueError for wrong options,
    OSError if the source cannot be opened, and whatever the model raises.
    """
    recording = Recording(Path(source))
    options = options or FileOptions()
    if model is None:
        preset = configured_preset()
        needed = needed_stems(parse_stems(options.stems, load_preset(preset).instruments))
        model = open_model(ModelChoice(preset, stems=needed))
    return separate_recording(recording, Path(output_dir), model, identity(model), options, progress)


def open_model(choice: ModelChoice) -> StreamingModel:
    """Load the chosen model. Raises PresetError, WeightsError, ValueError or RuntimeError with the reason."""
    return SeparationModel(
        preset=choice.preset,
        weights_dir=choice.weights_dir,
        device=choice.device,
        precision=choice.precision,
        fast=choice.fast,
        stems=choice.stems or None,
        memory_budget=choice.memory_budget,
    )


def identity(model: StreamingModel) -> dict[str, Any]:
    """Everything that determines a model's estimates. It hashes the weights, so call it once per model.

    The precision is the one that was asked for: what "auto" finds by trial may differ from one start to the next, and
    agrees so closely that a finished file need not be made again.
    """
    provenance = model.provenance()
    return {key: provenance[key] for key in ("preset", "weights", "precision_asked", "economies")}


def separate_recording(
    recording: Recording,
    output_dir: Path,
    model: StreamingModel,
    model_identity: Mapping[str, Any],
    options: FileOptions,
    progress: Progress | None = None,
    token: str | None = None,
) -> SeparatedFile:
    """`separate_file` for one of many. token: part of the temporary names, so that the caller can find them."""
    began = time.monotonic()
    sums = parse_stems(options.stems, model.instruments)
    files = targets(recording, sums, output_dir, options.template, options.encoding.format)
    info = probe(recording.source, options.many_channels)
    settings = _settings(model_identity, sums, options, info)
    if options.resume and (entry := _find_done(output_dir, recording, settings, options, files)):
        return SeparatedFile(
            recording.source, files, **entry.summary, groups=info.groups, compute_seconds=0.0, skipped=True
        )
    check_free_names(files, options)
    options.encoding.check_form(info.sample_rate, info.channels)
    with contextlib.ExitStack() as stack:
        stack.enter_context(_spooling())
        for folder in (output_dir, *(path.parent for path in files.values())):
            stack.enter_context(made_folder(folder))
        mixture = stack.enter_context(SpooledSignal(info.channels, output_dir))
        sounding = read_into(recording.source, info, mixture)
        _check_space(files, output_dir, options, info, mixture.samples)
        estimates = _estimates(model, mixture, info, sounding, output_dir, progress)
        blocks: Iterator[Stems] = (
            derive(sums, stems, mixture.read(start, _length(stems))) for start, stems in estimates
        )
        levels = Levels()
        if not options.encoding.holds_any_level:
            blocks = limited(blocks, options.clipping, info.sample_rate, output_dir, levels)
        _write(blocks, files, options, info, mixture.samples, token or str(os.getpid()))
        summary: dict[str, Any] = {
            "sample_rate": info.sample_rate,
            "channels": info.channels,
            "samples": mixture.samples,
            "gain": levels.gain,
            "clipped": {stem: count for stem, count in levels.clipped.items() if count},
        }
    changed = levels.gain != 1 or bool(summary["clipped"])
    settings = _with_levels(settings, options.clipping if changed else None)
    write_entry(output_dir, recording.source, settings, files, summary)
    seconds = time.monotonic() - began
    return SeparatedFile(
        recording.source, files, **summary, groups=info.groups, compute_seconds=seconds, skipped=False
    )


def _settings(
    model_identity: Mapping[str, Any], sums: Sums, options: FileOptions, info: AudioInfo
) -> dict[str, Any]:
    """Everything that determines a recording's files, except levels; choices without effect are left out."""
    return {
        "model": dict(model_identity),
        "stems": dict(sums),
        "format": options.format,
        "bits": options.encoding.sample_format,
        "channels": [list(group) for group in info.groups],
        "downmixed": info.downmixed,
    }


def _with_levels(settings: Mapping[str, Any], changed_by: Clipping | None) -> dict[str, Any]:
    return {**settings, "levels_changed_by": changed_by}


def _find_done(
    output_dir: Path,
    recording: Recording,
    settings: Mapping[str, Any],
    options: FileOptions,
    files: Mapping[str, Path],
) -> Entry | None:
    """The entry of this recording, done either without changing levels or with the change now asked for."""
    for changed_by in (None, options.clipping):
        if entry := find_done(output_dir, recording.source, _with_levels(settings, changed_by), files):
            return entry
    return None


def _write(
    blocks: Iterable[Stems],
    files: Mapping[str, Path],
    options: FileOptions,
    info: AudioInfo,
    samples: int,
    token: str,
) -> None:
    """Write all stems side by side as they come, and give the files their names once all are finished."""
    with contextlib.ExitStack() as stack:
        writers = {}
        for stem, path in files.items():
            writer = AudioWriter(
                path, temporary_path(path, token), options.encoding, info.sample_rate, info.channels, samples,
                info.tags,
            )  # fmt: skip
            writers[stem] = stack.enter_context(writer)
        for stems in blocks:
            for stem, signal in stems.items():
                writers[stem].write(signal)
        for writer in writers.values():
            writer.finish()
        for writer in writers.values():
            writer.publish(overwrite=options.overwrite)


def check_free_names(files: Mapping[str, Path], options: FileOptions) -> None:
    """OutputExists if a file is in the way and may not be replaced."""
    for path in files.values():
        if path.exists() and not options.overwrite:
            why = (
                "this command would make a different file, so --resume does not skip it; "
                "--overwrite replaces it"
            )
            raise OutputExists(f"{path} already exists; {why}" if options.resume else exists_message(path))


def _check_space(
    files: Mapping[str, Path], output_dir: Path, options: FileOptions, info: AudioInfo, samples: int
) -> None:
    """Raise OutputFailed, before anything is computed, if files of a known size do not fit on the disk."""
    if options.format != "wav":
        return
    needed = options.encoding.about_bytes(samples, info.channels) * len(files)
    free = shutil.disk_usage(output_dir).free
    if needed > free:
        raise OutputFailed(
            f"{output_dir}: {len(files)} files need {needed / 1e6:.1f} MB, {free / 1e6:.1f} MB are free on its disk; "
            f"choose another folder, fewer --stems, fewer --bits or --format flac"
        )


def _length(stems: Stems) -> int:
    return int(next(iter(stems.values())).shape[-1])


def _estimates(
    model: StreamingModel,
    mixture: SpooledSignal,
    info: AudioInfo,
    sounding: Tensor,
    folder: Path,
    progress: Progress | None,
) -> Iterator[tuple[int, Stems]]:
    """The estimates of a recording in blocks, at its own rate and channels.

    sounding: which channels are not silent; silent groups are not computed.
    """
    groups = [group for group in info.groups if sounding[list(group)].any()]
    if not groups:
        for start in range(0, mixture.samples, _BLOCK_SAMPLES):
            length = min(_BLOCK_SAMPLES, mixture.samples - start)
            yield start, {stem: torch.zeros(info.channels, length) for stem in model.instruments}
        return
    shares = share_progress(progress, len(groups))
    with contextlib.ExitStack() as stack:
        streams = []
        for group, share in zip(groups, shares, strict=True):
            stream = _group_estimates(model, mixture, info, group, folder, share)
            streams.append(stack.enter_context(contextlib.closing(stream)))
        for blocks in zip(*streams, strict=True):
            start, _ = blocks[0]
            yield start, side_by_side([stems for _, stems in blocks], groups, info.channels)


def _group_estimates(
    model: StreamingModel,
    mixture: SpooledSignal,
    info: AudioInfo,
    group: Sequence[int],
    folder: Path,
    progress: Progress | None,
) -> Generator[tuple[int, Stems]]:
    """The estimates of one or two of a recording's channels."""

    def read(start: int, length: int) -> Tensor:
        return mixture.read(start, length)[list(group)]

    with contextlib.ExitStack() as stack:
        model_read, model_samples = _at_model_rate(read, mixture.samples, info.sample_rate, folder, stack)
        yield from at_mixture_rate(
            model.stream(model_read, model_samples, progress),
            read,
            model_read,
            len(group),
            mixture.samples,
            info.sample_rate,
            sharing=model.sharing_stems,
        )


@contextlib.contextmanager
def _spooling() -> Iterator[None]:
    """Raise OutputFailed if temporary data cannot be written."""
    try:
        yield
    except SpoolFailed as error:
        raise OutputFailed(str(error)) from error


def _at_model_rate(
    read: Reader, samples: int, sample_rate: int, folder: Path, stack: contextlib.ExitStack
) -> tuple[Reader, int]:
    """One or two channels as the models take them, and their length; on disk if the rate differs."""
    if sample_rate == MODEL_SAMPLE_RATE:
        return lambda start, length: to_stereo(read(start, length)), samples
    spool = stack.enter_context(SpooledSignal(2, folder))
    resampler = StreamResampler(2, sample_rate, MODEL_SAMPLE_RATE, samples)
    for start in range(0, samples, _READ_SAMPLES):
        spool.append(resampler.push(to_stereo(read(start, min(_READ_SAMPLES, samples - start)))))
    assert spool.samples == resampled_length(samples, sample_rate, MODEL_SAMPLE_RATE)
    return spool.read, spool.samples
