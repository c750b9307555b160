"""`python -m evaluator tune`."""

import sys
from argparse import Namespace
from datetime import UTC, datetime
from pathlib import Path

from tqdm import tqdm

from evaluator import printable, text_table
from evaluator.commands import Subparsers, converters, estimator_options
from evaluator.reporting.display import BAR, CheckBar
from evaluator.running import dataset
from evaluator.running.dataset import Dataset, Track
from evaluator.tuning import estimator, preset_file, tune
from evaluator.tuning.estimator import Estimator, PresetInfo
from evaluator.tuning.tune import CURRENT, MEAN_SDR, TUNED, Tuned, TuneError

HASH_DIGITS = 12


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
        metavar=f"{MEAN_SDR}|STEM",
        help="what to maximise: the mean over the stems of a step, or one stem (default: %(default)s)",
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
    if given.out is not None:
        _check_out(given.out, given.overwrite)
    with estimator_options.make_estimator(given) as runner:
        file = estimator.preset_file(given.preset)
        info = runner.describe(file)
        names = _steps(info, given.step, given.objective)
        runner.require(file)
        data = estimator_options.load_data(given, info)
        with CheckBar() as checked:
            digest = dataset.content_hash(data.tracks, lambda track: checked(track, len(data.tracks)))
        text = file.read_text(encoding="utf-8")
        with estimator.scratch_folder() as folder:
            draft = folder / file.name
            for name in names:
                draft.write_text(preset_file.with_manifest_for(text, file.parent, folder), encoding="utf-8")
                tuned = _tune(runner, draft, name, data, given)
                print(printable.lines(tune.table(tuned)), end="\n\n", flush=True)
                note = _note(tuned, data, digest, given)
                text = preset_file.with_weights(text, name, tuned.preset_weights(), note)
                text = preset_file.with_used_steps(text, info.instruments)
            draft.write_text(preset_file.with_manifest_for(text, file.parent, folder), encoding="utf-8")
            runner.describe(draft)  # what we write must be a preset
    if given.out is not None:
        text = preset_file.with_manifest_for(text, file.parent, given.out.parent)
        given.out.write_text(text, encoding="utf-8")
        print(f"{given.out}: written")
    return 0


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
    with tqdm(total=total, file=sys.stderr, bar_format=BAR, desc=f"estimates of step {name}") as bar:

        def progress(track: Track) -> None:
            bar.update()

        return tune.tune_step(runner, preset, step, data, given.objective, given.folds, progress)


def _note(tuned: Tuned, data: Dataset, digest: str, given: Namespace) -> list[str]:
    """What was tuned on what, and with what result."""
    tracks = text_table.count(len(data.tracks), "track")
    old, new = (tune.objective_db(tuned, name) for name in (CURRENT, TUNED))
    return [
        f"by `python -m evaluator tune` on {tracks} of {data.path.name} ({digest[:HASH_DIGITS]}), "
        f"{datetime.now(UTC):%Y-%m-%d}, from {Path(given.preset).stem}, objective {given.objective}: "
        f"{old:.3f} -> {new:.3f} dB on these tracks.",
        tune.verdict(tuned),
    ]
