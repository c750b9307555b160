"""`python -m my_submission separate …`: parses and prints; the package does the work."""

import argparse
import contextlib
import math
import signal
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from tqdm import tqdm

from my_submission.ensemble.preset import Preset, PresetError, checkpoint_rows
from my_submission.ensemble.preset_reader import load_preset
from my_submission.files.bars import Bars, duration_text
from my_submission.files.channels import groups_text
from my_submission.files.decode import AudioInfo, probe
from my_submission.files.default_preset import EMBEDDED, START, configured_preset
from my_submission.files.encode import BITS, made_folder
from my_submission.files.errors import FileSeparationError
from my_submission.files.inputs import TEMPLATE, Recording, check_collisions, find_recordings, targets
from my_submission.files.levels import Clipping
from my_submission.files.separate import (
    FileOptions,
    ModelChoice,
    SeparatedFile,
    check_free_names,
    open_model,
)
from my_submission.files.stems import needed_stems, parse_stems
from my_submission.files.workers import (
    Event,
    Failed,
    Finished,
    Logged,
    ModelFailed,
    Progressed,
    RunSettings,
    Started,
    separate_all,
)
from my_submission.locations import command
from my_submission.runtime.devices import PRECISIONS
from my_submission.signal.audio import MODEL_SAMPLE_RATE
from my_submission.weights import WeightsError
from my_submission.weights.manifest import DEMO_MANIFEST

INTERRUPTED = 130
MEASURED_FROM_SECONDS = 120.0
"""From this much audio on, a few chunks of every network are run first, to find out how long all of it will take."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Make `parser` that of `separate`."""
    parser.set_defaults(run=_run)
    parser.add_argument(
        "inputs",
        nargs="+",
        metavar="INPUT",
        help="files, folders (for all audio and video in them) and patterns",
    )
    parser.add_argument(
        "-o", "--output", type=Path, default=Path("stems"), metavar="DIR", help="default: stems"
    )

    model = parser.add_argument_group("what separates")
    model.add_argument(
        "--preset",
        metavar="NAME",
        help="a preset or its YAML file; default: the configured one, or `start` where that is the demo's and"
        " `weights fetch start` has been run",
    )
    model.add_argument("--device", default="auto", help="auto (the default), cpu, cuda or cuda:N")
    model.add_argument("--precision", default="auto", choices=["auto", *PRECISIONS])
    model.add_argument(
        "--fast", action="store_true", help="take all the preset's economies: faster, and slightly worse"
    )
    model.add_argument("--weights-dir", type=Path, metavar="DIR", help="a folder to search for weights first")

    output = parser.add_argument_group("what is written")
    output.add_argument(
        "--stems",
        type=lambda text: tuple(text.split(",")),
        default=(),
        metavar="A,B,…",
        help="the preset's stems, 'instrumental' (the mixture without the voice), or sums such as drums+bass or "
        "backing=mixture-vocals; default: the preset's stems",
    )
    output.add_argument("--format", choices=list(BITS), default="wav", help="default: wav")
    output.add_argument(
        "--bits",
        choices=["16", "24", "32f"],
        help="32f holds the exact estimates; default: 32f for wav, 24 for flac",
    )
    output.add_argument(
        "--template",
        default=TEMPLATE,
        help=f"the path of each file; default: {TEMPLATE}; {{name}} and {{folder}} can be used, too",
    )
    levels = output.add_mutually_exclusive_group()
    levels.add_argument(
        "--clip", action="store_true", help="clip samples beyond full scale, rather than stop"
    )
    levels.add_argument(
        "--scale",
        action="store_true",
        help="scale all stems of a recording by one gain, so that none is clipped",
    )
    many = output.add_mutually_exclusive_group()
    many.add_argument(
        "--pairs",
        dest="many_channels",
        action="store_const",
        const="pairs",
        default="error",
        help="if there are more than two channels, separate left and right in pairs, and the rest as mono",
    )
    many.add_argument(
        "--downmix",
        dest="many_channels",
        action="store_const",
        const="downmix",
        help="fold more than two channels down to two (needs ffmpeg)",
    )
    output.add_argument("--overwrite", action="store_true", help="replace existing files")

    run = parser.add_argument_group("how it runs")
    run.add_argument("--resume", action="store_true", help="skip recordings that are done and unchanged")
    run.add_argument(
        "--dry-run",
        action="store_true",
        help="write nothing; print what would be done and, after a trial, how long it would take on this machine",
    )
    run.add_argument(
        "--jobs",
        type=_positive,
        default=1,
        metavar="N",
        help="how many recordings to separate at once; default: 1",
    )
    run.add_argument(
        "--memory-budget",
        type=_gibibytes,
        metavar="GIB",
        help="memory on the device for all jobs together; less memory takes more time; default: most of what is "
        "free, on a GPU at most 8",
    )


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a whole number, 1 or more, found {text!r}")
    return int(text)


def _gibibytes(text: str) -> int:
    """Bytes."""
    try:
        size = float(text)
    except ValueError:
        size = 0.0
    if not 0 < size < math.inf:
        raise argparse.ArgumentTypeError(f"expected a number of GiB, for example 4, found {text!r}")
    return int(size * 2**30)


@dataclass(frozen=True)
class _Worklist:
    """What a run is about to do. infos: the recordings that can be opened, and what they hold."""

    settings: RunSettings
    infos: dict[Recording, AudioInfo]
    failures: list[tuple[str, str]]

    @property
    def seconds(self) -> dict[Recording, float]:
        """How much there is to separate in each recording, as far as known: its length times its groups."""
        return {recording: (info.seconds or 0.0) * len(info.groups) for recording, info in self.infos.items()}


def _run(options: argparse.Namespace) -> int:
    """0: all done; 1: something failed; 2: impossible options; 130: interrupted."""
    try:
        worklist = _prepare(options)
    except (PresetError, WeightsError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for name in (signal.SIGTERM, getattr(signal, "SIGHUP", signal.SIGTERM)):  # Windows has no SIGHUP
        signal.signal(name, lambda number, _: sys.exit(128 + number))
    try:
        return _dry_run(worklist) if options.dry_run else _separate(worklist, options.jobs)
    except (ModelFailed, FileSeparationError, WeightsError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; finished files are kept, and --resume continues from here", file=sys.stderr)
        return INTERRUPTED


def _prepare(options: argparse.Namespace) -> _Worklist:
    """Find out all that is possible before a model is loaded; print which preset separates.

    Raises PresetError, WeightsError for a wrong manifest, and ValueError for impossible options.
    """
    choice = ModelChoice(
        options.preset or configured_preset(options.weights_dir),
        options.device,
        options.precision,
        options.weights_dir,
        options.fast,
        memory_budget=None if options.memory_budget is None else options.memory_budget // options.jobs,
    )
    preset = load_preset(choice.preset)
    clipping: Clipping = "clip" if options.clip else "scale" if options.scale else "error"
    output = FileOptions(
        options.stems, options.format, options.bits, options.template, clipping,
        options.many_channels, options.overwrite, options.resume,
    )  # fmt: skip
    sums = parse_stems(output.stems, preset.instruments)
    print(_introduction(preset))
    found = find_recordings(options.inputs, options.output)
    if found.left_out:
        print(
            f"{found.left_out} other files in the folders are left out: their names are not those of audio or video"
        )
    choice = replace(choice, stems=needed_stems(sums))
    settings = RunSettings(choice, output, tuple(sums), options.output)
    files = {recording: _targets(recording, settings) for recording in found.recordings}
    check_collisions(list(files.items()))
    infos: dict[Recording, AudioInfo] = {}
    failures = list(found.missing)
    for recording, paths in files.items():
        try:
            if not output.resume:
                check_free_names(paths, output)
            info = probe(recording.source, output.many_channels)
            output.encoding.check_form(info.sample_rate, info.channels)
            infos[recording] = info
        except (FileSeparationError, OSError) as error:
            failures.append((str(recording.source), str(error)))
    return _Worklist(settings, infos, failures)


def _introduction(preset: Preset) -> str:
    if all(row.manifest == DEMO_MANIFEST.resolve() for row in checkpoint_rows(preset)):
        better = command("weights list")
        if preset.name == EMBEDDED:
            better = f"{command(f'weights fetch {START}')} (vocals), {better}"
        return (
            f"separating with preset {preset.name}: demo models, which only show how it works; for better ones, see: "
            f"{better}"
        )
    return f"separating with preset {preset.name}{f': {preset.description}' if preset.description else ''}"


def _targets(recording: Recording, settings: RunSettings) -> dict[str, Path]:
    options = settings.options
    return targets(recording, settings.stems, settings.output_dir, options.template, options.encoding.format)


def _separate(worklist: _Worklist, processes: int) -> int:
    """Separate, print what was done, and return the exit code."""
    began = time.monotonic()
    outcomes = _Outcomes(worklist.failures)
    if worklist.infos:
        with made_folder(worklist.settings.output_dir), Bars(worklist.seconds) as bars:
            measure = sum(worklist.seconds.values()) >= MEASURED_FROM_SECONDS
            events = separate_all(worklist.infos, replace(worklist.settings, measure=measure), processes)
            with contextlib.closing(events):
                for event in events:
                    outcomes.take(event, bars)
    return outcomes.report(time.monotonic() - began)


def _dry_run(worklist: _Worklist) -> int:
    """Print what would be done and how long it would take; return the exit code that is already certain."""
    for recording, info in worklist.infos.items():
        length = "length unknown" if info.seconds is None else duration_text(info.seconds)
        print(f"{recording.source} ({length}, {info.sample_rate} Hz, {_channels_text(info)}, {info.decoder})")
        for path in _targets(recording, worklist.settings).values():
            print(f"  -> {path}")
    for name, reason in worklist.failures:
        print(f"would fail: {reason if reason.startswith(name) else f'{name}: {reason}'}", file=sys.stderr)
    if worklist.infos:
        try:
            model = open_model(worklist.settings.model)
        except (RuntimeError, ValueError) as error:
            raise ModelFailed(str(error)) from error
        model.measure()
        lengths = [max(1, round(seconds * MODEL_SAMPLE_RATE)) for seconds in worklist.seconds.values()]
        total = sum(map(model.work, lengths))
        audio = sum(info.seconds or 0.0 for info in worklist.infos.values())
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


class _Outcomes:
    """What has become of a run's recordings so far."""

    def __init__(self, failures: Iterable[tuple[str, str]]) -> None:
        self._failures = list(failures)
        self._separated = 0
        self._skipped = 0

    def take(self, event: Event, bars: Bars) -> None:
        """Show and count what a child tells."""
        match event:
            case Started(recording):
                bars.start(recording)
            case Progressed(recording, fraction):
                bars.advance(recording, fraction)
            case Finished(recording, result):
                bars.finish(recording, counts=not result.skipped)
                self._separated += not result.skipped
                self._skipped += result.skipped
                tqdm.write(_done_text(result))
            case Failed(recording, reason):
                bars.finish(recording, counts=False)
                self._failures.append((str(recording.source), reason))
                tqdm.write(f"{recording.source}: failed")
            case Logged(message):
                tqdm.write(f"warning: {message}", file=sys.stderr)

    def report(self, seconds: float) -> int:
        """Print the counts and every failure with its reason; return the exit code."""
        counts = [f"{self._separated} separated"]
        if self._skipped:
            counts.append(f"{self._skipped} already done")
        if self._failures:
            counts.append(f"{len(self._failures)} failed")
        print(f"{', '.join(counts)}, in {duration_text(seconds)}")
        for name, reason in self._failures:
            print(f"failed: {reason if reason.startswith(name) else f'{name}: {reason}'}", file=sys.stderr)
        return 1 if self._failures else 0


def _done_text(result: SeparatedFile) -> str:
    folders = sorted({str(path.parent) for path in result.files.values()})
    names = ", ".join(path.name for path in result.files.values())
    text = f"{result.source} ({duration_text(result.seconds)}) -> {', '.join(folders)}: {names}"
    if result.skipped:
        return f"{text}; already done"
    if result.channels > 2:
        text += f"; channels {groups_text(result.groups)}"
    text += f"; took {duration_text(result.compute_seconds)}"
    if result.gain != 1:
        text += f"; all stems scaled by {result.gain:.4f} ({20 * math.log10(result.gain):.2f} dB)"
    if result.clipped:
        cut = ", ".join(f"{stem} {count}" for stem, count in result.clipped.items())
        text += f"; samples clipped at full scale: {cut}"
    return text
