"""What a time limit foresees: costs, the pace of a machine, savings, and how it is all said."""

import itertools
from typing import cast

import pytest

from my_submission.ensemble.costs import Costs, measure_costs
from my_submission.ensemble.deadline import (
    FILES_SECONDS,
    MARGIN,
    PACE_DECAY,
    USUAL_SECONDS,
    Deadline,
    Watch,
    _economies_words,
    read_limit_factor,
)
from my_submission.ensemble.plan import Pass, step_units
from my_submission.ensemble.preset_reader import load_preset, preset_names
from my_submission.runtime.pool import ModelPool
from my_submission.runtime.schedule import Schedule
from my_submission.signal.augment import Augmentation
from tests.my_submission.ensemble.made_clock import (
    CHUNK,
    RATE,
    SAMPLES,
    FakeClock,
    Pool,
    Timed,
    made,
)


def test_the_pace_before_a_track_is_the_last_ones_or_a_little_less_than_the_one_before() -> None:
    """A slower machine counts at once, a quicker one only bit by bit."""
    preset = load_preset("mdx-demo")
    deadline = Timed(preset, FakeClock(), 1e6).deadline
    paces = []
    for predicted, passed in [(1.0, 3.0), (1.0, 1.0), (1.0, 1.0), (2.0, 1.0)]:
        watch = deadline.begin(SAMPLES).watch
        paces.append(watch.earlier_pace)
        clock = FakeClock()
        watch._clock = clock
        watch.restart()
        clock.now += passed
        watch.note(predicted)
    paces.append(deadline.begin(SAMPLES).watch.earlier_pace)
    assert paces == pytest.approx([1.0, 3.0, 3 * PACE_DECAY, 3 * PACE_DECAY**2, 3 * PACE_DECAY**3])


def test_the_pace_is_the_slowest_of_lately_the_whole_track_and_before() -> None:
    clock = FakeClock()

    def watched(earlier: float, *passed: float) -> float:
        watch = Watch(clock, 100.0, earlier)
        for seconds in passed:
            clock.now += seconds
            watch.note(1.0)
        return watch.pace

    assert watched(2.0) == 2.0
    assert watched(2.0, 1.0) == 2.0
    assert watched(1.0, 1.0, 3.0) == pytest.approx(2.0)
    assert watched(1.0, *[1.0] * 10, *[3.0] * 4) == pytest.approx(3.0)  # the last four
    assert watched(1.0, *[3.0] * 10, *[1.0] * 4) == pytest.approx(34 / 14)  # the whole


@pytest.mark.parametrize("name", preset_names())
def test_every_economy_of_the_presets_makes_them_cheaper_and_none_breaks_them(name: str) -> None:
    preset = load_preset(name)
    deadline = Timed(preset, FakeClock(), 1e9).deadline
    costs = [deadline.predicted_seconds(level, SAMPLES) for level in range(len(preset.economies) + 1)]
    members = [member for step in preset.steps for member in step.members]
    needed = sum(len(step.stems) for step in preset.steps)  # one member for every stem
    once = len(members) <= needed and all(member.shifts == 0 for member in members)
    if once and all(member.overlap == 0 for member in members):
        assert not preset.economies, "nothing can be left out"
        return
    alone = once or len(members) == 1  # then there is little but the overlap to save
    close = max(member.overlap for member in members) > 0.25
    little = alone and not close
    assert len(costs) > (1 if little else 2 if alone else 3)
    assert all(after < before for before, after in itertools.pairwise(costs))
    bare = 2 * sum((m.overlap, m.shifts) == (0, 0) for m in members) > len(members)  # most run once anyway
    assert costs[-1] < costs[0] * (0.9 if little or bare else 0.6 if alone else 0.5 if close else 0.7)
    assert preset.economised(len(preset.economies)).mixture_consistent == preset.mixture_consistent


@pytest.mark.parametrize(
    ("level", "ending"),
    [
        (0, "So tracks are expected to be in time."),
        (1, "So tracks are expected to be in time that way."),
        (2, "So tracks are expected to be in time that way."),
    ],
)
def test_the_forecast_says_seconds_with_and_without_the_margin(level: int, ending: str) -> None:
    preset, song = load_preset("mdx-demo"), round(USUAL_SECONDS * RATE)
    planned = Timed(preset, FakeClock(), 1e6).deadline.predicted_seconds(level, song)
    a_second = (planned * (1 + MARGIN) + FILES_SECONDS) / USUAL_SECONDS + 1e-6
    forecast = Timed(preset, FakeClock(), a_second * SAMPLES / RATE - FILES_SECONDS).deadline.forecast
    most = len(preset.economies)
    how = ("nothing left out", *(f"the first{many} of its {most} economies taken" for many in ("", " 2")))[
        level
    ]
    assert (
        f"With {how}, {planned:.0f} s are forecast, and {planned * (1 + MARGIN):.0f} s with the margin of 10%"
        in forecast
    )
    assert forecast.endswith(ending)


@pytest.mark.parametrize(
    ("count", "most", "words"),
    [
        (1, 1, "its one economy taken"),
        (1, 2, "the first of its 2 economies taken"),
        (2, 2, "all of its 2 economies taken"),
        (2, 3, "the first 2 of its 3 economies taken"),
    ],
)
def test_economies_are_counted_in_words(count: int, most: int, words: str) -> None:
    assert _economies_words(count, most) == words


def test_what_takes_all_that_is_allowed_is_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    deadline = Timed(load_preset("mdx-demo"), FakeClock(), 1e6).deadline
    monkeypatch.setattr(deadline, "predicted_seconds", lambda level, samples: 10.0)
    monkeypatch.setattr(deadline, "available_seconds", lambda samples: 10.0 * (1 + MARGIN))
    assert deadline._forecast()[1] is False


@pytest.mark.parametrize("factor", [0.0, -1.0, float("nan"), float("inf")])
def test_a_limit_that_is_none_is_refused(factor: float) -> None:
    preset, clock = load_preset("mdx-demo"), FakeClock()
    models = made(preset, clock)
    costs = measure_costs(models, Schedule(), clock)
    with pytest.raises(ValueError, match="time_limit_factor: expected a number above 0"):
        Deadline(preset, 0, costs, factor, clock)


def test_units_of_a_bag_are_its_experts_where_each_makes_its_own_stem() -> None:
    preset = load_preset("mdx-c")
    vocals, instruments = (step_units(step, preset, 0) for step in preset.steps)
    assert [unit.name for unit in vocals] == [
        "Kim_Vocal_1", "Kim_Inst, inverted", "htdemucs_ft", "htdemucs_ft, inverted",
    ]  # fmt: skip
    assert [sorted(unit.masses) for unit in instruments[:6]] == [["drums"], ["bass"], ["other"]] * 2
    assert [unit.name for unit in instruments[:6]] == ["htdemucs_ft"] * 3 + ["htdemucs_ft, inverted"] * 3
    assert vocals[1].own_input == {"vocals": 8}
    assert sum(unit.masses.get("vocals", 0) for unit in vocals) == pytest.approx(23)


def test_costs_are_measured_once_a_kind_of_network_and_predict_full_rounds() -> None:
    preset, clock = load_preset("mdx-c"), FakeClock()
    models = cast(Pool, made(preset, clock))
    models.kinds = dict.fromkeys(models.kinds, "one kind")
    first = next(iter(models.kinds))
    models.models[first].seconds = 0.25
    costs = measure_costs(cast(ModelPool, models), Schedule(batch_size=2), clock)
    assert set(costs.chunk_seconds.values()) == {0.25}
    assert [network.calls for network in models.models.values()].count(0) == len(models.models) - 1
    one = Pass(first, Augmentation(), 0.0, {})
    assert costs.pass_seconds(one, 3 * CHUNK) == pytest.approx(4 * 0.25)
    assert costs.seconds([one, one], 4 * CHUNK) == pytest.approx(2 * 4 * 0.25)
    assert isinstance(costs, Costs)


def test_a_limit_in_a_configuration_is_a_number_or_nothing() -> None:
    assert read_limit_factor("") is None
    assert read_limit_factor("1.57") == read_limit_factor(1.57) == 1.57
    with pytest.raises(
        ValueError, match="TIME_LIMIT_FACTOR: expected seconds per second of audio.*found 'fast'"
    ):
        read_limit_factor("fast")
