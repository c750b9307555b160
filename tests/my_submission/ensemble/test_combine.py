"""The last, linear part of a step, by numbers that can be done in one's head."""

from dataclasses import replace

import pytest
import torch

from my_submission.ensemble.combine import blend_means
from my_submission.ensemble.plan import needed_sources
from my_submission.ensemble.preset import Step
from my_submission.ensemble.preset_reader import load_preset, preset_names

pytestmark = pytest.mark.quick

SIGNAL = torch.tensor([[10.0, 100.0]])
MEANS = {"bass": torch.tensor([[1.0, 2.0]]), "drums": torch.tensor([[3.0, 4.0]])}
STEP = Step("one", "mixture", ("bass", "drums"), (), {}, None, None)


def test_without_more_a_step_makes_its_means() -> None:
    assert blend_means(STEP, MEANS, SIGNAL) == MEANS


def test_a_mix_is_of_means_and_of_the_input() -> None:
    mixed = blend_means(replace(STEP, mix={"bass": {"bass": 2, "drums": -1, "input": 0.5}}), MEANS, SIGNAL)
    assert mixed["bass"].tolist() == [[2 - 3 + 5, 4 - 4 + 50]]
    assert mixed["drums"].tolist() == MEANS["drums"].tolist()


def test_the_residual_is_what_the_stems_leave_and_shares_of_it_go_to_them() -> None:
    made = blend_means(replace(STEP, residual="rest"), MEANS, SIGNAL)
    assert made["rest"].tolist() == [[10 - 1 - 3, 100 - 2 - 4]]
    made = blend_means(replace(STEP, residual="rest", residual_shares={"bass": 0.25}), MEANS, SIGNAL)
    assert made["bass"].tolist() == [[1 + 1.5, 2 + 23.5]]
    assert made["rest"].tolist() == [[0.75 * 6, 0.75 * 94]]
    assert sum(stem[0, 1] for stem in made.values()) == SIGNAL[0, 1]


@pytest.mark.parametrize("name", ["mdx-c", "cdx-b"])
def test_what_a_preset_needs_of_its_checkpoints_makes_its_stems(name: str) -> None:
    assert name in preset_names()
    preset = load_preset(name)
    needed = needed_sources(preset)
    assert set(needed) == set(preset.checkpoints)
    for checkpoint, sources in needed.items():
        assert sources
        assert sources <= set(preset.manifest.checkpoints[checkpoint].sources)
