"""A time limit on a made-up clock: what does not fit is left out in the preset's order, and nothing else."""

import itertools
from pathlib import Path
from typing import cast

import pytest
import torch
import yaml
from torch import Tensor

from my_submission.ensemble.costs import Costs, measure_costs
from my_submission.ensemble.deadline import (
    FILES_FACTOR,
    FILES_SECONDS,
    MARGIN,
    PACE_DECAY,
    USUAL_SECONDS,
    Deadline,
    Watch,
    _economies_words,
    read_limit_factor,
)
from my_submission.ensemble.engine import Ensemble
from my_submission.ensemble.plan import Pass, step_units
from my_submission.ensemble.preset import Preset
from my_submission.ensemble.preset_reader import load_preset, preset_names
from my_submission.runtime.pool import ModelPool
from my_submission.runtime.schedule import Schedule
from my_submission.signal.audio import Stems
from my_submission.signal.augment import Augmentation
from my_submission.signal.chunking import Geometry, reader
from tests.thinned import one_in

SOURCES = ("drums", "bass", "other", "vocals")
RATE = 44_100
SAMPLES = 6_000
CHUNK = 1_000


class FakeClock:
    """Stands still but for what models say that they take."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slowdown_at: list[tuple[float, float]] = []

    def __call__(self) -> float:
        return self.now

    def work(self, seconds: float) -> None:
        factors = [factor for start, factor in self.slowdown_at if self.now >= start]
        self.now += seconds * (factors[-1] if factors else 1.0)


class Network:
    """A gain for each source, and seconds a chunk."""

    geometry = Geometry(CHUNK)
    bytes_per_sample = 1

    def __init__(self, clock: FakeClock, sources: tuple[str, ...], gain: float, seconds: float = 1.0) -> None:
        self.sources = sources
        self.clock = clock
        self.gain = gain
        self.seconds = seconds
        self.calls = 0

    def __call__(self, chunks: Tensor) -> Tensor:
        self.calls += len(chunks)
        self.clock.work(self.seconds * len(chunks))
        # Something that differs with polarity and with the place in a chunk, as a network's output does.
        shape = torch.linspace(0.9, 1.1, chunks.shape[-1]) * (1 + 0.1 * torch.tanh(3 * chunks))
        return (self.gain * shape * chunks)[:, None].expand(-1, len(self.sources), -1, -1)


class Pool:
    def __init__(self, models: dict[str, Network]) -> None:
        self.models = models
        self.kinds = {name: name for name in models}

    def get(self, name: str) -> Network:
        return self.models[name]


def made(preset: Preset, clock: FakeClock) -> ModelPool:
    rows = preset.manifest.checkpoints
    gains = dict(zip(preset.checkpoints, torch.linspace(0.2, 0.8, len(preset.checkpoints)), strict=True))
    return cast(
        ModelPool,
        Pool({name: Network(clock, rows[name].sources, float(gain)) for name, gain in gains.items()}),
    )


class Timed:
    """A preset on a made-up clock, whose limit for the test's track is that many seconds."""

    def __init__(self, preset: Preset, clock: FakeClock, seconds: float) -> None:
        self.models = made(preset, clock)
        factor = FILES_FACTOR + (seconds + FILES_SECONDS) * RATE / SAMPLES
        costs = measure_costs(self.models, Schedule(), clock)
        self.deadline = Deadline(preset, 0, costs, factor, clock)
        self.progress: list[tuple[float, float]] = []
        self._ensemble = Ensemble(preset, self.models)

    @property
    def economies(self) -> list[str]:
        return self.deadline.economies

    def separate(self, mixture: Tensor) -> Stems:
        """As `SeparationModel` does it: the track is one block, and the policy decides."""
        ((start, stems),) = self._ensemble.stream(
            reader(mixture), 2, mixture.shape[-1], lambda *told: self.progress.append(told),
            block_samples=None, policy=self.deadline.begin(mixture.shape[-1]),
        )  # fmt: skip
        assert start == 0
        return stems


def seconds_of(preset: Preset, level: int) -> float:
    clock = FakeClock()
    return Timed(preset, clock, 1e9).deadline.predicted_seconds(level, SAMPLES)


@pytest.fixture
def mixture() -> Tensor:
    return 0.3 * torch.randn(2, SAMPLES, generator=torch.Generator().manual_seed(5))


def close(one: Stems, other: Stems) -> bool:
    return all(torch.allclose(one[stem], other[stem], atol=1e-5) for stem in one)


@pytest.mark.parametrize("name", ["mdx-c", "mdx-c-released", "cdx-b", "mdx-demo"])
def test_with_time_enough_it_is_the_ensemble(name: str, mixture: Tensor) -> None:
    preset, clock = load_preset(name), FakeClock()
    ensemble = Timed(preset, clock, 1e6)
    stems = ensemble.separate(mixture)
    assert ensemble.economies == []
    assert close(stems, Ensemble(preset, made(preset, FakeClock())).separate(mixture))
    done = [one for one, _ in ensemble.progress]
    assert done == sorted(done)
    assert ensemble.progress[-1][0] == pytest.approx(ensemble.progress[-1][1])


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
    costs = [seconds_of(preset, level) for level in range(len(preset.economies) + 1)]
    members = [member for step in preset.steps for member in step.members]
    needed = sum(len(step.stems) for step in preset.steps)  # one member for every stem
    once = len(members) <= needed and all(member.shifts == 0 for member in members)
    if once and all(member.overlap == 0 for member in members):
        assert not preset.economies, "nothing can be left out"
        return
    alone = once or len(members) == 1  # then there is little but the overlap to save
    little = alone and max(member.overlap for member in members) <= 0.25
    assert len(costs) > (1 if little else 2 if alone else 3)
    assert all(after < before for before, after in itertools.pairwise(costs))
    bare = 2 * sum((m.overlap, m.shifts) == (0, 0) for m in members) > len(members)  # most run once anyway
    assert costs[-1] < costs[0] * (0.9 if little or bare else 0.6 if alone else 0.5)
    assert preset.economised(len(preset.economies)).mixture_consistent == preset.mixture_consistent


@pytest.mark.parametrize("level", range(10))
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


@pytest.mark.parametrize("slowdown", [1.5, 5.0])
@pytest.mark.parametrize("share", one_in(3, [0.3, 0.0, 0.7]))
@pytest.mark.parametrize("room", [1.1, 2.0])
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


def test_every_economy_is_logged(mixture: Tensor, caplog: pytest.LogCaptureFixture) -> None:
    preset, clock = load_preset("mdx-c"), FakeClock()
    ensemble = Timed(preset, clock, seconds_of(preset, 3) * (1 + MARGIN) + 0.01)
    ensemble.separate(mixture)
    for economy in ensemble.economies:
        assert economy in caplog.text


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
