"""One recording into one file per stem: decode, separate block by block, write."""

import contextlib
import logging
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from my_submission.ensemble.engine import Progress
from my_submission.ensemble.preset_reader import load_preset
from my_submission.files.decode import AudioInfo, probe, read_into
from my_submission.files.default_preset import configured_preset
from my_submission.files.encode import AudioWriter
from my_submission.files.errors import OutputExists, OutputFailed
from my_submission.files.estimates import estimates
from my_submission.files.inputs import Recording
from my_submission.files.journal import Entry, find_done, write_entry
from my_submission.files.levels import Clipping, Levels, limited
from my_submission.files.model import ModelChoice, StreamingModel, identity, open_model
from my_submission.files.options import FileOptions, SeparatedFile
from my_submission.files.placing import exists_message, made_folder, temporary_path
from my_submission.files.stems import Sums, derive, needed_stems, parse_stems
from my_submission.files.tags import read_tags
from my_submission.signal.arrays import SpooledSignal, SpoolFailed
from my_submission.signal.audio import Stems

log = logging.getLogger(__name__)

_FEW, _FEW_LETTERS = 10, 80


def separate_file(
    source: str | Path,
    output_dir: str | Path,
    *,
    model: StreamingModel | None = None,
    options: FileOptions | None = None,
    progress: Progress | None = None,
) -> SeparatedFile:
    """Separate one recording of any length in bounded memory.

    source: any file that ffmpeg's libraries decode, which come with the kit; 8 to 192 kHz.
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


def separate_recording(
    recording: Recording,
    output_dir: Path,
    model: StreamingModel,
    model_identity: Mapping[str, Any],
    options: FileOptions,
    progress: Progress | None = None,
    token: str | None = None,
    host: str = "",
) -> SeparatedFile:
    """`separate_file` for one of many.

    token: part of the temporary names, so that the caller can find them. host: see `write_entry`.
    """
    began = time.monotonic()
    sums = parse_stems(options.stems, model.instruments)
    files = options.targets(recording, sums, output_dir)
    info = probe(recording.source, options.many_channels, options.stream)
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
        first, count = options.excerpt.samples(info)
        sounding, facts = read_into(info, mixture, first, count)
        if not mixture.samples:
            raise options.excerpt.beyond_end(info)
        _check_space(files, output_dir, options, info, mixture.samples)
        blocks_of_estimates = estimates(model, mixture, info, sounding, output_dir, progress)
        blocks: Iterator[Stems] = (
            derive(sums, stems, mixture.read(start, _length(stems))) for start, stems in blocks_of_estimates
        )
        levels = Levels()
        if not options.encoding.holds_any_level:
            blocks = limited(blocks, options.clipping, info.sample_rate, output_dir, levels)
        _write(blocks, files, options, info, mixture.samples, token or str(os.getpid()))
        summary: dict[str, Any] = {
            "sample_rate": info.sample_rate,
            "channels": info.channels,
            "samples": mixture.samples,
            **({"start_samples": first} if first else {}),
            "gain": levels.gain,
            "clipped": {stem: count for stem, count in levels.clipped.items() if count},
        }
    settings = _with_levels(settings, options.clipping if levels.gain != 1 or summary["clipped"] else None)
    write_entry(output_dir, recording.source, settings, files, summary, host)
    return SeparatedFile(
        recording.source, files, **summary, groups=info.groups, compute_seconds=time.monotonic() - began,
        skipped=False, notes=(*filter(None, [info.sound.chosen]), *facts),
    )  # fmt: skip


_SUMMARY = {"sample_rate", "channels", "samples", "gain", "clipped"}


def _settings(
    model_identity: Mapping[str, Any], sums: Sums, options: FileOptions, info: AudioInfo
) -> dict[str, Any]:
    """Everything that determines a recording's files, except levels; choices without effect are left out."""
    return {
        **({"stream": info.sound.stream} if info.sound.chosen else {}),
        "model": dict(model_identity),
        "stems": dict(sums),
        "format": options.format,
        "bits": options.encoding.sample_format,
        **({"bitrate": options.bitrate} if options.bitrate else {}),
        "channels": [list(group) for group in info.groups],
        "downmixed": info.downmixed,
        **options.excerpt.as_settings(),
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
        entry = find_done(output_dir, recording.source, _with_levels(settings, changed_by), files)
        if entry and _SUMMARY <= {*entry.summary, "start_samples"} <= {*_SUMMARY, "start_samples"}:
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
        tags = read_tags(info.sound)
        for stem, path in files.items():
            writer = AudioWriter(
                path, temporary_path(path, token), options.encoding, info.sample_rate, info.channels, samples,
                tags.of_stem(stem),
            )  # fmt: skip
            writers[stem] = stack.enter_context(writer)
        for stems in blocks:
            for stem, signal in stems.items():
                writers[stem].write(signal)
        lost = dict.fromkeys(name for writer in writers.values() for name in writer.finish())
        if lost:
            log.warning("%s: tags that %s cannot hold: %s", info.sound.path, options.format, _few(list(lost)))
        for writer in writers.values():
            writer.publish(overwrite=options.overwrite)


def _few(names: Sequence[str]) -> str:
    """Names for one line, of which there may be thousands."""
    more = f" and {len(names) - _FEW} more" if len(names) > _FEW else ""
    return ", ".join(name[:_FEW_LETTERS] for name in names[:_FEW]) + more


def check_free_names(files: Mapping[str, Path], options: FileOptions) -> None:
    """OutputExists if a file is in the way and may not be replaced."""
    for path in files.values():
        if path.exists() and not options.overwrite:
            why = "this command would make a different file, so --resume does not skip it; --overwrite replaces it"
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


@contextlib.contextmanager
def _spooling() -> Iterator[None]:
    """Raise OutputFailed if temporary data cannot be written."""
    try:
        yield
    except SpoolFailed as error:
        raise OutputFailed(str(error)) from error
