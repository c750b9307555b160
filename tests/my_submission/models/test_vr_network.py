"""VR networks are those of the package `pymss-core`, and their files tell which they are."""

import pytest
import torch
from torch import Tensor, nn

from my_submission.models.vr import _named
from my_submission.models.vr.network import Size, cascade, told_by
from tests.lower_precision import agreement
from tests.thinned import one_in
from tests.vr_networks import random, theirs_of, theirs_of_5_1

pytestmark = pytest.mark.processor

FRAMES = 288
"""More than what is discarded of a window, and a multiple of 32."""


NETWORKS = [(31191, 640, 2), (33966, 640, 2), (129605, 640, 2)]
LARGEST = (129605, 768, None)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("kind", "bins", "width"),
    [*NETWORKS, pytest.param(*LARGEST, marks=pytest.mark.slow)],
)
def test_a_network_of_version_5_is_the_packages(kind: int, bins: int, width: int | None) -> None:
    """Its masks are bit-identical on one machine; 120 dB leave room for another."""
    check_network(random(theirs_of(kind, bins, width), seed=1), bins)


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("bins", "width", "recurrent"),
    [
        (672, 4, 4),
        pytest.param(1024, 16, 128, marks=pytest.mark.slow),
    ],
)
def test_a_network_of_version_5_1_is_the_packages(bins: int, width: int, recurrent: int) -> None:
    """As above."""
    check_network(random(theirs_of_5_1(bins, width, recurrent), seed=1), bins)


def check_network(theirs: nn.Module, bins: int) -> None:
    state = without_heads(theirs)
    of = told_by(state)
    assert of is not None
    ours = cascade(of, bins).eval()
    ours.load_state_dict(state)
    magnitudes = torch.rand(2, 2, bins + 1, FRAMES, generator=torch.Generator().manual_seed(2))
    with torch.inference_mode():
        expected, made = theirs(magnitudes), ours(magnitudes)
    assert expected.std() > 0.001, "a mask that is the same everywhere shows nothing"
    assert agreement(expected - expected.mean(), made - expected.mean()) > 120


def without_heads(theirs: nn.Module) -> dict[str, Tensor]:
    """What we read of a file: not the heads that only training needs."""
    return {name: value for name, value in _named(theirs.state_dict()).items() if not name.startswith("aux")}


PUBLISHED = [
    (Size("5", 16), 31191, 7_921_856),
    (Size("5", 16, branches=7), 33966, 8_502_336),
    (Size("5", 16, levels=5, branches=6), 129605, 33_086_528),
    (Size("5", 32), 123821, 31_618_944),
    (Size("5", 64, branches=7), 537238, 135_542_016),
]


@pytest.mark.parametrize(("of", "kind", "values"), one_in(5, PUBLISHED))
def test_published_sizes_of_version_5_are_told_by_their_tensors(of: Size, kind: int, values: int) -> None:
    with torch.device("meta"):
        theirs = theirs_of(kind, 768)
        ours = cascade(of, 768)
    assert sum(value.numel() for value in theirs.parameters()) == values
    check_told(of, theirs, ours)


@pytest.mark.parametrize(
    ("width", "values"), one_in(4, [(16, 4_115_086), (32, 14_457_698), (48, 31_687_254), (64, 55_803_754)])
)
def test_published_sizes_of_version_5_1_are_told_by_their_tensors(width: int, values: int) -> None:
    of = Size("5.1", width, recurrent=128, bins=672)
    with torch.device("meta"):
        theirs = theirs_of_5_1(672, width, 128)
        ours = cascade(of, 672)
    assert sum(value.numel() for value in theirs.parameters()) == values
    check_told(of, theirs, ours)


def check_told(of: Size, theirs: nn.Module, ours: nn.Module) -> None:
    state = without_heads(theirs)
    assert told_by(state) == of
    shapes = {name: value.shape for name, value in ours.state_dict().items()}
    assert shapes == {name: value.shape for name, value in state.items()}
