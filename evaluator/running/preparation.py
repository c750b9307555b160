"""Options of the command line -> a Job: which stems, which preset, which data, what to hide, where to put it."""

import os
import secrets
import tempfile
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from evaluator import printable
from evaluator.challenge import CHALLENGES, Challenge, of_name
from evaluator.containers.runner import container_runner, wants_gpu
from evaluator.isolation.process_runner import ProcessRunner
from evaluator.isolation.sandbox import Isolation, SandboxError, SessionRunner, Workplace
from evaluator.isolation.variables import PRESET_VARIABLE, TIME_FACTOR_VARIABLE
from evaluator.locations import DEMO, RUNS
from evaluator.running import dataset, estimates, parts, predictions, submission
from evaluator.running.assignment import Assignment
from evaluator.running.dataset import ContentHashes, Contents, Dataset, OtherStemsError, Track
from evaluator.running.job import Job, Spread
from evaluator.running.options import UNLIMITED, Options, UsageError
from evaluator.running.predictions import Survey
from evaluator.running.sight import seen_besides, warn_of_what_is_unseen, weights_variables
from evaluator.runs import records, results
from evaluator.runs.documents import ResultError
from evaluator.runs.records import DataInfo, Plan
from evaluator.runs.run_folder import RESULT_FILE

DEMO_PATIENCE = 20.0
"""The demo shows that everything works: on a slow or busy machine its tracks are late, but scored."""
WITHOUT_VARIABLE = "SDX_SANDBOX_WITHOUT"  # facilities of the sandbox not to use, separated by commas

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
    if options.engine is not None and options.jobs != 1:
        raise UsageError(
            "--engine: how many tracks are done at a time is how many workers it has; drop --jobs"
        )
    path = submission.check_folder(options.submission)
    if options.engine is None and (gone := [each for each in options.readable if not each.exists()]):
        raise UsageError(f"--readable {gone[0]}: not found")
    wanted = _absolute_if_file(options.preset or os.environ.get(PRESET_VARIABLE))
    warn_of_what_is_unseen(
        path, None if options.runner == "docker" else seen_besides(path, options.readable, wanted)
    )
    data, preset = _data_and_preset(options, path, accept)
    time_factor = _told_time_factor(options, path)
    data, hashes = _checked(options, data, checked)
    plan = Plan(
        challenge=data.challenge.name,
        submission=submission.identify(path, preset, time_factor),
        data=_info(options, data, hashes),
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
            data,
            accept,
        ),
        patience=DEMO_PATIENCE if options.data is None else 1.0,
        spread=_spread(options, hashes.tracks),
        label=options.label,
    )


def _checked(
    options: Options, data: Dataset, tell: Callable[[Track, int], None]
) -> tuple[Dataset, ContentHashes]:
    """The data with every file read, and the hashes of its tracks."""
    total = len(data.tracks)
    return dataset.checked(data, lambda track: tell(track, total), options.skip_bad)


def _info(options: Options, data: Dataset, hashes: ContentHashes) -> DataInfo:
    """Which data a plan is for."""
    path = str(data.path.resolve())
    return DataInfo(path, len(data.tracks), hashes.total, options.only, data.left_out, dict(hashes.tracks))


def _spread(options: Options, hashes: Mapping[str, str]) -> Spread | None:
    """What workers are told, where an engine was asked for."""
    if options.engine is None:
        return None
    send = options.send_estimates or options.keep_estimates
    return Spread(options.engine, hashes, options.readable, options.require_isolation, send)


def runner_on_worker(
    assignment: Assignment, path: Path, hidden: Sequence[Path], data: Dataset
) -> Callable[[Workplace], SessionRunner]:
    """Makes a runner of the submission at `path` on a worker of an engine, as `prepare` does at home."""
    plan = assignment.plan
    assert plan.submission is not None

    def accept(isolation: Isolation) -> None:
        if assignment.require_isolation and (promises := isolation.open_promises()):
            raise SandboxError(f"--require-isolation: {'; '.join(promises)}")

    readable = tuple(Path(each) for each in assignment.readable)
    return _runner(
        Options(path, limits=plan.limits, runner=plan.runner, readable=readable),
        path,
        _environment(plan.submission.requested_preset, plan.submission.requested_time_factor),
        [*hidden, *hidden_paths(data)],
        data,
        accept,
    )


def _prepare_given(options: Options, folder: Path, checked: Callable[[Track, int], None]) -> Job:
    """The job of scoring estimates that were made elsewhere: which stems, by which files there are."""
    _require_nothing_to_run(options, folder)
    data_folder, holds, found = _look_up(options, folder)
    asked = None if options.challenge is None else of_name(options.challenge)
    wanted = asked or predictions.stems_to_score(found, holds, data_folder)
    try:
        data = dataset.load(data_folder, options.only, wanted, options.skip_bad)
    except OtherStemsError as error:
        raise UsageError(f"{wanted.option}, but {error}") from None
    data, hashes = _checked(options, data, checked)
    given = predictions.check(found, data.tracks, holds, all_stems=asked is None)
    plan = Plan(
        challenge=data.challenge.name,
        submission=None,
        data=_info(options, data, hashes),
        limits=UNLIMITED,
        metrics=options.metrics,
        runner=records.NOTHING_RUNS,
        predictions=given.identity,
    )
    out = _out_folder(options, plan).resolve()
    _require_apart(out / records.ESTIMATES, given.root.resolve())
    keep = options.keep_estimates or options.out is not None
    return Job(plan, data, out, keep, make_runner=None, predictions=given, label=options.label)


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
        "--engine": options.engine is not None,
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
                f"{path} does not say which challenge it is for; give --challenge "
                f"{' or --challenge '.join(CHALLENGES)}, or its --stems"
                f"{f' ({said.problem})' if said.problem else ''}"
            )
        if options.preset is not None and said.stems not in (None, wanted):
            raise UsageError(f"--preset {options.preset} is for {said.stems.words}, not for {wanted.name}")
        try:
            folder = options.data or dataset.demo_folder(wanted, DEMO)
            data = dataset.load(folder, options.only, wanted, options.skip_bad)
        except OtherStemsError as error:
            raise UsageError(f"{wanted.option}, but {error}") from None
    if options.preset is not None and said.problem is not None:  # every track would fail by it
        raise UsageError(
            f"--preset {options.preset}: the submission cannot be imported with it: {said.problem}"
        )
    if said.stems in (None, data.challenge):
        return data, preset
    if not isinstance(data.challenge, Challenge):
        raise UsageError(f"{path} is for {said.stems.words}; give a --preset for {data.challenge.words}")
    return data, data.challenge.default_preset


def _data_of_submission(options: Options, folder: Path, said: submission.Configured) -> Dataset:
    """The user's data with the stems that the submission makes, or where it has others, with its challenge's."""
    for wanted in dict.fromkeys((said.stems, None)):
        try:
            return dataset.load(folder, options.only, wanted, options.skip_bad)
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
    data: Dataset | None,
    accept: Accept,
) -> Callable[[Workplace], SessionRunner]:
    """Makes a runner of the submission; data: what it is to separate, where that is known."""
    others = () if data is None or isinstance(data.challenge, Challenge) else data.challenge.stems
    if options.runner == "docker":
        if options.readable:
            raise UsageError(
                "--readable is for --runner process: a container sees what its image holds; have the Dockerfile copy "
                f"{options.readable[0]}"
            )
        return container_runner(
            path, options.limits, environment, hidden, others, _largest_bytes(data), accept
        )
    without = [name for name in os.environ.get(WITHOUT_VARIABLE, "").split(",") if name]
    readable = seen_besides(path, options.readable, environment.get(PRESET_VARIABLE))

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


def _largest_bytes(data: Dataset | None) -> int:
    """Of the predictions of any one track, at most."""
    if data is None:
        return 0
    return max((estimates.most_bytes(track, data.challenge) for track in data.tracks), default=0)


def hidden_paths(data: Dataset) -> list[Path]:
    """Folders and files that must not be found though they may lie in a folder that a submission sees."""
    references = {
        path.resolve()
        for track in data.tracks
        for part in track.references.values()
        for path in parts.files(part)
    }
    return sorted({data.path.resolve(), *(path.parent for path in references), *references})
