"""A time limit on a made-up clock: what does not fit is left out in the preset's order, and nothing else."""

from pathlib import Path
from typing import cast

import pytest
import torch
import yaml
from torch import Tensor

from my_submission.ensemble.deadline import (
    MARGIN,
)
from my_submission.ensemble.engine import Ensemble
from my_submission.ensemble.preset import Preset
from my_submission.ensemble.preset_reader import load_preset
from tests.my_submission.ensemble.made_clock import (
    CHUNK,
    SAMPLES,
    FakeClock,
    Network,
    Timed,
    close,
    made,
    seconds_of,
)
from tests.thinned import one_in


@pytest.fixture
def mixture() -> Tensor:
    return 0.3 * torch.randn(2, SAMPLES, generator=torch.Generator().manual_seed(5))


@pytest.mark.usefixtures("short_delays")
@pytest.mark.parametrize("name", one_in(2, ["mdx-c", "mdx-c-released", "cdx-b", "mdx-demo"]))
def test_with_time_enough_it_is_the_ensemble(name: str, mixture: Tensor) -> None:
    preset, clock = load_preset(name), FakeClock()
    ensemble = Timed(preset, clock, 1e6)
    stems = ensemble.separate(mixture)
    assert ensemble.economies == []
    assert close(stems, Ensemble(preset, made(preset, FakeClock())).separate(mixture))
    done = [one for one, _ in ensemble.progress]
    assert done == sorted(done)
    assert ensemble.progress[-1][0] == pytest.approx(ensemble.progress[-1][1])


@pytest.mark.usefixtures("short_delays")
@pytest.mark.parametrize("level", one_in(3, range(10)))
def test_a_limit_takes_as_many_economies_as_it_needs_and_keeps_it(level: int, mixture: Tensor) -> None:
    preset, clock = load_preset("mdx-c"), FakeClock()
    limit = seconds_of(preset, level) * (1 + MARGIN) + 0.01
    ensemble = Timed(preset, clock, limit)
    began = clock()
    stems = ensemble.separate(mixture)
    assert clock() - began <= limit
    assert ensemble.economies == [str(economy) for economy in preset.economies[:level]]
    cheaper = Ensemble(preset.economised(level), made(preset, FakeClock()))
    assert close(stems, cheaper.separate(mixture))


@pytest.mark.parametrize(("room", "slowdown"), one_in(2, [(1.1, 5.0), (1.1, 1.5), (2.0, 1.5), (2.0, 5.0)]))
@pytest.mark.parametrize("share", one_in(3, [0.3, 0.0, 0.7]))
@pytest.mark.parametrize("name", ["mdx-c-consistent", "cdx-b"])
def test_a_machine_that_slows_down_on_the_way_makes_no_track_late(
    name: str, room: float, share: float, slowdown: float, mixture: Tensor
) -> None:
    """Unless even the cheapest plan, begun at the first moment, would have been late."""
    preset, clock = load_preset(name), FakeClock()
    limit = seconds_of(preset, 0) * (1 + MARGIN) * room
    ensemble = Timed(preset, clock, limit)
    began = clock()
    clock.slowdown_at = [(began + share * limit, slowdown)]
    stems = ensemble.separate(mixture)
    cheapest = seconds_of(preset, -1)
    could = cheapest if cheapest < share * limit else share * limit + (cheapest - share * limit) * slowdown
    taken = clock() - began
    assert taken <= limit or could > limit
    assert all(stem.isfinite().all() for stem in stems.values())
    total = sum(stems.values())
    assert isinstance(total, Tensor)
    torch.testing.assert_close(total, mixture, atol=1e-4, rtol=0)
    if taken > limit / room:  # it did slow down
        assert ensemble.economies or room > 1.1


def test_no_more_is_left_out_than_the_slow_down_asks_for(mixture: Tensor) -> None:
    preset, clock = load_preset("mdx-c"), FakeClock()
    limit = seconds_of(preset, 0) * 2
    ensemble = Timed(preset, clock, limit)
    clock.slowdown_at = [(clock() + 0.5 * limit, 3.0)]  # when all is done
    ensemble.separate(mixture)
    assert ensemble.economies == []


def test_what_is_stopped_on_the_way_leaves_the_mean_of_the_others(mixture: Tensor, tmp_path: Path) -> None:
    """Two members with weights 3 and 1: stopped in the second, the first's estimate is the stem."""
    preset = two_members(tmp_path)
    clock = FakeClock()
    full = seconds_of(preset, 0)
    ensemble = Timed(preset, clock, full * 1.2)
    clock.slowdown_at = [(clock() + 0.75 * full, 50.0)]
    stems = ensemble.separate(mixture)
    assert ensemble.economies == ["all: htdemucs_6s stopped on the way"]
    alone = Ensemble(preset.economised(1), made(preset, FakeClock())).separate(mixture)
    assert close(stems, alone)
    six = cast(Network, ensemble.models.get("htdemucs_6s"))
    assert 0 < six.calls - 2 * 1 < SAMPLES // CHUNK * 4 / 3  # begun; two rounds were the measurement


def two_members(folder: Path) -> Preset:
    document = {
        "track": "music",
        "steps": [
            {
                "name": "all",
                "input": "mixture",
                "stems": ["bass", "drums", "other", "vocals"],
                "members": [{"model": "htdemucs_6s", "weight": 1}, {"model": "htdemucs", "weight": 3}],
            }
        ],
        "economies": [{"step": "all", "drop": "htdemucs_6s"}],
    }
    path = folder / "two.yaml"
    path.write_text(yaml.safe_dump(document))
    return load_preset(path)


def test_a_slow_track_makes_the_next_one_careful_from_the_start(mixture: Tensor) -> None:
    # without shifts: their delays are longer than this track, and chunks of silence take no time
    preset, clock = load_preset("mdx-c").override(None, 0), FakeClock()
    limit = seconds_of(preset, 0) * (1 + MARGIN) * 1.01
    ensemble = Timed(preset, clock, limit)
    clock.slowdown_at = [(clock(), 3.0)]
    ensemble.separate(mixture)
    first = list(ensemble.economies)
    began = clock()
    stems = ensemble.separate(mixture)
    assert clock() - began <= limit
    assert first
    fitting = next(
        level
        for level in range(len(preset.economies) + 1)
        if seconds_of(preset, level) * 3.0 * (1 + MARGIN) <= limit
    )
    assert ensemble.economies == [str(economy) for economy in preset.economies[:fitting]]
    assert close(stems, Ensemble(preset.economised(fitting), made(preset, FakeClock())).separate(mixture))
    assert not any("stopped" in economy for economy in ensemble.economies)


def test_a_hopeless_limit_is_said_at_construction_and_the_cheapest_plan_is_run(
    mixture: Tensor, caplog: pytest.LogCaptureFixture
) -> None:
    preset, clock = load_preset("mdx-demo"), FakeClock()
    ensemble = Timed(preset, clock, seconds_of(preset, -1) / 2)
    assert f"With all of its {len(preset.economies)} economies taken" in caplog.text
    assert "tracks will be late" in caplog.text
    stems = ensemble.separate(mixture)
    last = caplog.messages[-1]
    assert last.startswith("this track is predicted to be late: it needs ")
    assert all(str(economy) in last for economy in preset.economies)
    assert ensemble.economies == [str(economy) for economy in preset.economies]
    assert close(
        stems, Ensemble(preset.economised(len(preset.economies)), made(preset, FakeClock())).separate(mixture)
    )


@pytest.mark.usefixtures("short_delays")
def test_every_economy_is_logged(mixture: Tensor, caplog: pytest.LogCaptureFixture) -> None:
    preset, clock = load_preset("mdx-c"), FakeClock()
    ensemble = Timed(preset, clock, seconds_of(preset, 3) * (1 + MARGIN) + 0.01)
    ensemble.separate(mixture)
    for economy in ensemble.economies:
        assert economy in caplog.text
