"""What the tests of ensembles have in common."""

import pytest


@pytest.fixture
def short_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    """The shift trick delays by a thousand samples at most: half a second is longer than these tests' tracks."""
    monkeypatch.setattr("my_submission.ensemble.plan.MAX_DELAY_SAMPLES", 1_000)
