"""`python -m evaluator tune`."""

import sys
from argparse import Namespace
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from evaluator import printable
from evaluator.commands import Subparsers, converters, estimator_options
from evaluator.running.dataset import Dataset, Track
from evaluator.tuning import estimator, preset_file, savings, tune
from evaluator.tuning.estimator import Estimator, PresetInfo
from evaluator.tuning.tune import CURRENT, MEAN_SDR, TUNED, Tuned, TuneError
from sdx.engines.scratch import scratch_folder

HASH_DIGITS = 12
PER_SECOND = "sdr-per-second"


def add_parser(subparsers: Subparsers) -> None:
    """Add the command."""
    parser = subparsers.add_parser(
        "tune",
        description="Find the weights of a preset's steps that score best on tracks with references, and show "
        "their score on tracks that they were not fitted to. Steps are tuned in order, each on what the steps "
        "before it make with their new weights.",
    )
    estimator_options.add(parser)
    parser.add_argument(
        "--out", type=Path, metavar="FILE", help="write a new preset here (default: only print)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace --out if it exists")
    parser.add_argument("--step", metavar="NAME", help="tune this step only (default: all)")
    parser.add_argument(
        "--objective",
        default=MEAN_SDR,
        metavar=f"{MEAN_SDR}|STEM|{PER_SECOND}",
        help="what to maximise: the mean over the stems of a step, or one stem; or what is done without, too, for the"
        " most SDR in each second of computing (default: %(default)s)",
    )
    parser.add_argument(
        "--within",
        type=converters.positive,
        metavar="X",
        help="do without members, polarities and overlaps, so that a track is predicted to take X seconds per second"
        " of audio on this machine at most: the challenge's limit is 1.57; prints score against time",
    )
    parser.add_argument(
        "--folds",
        type=converters.whole_from(2),
        default=tune.FOLDS,
        metavar="K",
        help="of the cross-validation (default: %(default)s)",
    )
    parser.set_defaults(run=_run)


def _run(given: Namespace) -> int:
    if given.within is not None and given.step is not None:
        raise TuneError("--within: is about the whole preset, so --step cannot be given with it")
    if given.objective == PER_SECOND and given.step is not None:
        raise TuneError(
            f"--objective {PER_SECOND}: is about the whole preset, so --step cannot be given with it"
        )
    if given.within is not None and given.objective not in (MEAN_SDR, PER_SECOND):
        raise TuneError(
            f"--within: goes with the objective {MEAN_SDR} or {PER_SECOND}, found {given.objective}"
        )
    if given.out is not None:
        _check_out(given.out, given.overwrite)
    with estimator_options.make_estimator(given) as runner:
        file = estimator.preset_file(given.preset)
        info = runner.describe(file)
        saves_time = given.within is not None or given.objective == PER_SECOND
        names = [] if saves_time else _steps(info, given.step, given.objective)
        runner.require(file)
        data, digest = estimator_options.load_data(given, info)
        if (warning := tune.warning_of_few(len(data.tracks))) is not None:
            print(printable.lines(warning), file=sys.stderr)
        text = file.read_text(encoding="utf-8")
        with scratch_folder() as folder:
            draft = folder / file.name
            if saves_time:
                draft.write_text(preset_file.with_manifest_for(text, file.parent, folder), encoding="utf-8")
                text = _with_less(runner, draft, text, info, data, given)
                draft.write_text(preset_file.with_manifest_for(text, file.parent, folder), encoding="utf-8")
                names = _names_that_can_be_tuned(runner.describe(draft))
            for name in names:
                draft.write_text(preset_file.with_manifest_for(text, file.parent, folder), encoding="utf-8")
                tuned = _tune(runner, draft, name, data, given)
                print(printable.lines(tune.table(tuned)), end="\n\n", flush=True)
                note = _note(tuned, data, digest, given)
                _say_dropped(tuned)
                text = preset_file.with_weights(text, name, tuned.preset_weights(), note)
                text = preset_file.with_used_steps(text, info.instruments)
            draft.write_text(preset_file.with_manifest_for(text, file.parent, folder), encoding="utf-8")
            runner.describe(draft)  # what we write must be a preset
            if saves_time:
                _say_time(runner, draft, data, given.within)
    if given.out is not None:
        text = preset_file.with_manifest_for(text, file.parent, given.out.parent)
        given.out.write_text(text, encoding="utf-8")
        print(f"{given.out}: written")
    return 0


def _with_less(
    runner: Estimator, draft: Path, text: str, info: PresetInfo, data: Dataset, given: Namespace
) -> str:
    """The preset's text without what it is to do without; prints score against time."""
    total = len(data.tracks) * len(info.steps)
    with estimator_options.progress_bar(runner, total, "every way to run the members") as bar:

        def progress(track: Track) -> None:
            bar.update()

        found = savings.study(runner, draft, info, data, progress)
    points = found.walk()
    chosen = savings.choose(found, points, given.within, given.objective == PER_SECOND)
    print(printable.lines(savings.table(found, points, chosen, given.within)), end="\n\n", flush=True)
    for step, choice in zip(found.steps, chosen.choices, strict=True):
        text = preset_file.with_runs(text, step.step.name, step.keys(choice))
    return preset_file.with_used_steps(text, info.instruments)


def _names_that_can_be_tuned(info: PresetInfo) -> list[str]:
    """The steps that still have something to weight."""
    names = []
    for step in info.steps:
        with suppress(TuneError):
            tune.layout_of(step, info.instruments)
            names.append(step.name)
    return names


def _say_dropped(tuned: Tuned) -> None:
    """Name the members that the written preset will not have."""
    for name, own in zip(tuned.step.member_names, tuned.preset_weights(), strict=True):
        if not any(own.values()):
            print(f"Step {tuned.step.name}: {name} is dropped, since its weight is nothing.\n", flush=True)


def _say_time(runner: Estimator, draft: Path, data: Dataset, within: float | None) -> None:
    """Print what the preset that is written is predicted to take."""
    prediction = runner.predict(draft, data.tracks)
    seconds = np.sum([step.sum(axis=0) for step in prediction.seconds], axis=0)
    lengths = np.array([track.seconds for track in data.tracks])
    limit = ""
    if within is not None:
        fits = prediction.fits(seconds, lengths, within)
        limit = f", {'within' if fits else 'NOT within'} {within:g} with {prediction.margin:.0%} to spare"
    print(f"Predicted for this preset on this machine: RTF {prediction.rtf(seconds, lengths):.3f}{limit}.")


def _check_out(out: Path, overwrite: bool) -> None:
    if out.suffix not in (".yaml", ".yml"):
        raise TuneError(f"--out {out}: expected the name of a .yaml file")
    if out.exists() and not overwrite:
        raise TuneError(f"--out {out}: exists; choose another name, or give --overwrite")
    if not out.parent.is_dir():
        raise TuneError(f"--out {out}: there is no folder {out.parent}")


def _steps(info: PresetInfo, asked: str | None, objective: str) -> list[str]:
    """The steps to tune, in order; steps that cannot be tuned are named and left out, unless asked for."""
    if asked is not None and asked not in [step.name for step in info.steps]:
        raise TuneError(f"--step {asked}: the preset has {', '.join(step.name for step in info.steps)}")
    names = []
    for step in info.steps:
        if asked not in (None, step.name):
            continue
        try:
            tune.check_objective(tune.layout_of(step, info.instruments), step, objective)
        except TuneError as problem:
            if asked is not None:
                raise
            print(f"left as it is: {printable.lines(str(problem))}", file=sys.stderr)
            continue
        names.append(step.name)
    if not names:
        raise TuneError(f"no step can be tuned for {objective}")
    return names


def _tune(runner: Estimator, preset: Path, name: str, data: Dataset, given: Namespace) -> Tuned:
    (step,) = (step for step in runner.describe(preset).steps if step.name == name)
    total = len(data.tracks)
    with estimator_options.progress_bar(runner, total, f"estimates of step {name}") as bar:

        def progress(track: Track) -> None:
            bar.update()

        return tune.tune_step(runner, preset, step, data, _objective(given), given.folds, progress)


def _objective(given: Namespace) -> str:
    """What the weights of a step are fitted for."""
    return MEAN_SDR if given.objective == PER_SECOND else str(given.objective)


def _note(tuned: Tuned, data: Dataset, digest: str, given: Namespace) -> list[str]:
    """What was tuned on what, and with what result."""
    tracks = estimator_options.tracks_of(data)
    old, new = (tune.objective_db(tuned, name) for name in (CURRENT, TUNED))
    return [
        f"by `python -m evaluator tune` on {tracks} of {data.path.name} ({digest[:HASH_DIGITS]}), "
        f"{datetime.now(UTC):%Y-%m-%d}, from {Path(given.preset).stem}, objective {given.objective}"
        f"{'' if given.within is None else f', within {given.within:g} on that machine'}: "
        f"{old:.3f} -> {new:.3f} dB on these tracks.",
        tune.verdict(tuned),
        *filter(None, [tune.warning_of_few(len(data.tracks))]),
    ]
