"""The members of a step, one by one, are what the ensemble is made of."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
import torch
import yaml
from torch import Tensor

from my_submission.ensemble.engine import Ensemble, Pieces, compute_pass
from my_submission.ensemble.plan import Pass
from my_submission.ensemble.preset import Preset
from my_submission.ensemble.preset_reader import PRESETS_FOLDER, load_preset
from my_submission.ensemble.study import (
    blend_of,
    member_estimates,
    run_step,
    separate,
    step_signals,
)
from my_submission.models import ChunkModel
from my_submission.runtime.pool import ModelPool
from my_submission.signal.chunking import Geometry, Reader
from tests.thinned import one_in

pytestmark = pytest.mark.usefixtures("short_delays")

MUSIC = ("drums", "bass", "other", "vocals")


@pytest.fixture
def noise(noise: Tensor) -> Tensor:
    """Two chunks of the networks below, and enough for a loudness."""
    return noise[:, :18_000]


class Network:
    """A 'network' that is neither linear nor independent of where its chunk begins."""

    geometry = Geometry(9_000)
    bytes_per_sample = 1

    def __init__(self, sources: tuple[str, ...], seed: int) -> None:
        self.sources = sources
        self.gains = torch.rand(len(sources), 1, 1, generator=torch.Generator().manual_seed(seed))

    def __call__(self, chunks: Tensor) -> Tensor:
        ramp = torch.linspace(0.5, 1, chunks.shape[-1])
        return torch.tanh(chunks[:, None] * self.gains + 0.1) * ramp


def networks(preset: Preset) -> dict[str, ChunkModel]:
    return {
        name: Network(preset.manifest.checkpoints[name].sources, seed)
        for seed, name in enumerate(preset.checkpoints)
    }


class Runner:
    """A RunPass that computes a whole pass as one piece, and remembers what it was asked for."""

    def __init__(self, preset: Preset) -> None:
        self.models = networks(preset)
        self.asked: list[tuple[Pass, float]] = []

    def __call__(self, one: Pass, read: Reader, samples: int, on_chunks: Callable[[int], None]) -> Pieces:
        signal = read(0, samples)
        self.asked.append((one, float(signal.sum())))
        whole = {source: torch.zeros_like(signal) for source in one.sources}
        for start, pieces in compute_pass(one, self.models[one.checkpoint], read, samples):
            for source, piece in pieces.items():
                whole[source][:, start : start + piece.shape[-1]] = piece
        yield 0, whole


def small(name: str, tmp_path: Path, **changes: object) -> Preset:
    """A published preset with few shifts and little overlap, and these keys in its last step."""
    document = yaml.safe_load((PRESETS_FOLDER / f"{name}.yaml").read_text())
    document["steps"][-1].update(changes)
    path = tmp_path / f"{name}-small.yaml"
    path.write_text(yaml.safe_dump(document))
    return load_preset(path).override(overlap=0.25, shifts=1)


@pytest.mark.parametrize("name", one_in(2, ["mdx-c", "mdx-c-released", "cdx-b", "cdx-dnr"]))
def test_step_by_step_is_what_the_ensemble_streams(name: str, tmp_path: Path, noise: Tensor) -> None:
    preset = small(name, tmp_path)
    pool = type("Pool", (), {"get": staticmethod(networks(preset).__getitem__)})()
    streamed = Ensemble(preset, cast(ModelPool, pool), seed=3).separate(noise)
    whole = separate(preset, noise, 3, Runner(preset))
    assert whole.keys() == streamed.keys()
    for stem, estimate in streamed.items():
        torch.testing.assert_close(whole[stem], estimate, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "changes"),
    one_in(
        2,
        [
            ("mdx-c", {"mix": {"bass": {"bass": 0.9, "drums": -0.3, "input": 0.2}}}),
            ("mdx-c", {}),
            ("cdx-b", {"loudness_lufs": -30}),
            ("mdx-c-released", {}),
            ("cdx-dnr", {}),
        ],
    ),
)
def test_weighted_means_of_the_members_are_what_a_step_is_made_of(
    name: str, changes: dict[str, object], tmp_path: Path, noise: Tensor
) -> None:
    preset = small(name, tmp_path, **changes)
    run = Runner(preset)
    for step in preset.steps:
        signals = step_signals(preset, step.name, noise, 0, run)[1]
        means = {stem: torch.zeros_like(noise, dtype=torch.float64) for stem in step.stems}
        for place, estimates in member_estimates(step, preset, signals, 0, run):
            assert estimates.keys() == step.members[place].weights.keys()
            for stem, estimate in estimates.items():
                total = sum(member.weights.get(stem, 0) for member in step.members)
                means[stem] += step.members[place].weights[stem] / total * estimate.double()
        made = run_step(step, preset, signals, 0, run)
        blend = blend_of(step)
        assert blend.keys() == made.keys() == set(step.makes)
        for output, coefficients in blend.items():
            mixed = sum(coefficients[stem] * mean for stem, mean in means.items())
            mixed = mixed + coefficients["input"] * signals[step.input].double()
            torch.testing.assert_close(made[output].double(), mixed, rtol=0, atol=1e-6)


def test_members_estimate_apart_what_they_estimate_together(tmp_path: Path, noise: Tensor) -> None:
    """Neither taking a member away nor looking at one alone changes a pass, random delays included."""
    preset = small("mdx-c", tmp_path)
    step = preset.steps[-1]
    together = Runner(preset)
    run_step(step, preset, {step.input: noise}, 0, together)
    passes = {(one.checkpoint, one.augmentation) for one, _ in together.asked}
    alone = Runner(preset)
    list(member_estimates(step, preset, {step.input: noise}, 0, alone))
    assert {(one.checkpoint, one.augmentation) for one, _ in alone.asked} == passes
    without = replace(step, members=step.members[1:])
    fewer = Runner(preset)
    run_step(without, preset, {step.input: noise}, 0, fewer)
    assert {(one.checkpoint, one.augmentation) for one, _ in fewer.asked} < passes


def test_blend_is_the_one_of_the_formulas() -> None:
    """Consistent: bass = (instrumental − other − drums + 2·bass)/3. Released: bass is its mean, other takes a third.

    The residual of a step is what its stems leave.
    """
    vocals, instruments = load_preset("mdx-c-consistent").steps
    assert blend_of(vocals) == {
        "vocals": {"vocals": 1, "input": 0},
        "instrumental": {"vocals": -1, "input": 1},
    }
    expected = {"bass": 2 / 3, "drums": -1 / 3, "other": -1 / 3, "input": 1 / 3}
    assert blend_of(instruments)["bass"] == pytest.approx(expected)
    released = blend_of(load_preset("mdx-c-released").steps[1])
    assert released["bass"] == {"bass": 1, "drums": 0, "other": 0, "input": 0}
    assert released["other"] == pytest.approx(
        {"bass": -1 / 3, "drums": -1 / 3, "other": 2 / 3, "input": 1 / 3}
    )
    papers = blend_of(load_preset("mdx-c").steps[1])
    assert papers["other"] == pytest.approx({"bass": -2 / 3, "drums": -2 / 3, "other": 1 / 3, "input": 2 / 3})


def test_a_mix_is_a_matrix_of_the_means_and_the_input_before_the_residual(tmp_path: Path) -> None:
    changes = {
        "mix": {"bass": {"bass": 0.9, "other": "-1/5", "input": 0.1}, "drums": {"drums": 2}},
        "residual_shares": {"other": "1/2"},
        "residual": "rest",
    }
    blend = blend_of(small("mdx-c", tmp_path, **changes).steps[-1])
    assert blend["bass"] == pytest.approx({"bass": 0.9, "drums": 0, "other": -0.2, "input": 0.1})
    assert blend["drums"] == pytest.approx({"bass": 0, "drums": 2, "other": 0, "input": 0})
    assert blend["other"] == pytest.approx({"bass": -0.45, "drums": -1, "other": 0.6, "input": 0.45})
    assert blend["rest"] == pytest.approx({"bass": -0.45, "drums": -1, "other": -0.4, "input": 0.45})


def test_an_unknown_step_says_which_there_are(noise: Tensor) -> None:
    preset = load_preset("mdx-c")
    with pytest.raises(ValueError, match="no step 'bass'; it has vocals, instruments"):
        step_signals(preset, "bass", noise, 0, Runner(preset))
