"""A small ensemble and tracks, and an estimator with a cache of its own that is asked for the ensemble's members."""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

from evaluator.running import dataset
from evaluator.tuning import estimate_worker
from evaluator.tuning.estimator import Estimator, EstimatorError, PresetInfo
from evaluator.tuning.member_passes import Cost
from tests.evaluator.small_ensemble import write_ensemble, write_tracks


class WithoutChild(Estimator):
    """Has this process answer as the child would, which takes seconds to start."""

    def __enter__(self) -> Self:
        self._passes = estimate_worker._open(self._settings)
        return self

    def __exit__(self, *exception: object) -> None:
        pass

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        asked = json.loads(json.dumps(request))
        self._passes.cost = Cost()
        try:
            answer = estimate_worker.OPERATIONS[asked["operation"]](self._passes, asked)
        except estimate_worker.EXPECTED_ERRORS as error:
            raise EstimatorError(str(error), getattr(error, "errno", None)) from error
        answered: dict[str, Any] = json.loads(json.dumps(answer | asdict(self._passes.cost)))
        return answered


class Setup:
    """A preset, tracks, and an estimator with a cache of its own."""

    def __init__(self, folder: Path, runner: Estimator) -> None:
        self.folder = folder
        self.preset = write_ensemble(folder / "ensemble")
        self.data = dataset.load(write_tracks(folder / "tracks"))
        self.runner = runner

    @property
    def info(self) -> PresetInfo:
        return self.runner.describe(self.preset)


@contextlib.contextmanager
def running(folder: Path, kind: type[Estimator] = Estimator) -> Iterator[Setup]:
    with kind(folder / "cache", device="cpu", precision="fp32") as runner:
        yield Setup(folder, runner)
