"""Options of the command line -> a Job: which stems, which preset, which data, what to hide, where to put it."""

import logging
import os
import secrets
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from evaluator import printable
from evaluator.challenge import CHALLENGES, Challenge, StemSet, of_name
from evaluator.containers.runner import container_runner, wants_gpu
from evaluator.isolation import view
from evaluator.isolation.sandbox import Isolation, Limits, ProcessRunner, SessionRunner, Workplace
from evaluator.isolation.variables import PRESET_VARIABLE, TIME_FACTOR_VARIABLE
from evaluator.locations import DEMO, RUNS
from evaluator.running import dataset, predictions, submission
from evaluator.running.dataset import Contents, Dataset, OtherStemsError, Track
from evaluator.running.job import Job
from evaluator.running.predictions import Survey
from evaluator.running.weights_in_sight import weights_folders, weights_variables
from evaluator.runs import records, results
from evaluator.runs.documents import ResultError
from evaluator.runs.records import DataInfo, Plan
from evaluator.runs.run_folder import RESULT_FILE

DEMO_PATIENCE = 20.0
"""The demo shows that everything works: on a slow or busy machine its tracks are late, but scored."""
RUNNERS = ("process", "docker")
SHOWN_LINKS = 3  # of those that lead out of a submission
OF_A_PRESET = (".yaml", ".yml", ".th", ".pt", ".pth", ".ckpt", ".chpt", ".onnx", ".safetensors")
WITHOUT_VARIABLE = "SDX_SANDBOX_WITHOUT"  # facilities of the sandbox not to use, separated by commas

UNLIMITED = Limits(time_factor=None, setup_seconds=None, cpus=None, memory_bytes=None, scratch_bytes=None)

log = logging.getLogger(__name__)


class UsageError(Exception):
    """The options contradict each other or leave something open; the message says which to give."""


@dataclass(frozen=True)
class Options:
    """What the user asked for."""

    submission: Path
    data: Path | None = None
    preset: str | None = None  # a name, or a file
    challenge: str | None = None  # its name, or that of any other stems (`challenge.of_name`)
    only: str | None = None
    limits: Limits = field(default_factory=Limits)
    runner: str = "process"
    out: Path | None = None
    metrics: tuple[str, ...] = ("sdr",)
    resume: bool = False
    jobs: int = 1  # tracks at a time
    fit: bool = False  # tell the submission the time factor, so that it plans to fit
    keep_estimates: bool = False  # where there is no `out`; with it they are kept anyway
    readable: tuple[Path, ...] = ()  # what the submission may read besides its own folder
    require_isolation: bool = False  # run nothing where a promise of SECURITY.md cannot be kept
    predictions: Path | None = None  # a folder of estimates to score, in place of those of a submission


Accept = Callable[[Isolation], object]
"""Is told what is in force before anything of the submission runs, each time that it is started; may raise."""


def prepare(
    options: Options,
    checked: Callable[[Track, int], None] = lambda track, total: None,
    accept: Accept = lambda isolation: None,
) -> Job:
    """Settle what the options leave open and check the data; the submission is not constructed.

    `checked` is called with each track whose files were read, and the number of tracks.
    Raises UsageError, SubmissionError, PredictionsError or DataError; EngineError if a container is requested and
    there is no engine; SandboxError if no process can be started.
    """
    if options.predictions is not None:
        return _prepare_given(options, options.predictions, checked)
    path = submission.check_folder(options.submission)
    data, preset = _data_and_preset(options, path, accept)
    time_factor = _told_time_factor(options, path)
    digest = dataset.content_hash(data.tracks, lambda track: checked(track, len(data.tracks)))
    plan = Plan(
        challenge=data.challenge.name,
        submission=submission.identify(path, preset, time_factor),
        data=DataInfo(str(data.path.resolve()), len(data.tracks), digest, options.only),
        limits=options.limits,
        metrics=options.metrics,
        runner=options.runner,
        jobs=options.jobs,
    )
    out = _out_folder(options, plan).resolve()
    return Job(
        plan=plan,
        dataset=data,
        out=out,
        keep_estimates=options.keep_estimates or options.out is not None,
        make_runner=_runner(
            options,
            path,
            _environment(preset, time_factor),
            [out, *hidden_paths(data)],
            data.challenge,
            accept,
        ),
        patience=DEMO_PATIENCE if options.data is None else 1.0,
    )


def _prepare_given(options: Options, folder: Path, checked: Callable[[Track, int], None]) -> Job:
    """The job of scoring estimates that were made elsewhere: which stems, by which files there are."""
    _require_nothing_to_run(options, folder)
    data_folder, holds, found = _look_up(options, folder)
    asked = None if options.challenge is None else of_name(options.challenge)
    wanted = asked or predictions.stems_to_score(found, holds, data_folder)
    try:
        data = dataset.load(data_folder, options.only, wanted)
    except OtherStemsError as error:
        raise UsageError(f"{wanted.option}, but {error}") from None
    given = predictions.check(found, data.tracks, holds, all_stems=asked is None)
    digest = dataset.content_hash(data.tracks, lambda track: checked(track, len(data.tracks)))
    plan = Plan(
        challenge=data.challenge.name,
        submission=None,
        data=DataInfo(str(data.path.resolve()), len(data.tracks), digest, options.only),
        limits=UNLIMITED,
        metrics=options.metrics,
        runner=records.NOTHING_RUNS,
        predictions=given.identity,
    )
    out = _out_folder(options, plan).resolve()
    _require_apart(out / records.ESTIMATES, given.root.resolve())
    keep = options.keep_estimates or options.out is not None
    return Job(plan, data, out, keep, make_runner=None, predictions=given)


def _require_nothing_to_run(options: Options, folder: Path) -> None:
    """UsageError for options of a submission, and for a folder that no result can name."""
    without = Options(options.submission)
    given = {
        "--preset": options.preset is not None,
        "--fit": options.fit,
        "--readable": bool(options.readable),
        "--require-isolation": options.require_isolation,
        "--runner": options.runner != without.runner,
        "--jobs": options.jobs != without.jobs,
    }
    if names := [name for name, is_given in given.items() if is_given]:
        raise UsageError(f"--predictions runs nothing, so {', '.join(names)} cannot be given with it")
    if (wrong := printable.fault(str(folder.resolve()))) is not None:
        raise UsageError(f"{folder}: has the character {wrong}, which no name may have; give it another name")


def _look_up(options: Options, folder: Path) -> tuple[Path, Contents, Survey]:
    """The data, what is in it, and the estimates by name; without --data, the demo's tracks that they are of."""
    demo = [DEMO / name for name in CHALLENGES]
    places = [options.data] if options.data is not None else demo
    looked = [(place, holds, predictions.survey(folder, holds)) for place in places
              for holds in [dataset.contents(place)]]  # fmt: skip
    return max(looked, key=lambda each: len(each[2].files))


def _require_apart(kept: Path, given: Path) -> None:
    """UsageError where copies would be kept in the place of the files that they are made of."""
    if kept == given or kept in given.parents or given in kept.parents:
        raise UsageError(
            f"--out would keep copies in {kept}, but the estimates are in {given}; name another folder"
        )


def _data_and_preset(options: Options, path: Path, accept: Accept) -> tuple[Dataset, str | None]:
    """The data with the stems to score, and the preset to ask for, if any.

    Which stems: those asked for, else those that the submission makes where the data has them, else those of the
    challenge that the data is laid out for, for which the submission is then asked for the default preset.
    """
    preset = _absolute_if_file(options.preset or os.environ.get(PRESET_VARIABLE))
    asked = None if options.challenge is None else of_name(options.challenge)
    said = submission.Configured()
    if submission.reads(path, PRESET_VARIABLE) or (asked is None and options.data is None):
        said = _configured(options, path, _environment(preset), accept)
    if asked is None and options.data is not None:
        data = _data_of_submission(options, options.data, said)
    else:
        wanted = asked or said.stems or submission.challenge_of_manifest(path)
        if wanted is None:
            raise UsageError(
                f"{path} does not say which challenge it is for; give --track {' or --track '.join(CHALLENGES)}, or"
                f" its --stems{f' ({said.problem})' if said.problem else ''}"
            )
        if options.preset is not None and said.stems not in (None, wanted):
            raise UsageError(f"--preset {options.preset} is for {said.stems.words}, not for {wanted.name}")
        try:
            data = dataset.load(options.data or dataset.demo_folder(wanted, DEMO), options.only, wanted)
        except OtherStemsError as error:
            raise UsageError(f"{wanted.option}, but {error}") from None
    if said.stems in (None, data.challenge):
        return data, preset
    if not isinstance(data.challenge, Challenge):
        raise UsageError(f"{path} is for {said.stems.words}; give a --preset for {data.challenge.words}")
    return data, data.challenge.default_preset


def _data_of_submission(options: Options, folder: Path, said: submission.Configured) -> Dataset:
    """The user's data with the stems that the submission makes, or where it has others, with its challenge's."""
    for wanted in dict.fromkeys((said.stems, None)):
        try:
            return dataset.load(folder, options.only, wanted)
        except OtherStemsError as error:
            if wanted is not None and options.preset is not None:
                raise UsageError(f"--preset {options.preset} is for {wanted.words}, but {error}") from None
            found = str(error)
    if said.problem is not None:
        raise UsageError(f"{found}, and the submission cannot be asked what it makes: {said.problem}")
    raise UsageError(
        f"{found}; give a --preset that makes some of them, or name what the submission makes with --stems"
    )


def _told_time_factor(options: Options, path: Path) -> float | None:
    """What --fit tells the submission; UsageError if there is no limit, or if the submission does not ask for it."""
    if not options.fit:
        return None
    if options.limits.time_factor is None:
        raise UsageError("--fit plans to fit a time limit, and --no-limits sets none; drop one of the two")
    if not submission.reads(path, TIME_FACTOR_VARIABLE):
        raise UsageError(
            f"--fit: nothing in {path / 'my_submission'} reads {TIME_FACTOR_VARIABLE}; drop it, or see how our "
            f"my_submission/user_config.py does"
        )
    return options.limits.time_factor


def _environment(preset: str | None, time_factor: float | None = None) -> dict[str, str]:
    """Variables for the submission. Without a time factor that variable is emptied, since ours may be set."""
    asked = {} if preset is None else {PRESET_VARIABLE: preset}
    return asked | {TIME_FACTOR_VARIABLE: "" if time_factor is None else f"{time_factor:g}"}


def _absolute_if_file(preset: str | None) -> str | None:
    """The submission runs in another folder, so a file is named in full."""
    return str(Path(preset).resolve()) if preset is not None and Path(preset).is_file() else preset


def _out_folder(options: Options, plan: Plan) -> Path:
    """--out; without it a new folder below runs/, or with --resume the newest unfinished one of the same plan."""
    if options.out is not None:
        return options.out
    if not options.resume:
        name = plan.challenge.replace(" ", "-")
        return RUNS / f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{name}-{os.getpid()}"
    for file in sorted(RUNS.glob(f"*/{RESULT_FILE}"), reverse=True):
        try:
            earlier = results.read(file)
        except ResultError:
            continue
        if earlier.status == "incomplete" and not records.differences(earlier.plan, plan):
            return file.parent
    raise UsageError(f"--resume: no interrupted run with these settings in {RUNS}; give its --out")


def _configured(
    options: Options, path: Path, environment: Mapping[str, str], accept: Accept
) -> submission.Configured:
    """What the submission says it makes, asked where it will run."""
    hidden = [] if options.data is None else [options.data]
    folder = Path(tempfile.gettempdir()) / f"sdx-{secrets.token_hex(8)}"  # made, and removed, by who needs it
    return submission.configured(_runner(options, path, environment, hidden, None, accept)(Workplace(folder)))


def _runner(
    options: Options,
    path: Path,
    environment: Mapping[str, str],
    hidden: Sequence[Path],
    stems: StemSet | None,
    accept: Accept,
) -> Callable[[Workplace], SessionRunner]:
    """Makes a runner of the submission; stems: those to be made, where that is known."""
    others = () if stems is None or isinstance(stems, Challenge) else stems.stems
    if options.runner == "docker":
        return container_runner(path, options.limits, environment, hidden, others, accept)
    without = [name for name in os.environ.get(WITHOUT_VARIABLE, "").split(",") if name]
    readable = [*options.readable, *weights_folders(path), *_beside_preset(environment.get(PRESET_VARIABLE))]
    if (closed := view.unreadable(path)) is not None:
        log.warning(
            "%s: only its owner may read it, but a submission runs as another user; chmod -R go+rX %s",
            printable.plain(str(closed)),
            printable.plain(str(path)),
        )
    ends = {link: os.path.realpath(link) for link in view.links_out(path)}
    shown = [os.path.realpath(each) for each in readable]
    unseen = [f"{link} leads to {end}" for link, end in ends.items() if not view.is_below_any(end, shown)]
    if unseen:  # their names are the submission's
        words = "; ".join(map(printable.plain, printable.listed(unseen, SHOWN_LINKS)))
        log.warning(
            "what lies elsewhere is not there for the submission, unless --readable names it: %s", words
        )

    def make(workplace: Workplace) -> SessionRunner:
        return ProcessRunner(
            path,
            workplace,
            options.limits,
            {**environment, **weights_variables(path)},
            hidden,
            readable,
            without,
            others,
            gpu=wants_gpu(path),
            accept=accept,
        )

    return make


def hidden_paths(data: Dataset) -> list[Path]:
    """Folders and files that must not be found though they may lie in a folder that a submission sees."""
    references = {path.resolve() for track in data.tracks for path in track.references.values()}
    return sorted({data.path.resolve(), *(path.parent for path in references), *references})


def _beside_preset(preset: str | None) -> list[Path]:
    """A preset's file, and the files beside it that may be its manifests and its weights.

    Not its folder: that may well hold the submission, its `.git`, other runs, or be closed to other users.
    """
    if preset is None or not Path(preset).is_file():
        return []
    file = Path(preset).resolve()
    return [file, *(each for each in sorted(file.parent.iterdir()) if each.suffix in OF_A_PRESET)]
