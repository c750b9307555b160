"""The engine of Slurm, with jobs that the test makes."""

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("submitit")

from sdx.engines import address, slurm
from sdx.engines.engine import Answer, Needs
from sdx.engines.slurm import SlurmEngine
from tests.waiting import WAIT_SECONDS


class Job:
    """A job that is done, and gives what it was made of."""

    job_id = "7"

    def __init__(self, outcome: Any) -> None:
        self.outcome = outcome

    def done(self) -> bool:
        return True

    def result(self) -> Any:
        if isinstance(self.outcome, Exception):
            raise self.outcome
        return self.outcome

    def cancel(self, check: bool) -> None:
        pass


class Executor:
    """Whose jobs are done at once, with these outcomes."""

    def __init__(self, *outcomes: Any) -> None:
        self.outcomes = list(outcomes)

    def update_parameters(self, **parameters: Any) -> None:
        pass

    def submit(self, *call: Any) -> Job:
        return Job(self.outcomes.pop(0))


def test_an_answer_that_cannot_be_read_is_one_jobs_and_no_end_of_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurm, "LOOK_SECONDS", 0.01)
    engine = SlurmEngine(address.parse("slurm://local?jobs=1"), tmp_path)
    monkeypatch.setattr(engine, "_executor", Executor(TypeError("unpickled"), Answer("", "host", 4)))
    try:
        first, second = (engine.submit(int, key=key, needs=Needs()) for key in "ab")
        assert str(first.exception(WAIT_SECONDS)) == "unpickled"
        assert second.result(WAIT_SECONDS).value == 4
    finally:
        engine.close()
