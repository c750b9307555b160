"""Time from Gram matrices to weights: `python benchmarks/tune.py [--tracks 100] [--members 4] [--stems 4]`.

Uses random matrices of a step with a consistency blend, whose weights must therefore be found jointly for all stems.
Prints the processor time for the best weights, for the best without constraints, and for the whole cross-validation.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from evaluator.tuning.estimator import MemberInfo, StepInfo
from evaluator.tuning.gram import blocks_of, gram_matrix
from evaluator.tuning.tune import weigh
from evaluator.tuning.weighting import (
    INPUT,
    Layout,
    Scorer,
    best_weights,
    equal_weights,
    scorer,
    unconstrained_best,
)

T = TypeVar("T")
SAMPLES = 2_000


def random_scorer(step: StepInfo, tracks: int, seed: int = 0) -> Scorer:
    """Tracks of noise stems and noisy estimates of them."""
    rng = np.random.default_rng(seed)
    candidates = tuple((place, stem) for place in range(len(step.members)) for stem in step.stems)
    grams = []
    for _ in range(tracks):
        stems = dict(zip(step.stems, rng.standard_normal((len(step.stems), 2, SAMPLES)), strict=True))
        estimates = [
            stems[stem] + rng.uniform(0.3, 0.7) * rng.standard_normal((2, SAMPLES)) for _, stem in candidates
        ]
        signals = [*stems.values(), np.sum(list(stems.values()), axis=0), *estimates]
        grams.append(gram_matrix([blocks_of(signal) for signal in signals]))
    return scorer(Layout(step.stems, candidates, step.blend), grams)


def timed(what: str, function: Callable[[], T]) -> T:
    """Call, print the processor time, return what came."""
    started = time.process_time()
    result = function()
    print(f"{what:<32} {time.process_time() - started:7.3f} s")
    return result


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, default in (("tracks", 100), ("members", 4), ("stems", 4)):
        parser.add_argument(f"--{name}", type=int, default=default, help="default: %(default)s")
    given = parser.parse_args()
    stems = tuple(f"stem{i}" for i in range(given.stems))
    share = 1 / given.stems
    blend = {stem: {INPUT: share, **{other: (other == stem) - share for other in stems}} for stem in stems}
    members = tuple(MemberInfo(f"model{i}", dict.fromkeys(stems, 1.0), stems) for i in range(given.members))
    step = StepInfo("step", "mixture", stems, None, dict.fromkeys(stems, share), blend, members)
    scores = random_scorer(step, given.tracks)
    print(
        f"{given.tracks} tracks, {given.members} members, {given.stems} stems, weights of all stems jointly"
    )
    equal = equal_weights(scores.layout)
    best = timed("best weights", lambda: best_weights(scores, equal))
    timed("best without constraints", lambda: unconstrained_best(scores, best))
    timed("all weightings, 5 folds", lambda: weigh(step, scores))


if __name__ == "__main__":
    main()
