"""`python -m my_submission separate …`: parses and prints; the package does the work."""

import argparse
import contextlib
import signal
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from my_submission.commands.preset_list import preset_list
from my_submission.commands.separate_options import asked
from my_submission.commands.separate_outcomes import Outcomes, failure_text
from my_submission.commands.separate_page import PageWanted, show_page
from my_submission.ensemble.preset import Preset, PresetError, checkpoint_rows
from my_submission.files.bars import Bars, duration_text
from my_submission.files.channels import groups_text
from my_submission.files.decode import AudioInfo, probe
from my_submission.files.default_preset import EMBEDDED, START
from my_submission.files.errors import FileSeparationError
from my_submission.files.excerpt import Excerpt
from my_submission.files.inputs import (
    Recording,
    collisions,
    find_recordings,
    told_apart,
)
from my_submission.files.levels import Clipping
from my_submission.files.lock import sole_run
from my_submission.files.model import choose, open_model
from my_submission.files.options import FileOptions
from my_submission.files.over_engine import separate_over
from my_submission.files.page import check_page
from my_submission.files.placing import made_folder
from my_submission.files.separate import check_free_names
from my_submission.files.workers import (
    ModelFailed,
    RunSettings,
    separate_all,
)
from my_submission.locations import command
from my_submission.signal.audio import MODEL_SAMPLE_RATE
from my_submission.weights import WeightsError
from my_submission.weights.manifest import DEMO_MANIFEST
from sdx.engines.address import Address, AddressError
from sdx.engines.engine import EngineError
from sdx.engines.options import given_engine
from sdx.terminal import INTERRUPTED, lines, one_line

MEASURED_FROM_SECONDS = 120.0
"""From this much audio on, a few chunks of every network are run first, to find out how long all of it will take."""


@dataclass(frozen=True)
class _Worklist:
    """What a run is about to do.

    page: whether to write one, and to open it. infos: the recordings that can be opened, and what they hold.
    engine: whose workers do it, if not children of this process.
    """

    settings: RunSettings
    page: PageWanted
    infos: dict[Recording, AudioInfo]
    failures: list[tuple[str, str]]
    engine: Address | None = None

    @property
    def seconds(self) -> dict[Recording, float]:
        """How much there is to separate in each recording, as far as known: its length times its groups."""
        return {
            recording: (self.length(info) or 0.0) * len(info.groups) for recording, info in self.infos.items()
        }

    def length(self, info: AudioInfo) -> float | None:
        """How many seconds of it are separated, as far as known."""
        return self.settings.options.excerpt.about_seconds(info.seconds)


def run(options: argparse.Namespace) -> int:
    """0: all done; 1: something failed; 2: impossible options, or no engine to do it; 130: interrupted."""
    try:
        if options.list:
            print("\n".join(preset_list(options.weights_dir)))
            return 0
        worklist = _prepare(options)
    except (PresetError, WeightsError, FileSeparationError) as error:
        print(one_line(f"error: {error}"), file=sys.stderr)
        return 1
    except (ValueError, AddressError) as error:
        print(one_line(f"error: {error}"), file=sys.stderr)
        return 2
    for name in (signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):  # Windows has no SIGHUP
        signal.signal(name, lambda number, _: sys.exit(128 + number))
    try:
        return _dry_run(worklist) if options.dry_run else _separate(worklist, options.jobs)
    except (ModelFailed, WeightsError) as error:  # a list of what is missing, and what fetches it
        print(lines(f"error: {error}"), file=sys.stderr)
        return 1
    except FileSeparationError as error:
        print(one_line(f"error: {error}"), file=sys.stderr)
        return 1
    except EngineError as error:
        print(one_line(f"error: {error}"), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; finished files are kept, and --resume continues from here", file=sys.stderr)
        return INTERRUPTED


def _prepare(options: argparse.Namespace) -> _Worklist:
    """Find out all that is possible before a model is loaded; print which preset separates.

    Raises PresetError, WeightsError for a wrong manifest, and ValueError for impossible options.
    """
    engine = given_engine(options)
    if engine is not None and options.jobs > 1:
        raise ValueError("--jobs is for this machine alone; with --engine the workers do a recording each")
    chosen = choose(asked(options))
    clipping: Clipping = "clip" if options.clip else "scale" if options.scale else "error"
    output = FileOptions(
        chosen.stems, options.format, options.bits, options.template, clipping,
        options.many_channels, options.stream, options.overwrite, options.resume,
        options.bitrate, _excerpt(options),
    )  # fmt: skip
    print(_introduction(chosen.preset))
    inputs = [*options.inputs, *options.more_inputs]
    if not inputs:
        raise ValueError(
            "expected files, folders or patterns to separate, found none; --help shows all options"
        )
    found = find_recordings(inputs, options.output)
    if found.left_out:
        print(
            f"not separated, since their names are not those of audio or video: {found.left_out} files in the folders"
        )
    settings = RunSettings(chosen.model, output, tuple(chosen.sums), options.output)
    page = PageWanted(options.page or options.open, options.open)
    if page.is_wanted:
        check_page(options.output, overwrite=options.overwrite)
    recordings = told_apart(found.recordings, lambda each: next(iter(_targets(each, settings).values())))
    infos, failures = _examined({each: _targets(each, settings) for each in recordings}, output)
    return _Worklist(settings, page, infos, [*found.missing, *failures], engine)


def _examined(
    files: Mapping[Recording, Mapping[str, Path]], output: FileOptions
) -> tuple[dict[Recording, AudioInfo], list[tuple[str, str]]]:
    """What can be separated into its files, and what cannot, with the reason."""
    in_the_way = collisions(files)
    infos: dict[Recording, AudioInfo] = {}
    failures: list[tuple[str, str]] = []
    for recording, paths in files.items():
        try:
            if reason := in_the_way.get(recording):
                raise FileSeparationError(reason)
            if not output.resume:
                check_free_names(paths, output)
            info = probe(recording.source, output.many_channels, output.stream)
            output.encoding.check_form(info.sample_rate, info.channels)
            infos[recording] = info
        except FileSeparationError as error:
            failures.append((str(recording.source), str(error)))
        except OSError as error:
            failures.append((str(recording.source), error.strerror or str(error)))
    return infos, failures


def _excerpt(options: argparse.Namespace) -> Excerpt:
    """Raises ValueError for two that exclude each other."""
    if options.preview is None:
        return Excerpt(options.start or 0.0, options.duration)
    if options.start is not None or options.duration is not None:
        raise ValueError(
            "--preview finds its own stretch; expected it alone, found --start or --duration, too"
        )
    return Excerpt(seconds=options.preview, loudest=True)


def _introduction(preset: Preset) -> str:
    if all(row.manifest == DEMO_MANIFEST.resolve() for row in checkpoint_rows(preset)):
        better = f"for better models, see `{command('separate --list')}`"
        if preset.name == EMBEDDED:
            better = f"for better vocals, run `{command(f'weights fetch {START}')}`; {better}"
        return f"separating with preset {preset.name}: demo models, which only show how it works; {better}"
    return f"separating with preset {preset.name}{f': {preset.description}' if preset.description else ''}"


def _targets(recording: Recording, settings: RunSettings) -> dict[str, Path]:
    return settings.options.targets(recording, settings.stems, settings.output_dir)


def _separate(worklist: _Worklist, processes: int) -> int:
    """Separate, print what was done, and return the exit code."""
    began = time.monotonic()
    outcomes = Outcomes(worklist.failures)
    if worklist.infos:
        output_dir = worklist.settings.output_dir
        with made_folder(output_dir), sole_run(output_dir), Bars(worklist.seconds) as bars:
            measure = sum(worklist.seconds.values()) >= MEASURED_FROM_SECONDS
            settings = replace(worklist.settings, measure=measure)
            if worklist.engine is not None:
                separate_over(
                    worklist.engine,
                    worklist.seconds,
                    settings,
                    lambda event: outcomes.take(event, bars),
                    outcomes.tell,
                    bars.note,
                )
            else:
                with contextlib.closing(separate_all(worklist.infos, settings, processes)) as events:
                    for event in events:
                        outcomes.take(event, bars)
    code = outcomes.report(time.monotonic() - began)
    if outcomes.results and worklist.page.is_wanted:
        show_page(worklist.settings.output_dir, outcomes.results, worklist.page)
    return code


def _dry_run(worklist: _Worklist) -> int:
    """Print what would be done and how long it would take; return the exit code that is already certain."""
    for recording, info in worklist.infos.items():
        seconds = worklist.length(info)
        length = "length unknown" if seconds is None else duration_text(seconds)
        sound = info.sound
        about = f"{length}, {info.sample_rate} Hz, {_channels_text(info)}, {sound.codec}"
        print(one_line(f"{recording.source} ({about})" + (f"; {sound.chosen}" if sound.chosen else "")))
        for path in _targets(recording, worklist.settings).values():
            print(one_line(f"  -> {path}"))
    for name, reason in worklist.failures:
        print(failure_text("would fail", name, reason), file=sys.stderr)
    if worklist.infos:
        try:
            model = open_model(worklist.settings.model)
        except (RuntimeError, ValueError) as error:
            raise ModelFailed(str(error)) from error
        model.measure()
        lengths = [max(1, round(seconds * MODEL_SAMPLE_RATE)) for seconds in worklist.seconds.values()]
        total = sum(map(model.work, lengths))
        audio = sum(worklist.length(info) or 0.0 for info in worklist.infos.values())
        print(
            f"{len(worklist.infos)} to separate, {duration_text(audio)} of audio: about {duration_text(total)} "
            f"on this machine, one after the other, judging by a trial of the models"
        )
    return 1 if worklist.failures else 0


def _channels_text(info: AudioInfo) -> str:
    if info.channels > 2:
        return f"{info.channels} channels: {groups_text(info.groups)}"
    kind = "mono" if info.channels == 1 else "stereo"
    return f"folded down to {kind}" if info.downmixed else kind
