"""MDX23C: to the bit what the reference package computes; its errors name parameters."""

from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from my_submission.models.mdx23c import layers
from my_submission.models.mdx23c.layers import AlongBins, ChannelNorm, Convolution
from my_submission.models.mdx23c.layout import Mdx23cParameters
from my_submission.models.mdx23c.network import Mdx23c
from my_submission.runtime.pool import load_model
from my_submission.schema import validate
from my_submission.weights import UnsafeFile, load_manifest
from tests.lower_precision import CPU, MARGIN_DB, agreement, autocast
from tests.reference_networks import module_of
from tests.small_networks import MDX23C, random_network, saved, small_row
from tests.thinned import one_in

pytestmark = pytest.mark.processor

NAMES = ("mdx23c", "mdx23c-one")


def both(name: str) -> tuple[nn.Module, nn.Module]:
    """Our network and theirs, with the same weights."""
    row = small_row(name, Path("x.ckpt"))
    ours, theirs = random_network(row), module_of(row)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def noise(samples: int, batch: int = 1) -> Tensor:
    return 0.1 * torch.randn(batch, 2, samples, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("hops", [7, 23])
def test_it_is_the_reference_network(name: str, hops: int) -> None:
    """At lengths that the reference takes: of 8 or 24 frames."""
    ours, theirs = both(name)
    mixture = noise(128 * hops, 2)
    expected = theirs(mixture).view(ours(mixture).shape)
    assert torch.equal(expected, ours(mixture))
    with torch.inference_mode():  # where images are overwritten
        assert torch.equal(expected, ours(mixture))


def test_at_other_lengths_the_end_is_silence() -> None:
    network = random_network(small_row("mdx23c", Path("x.ckpt")))
    mixture = noise(128 * 23)
    mixture[..., 2_500:] = 0
    assert torch.equal(network(mixture)[..., :2_500], network(mixture[..., :2_500]))


@pytest.mark.lower_precision
@pytest.mark.parametrize("name", one_in(2, NAMES))
def test_lower_precision_is_as_near_as_autocast(name: str) -> None:
    ours, theirs = both(name)
    mixture = noise(128 * 23)
    expected = theirs(mixture)
    least = agreement(expected, autocast(theirs, mixture)) - MARGIN_DB
    assert agreement(expected, autocast(ours, mixture).view(expected.shape)) > least


def test_layers_are_the_same_with_channels_last() -> None:
    random = torch.Generator().manual_seed(0)
    image = torch.randn(2, 8, 6, 16, generator=random) + 1
    last = image.contiguous(memory_format=torch.channels_last)
    layers: tuple[nn.Module, ...] = ChannelNorm(8), AlongBins(16, 4)
    with torch.no_grad():
        for layer in layers:
            layer.get_parameter("weight").normal_(generator=random)
            assert agreement(layer(image), layer(last)) > 110
            assert layer(last).is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(("strip", "calls"), [(1, 7), (500, 3), (800, 2)])
def test_a_large_image_is_convolved_in_strips(
    strip: int, calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    random = torch.Generator().manual_seed(0)
    convolution, image = Convolution(8, 4), torch.randn(2, 8, 7, 20, generator=random)
    expected = convolution(image)  # with gradients: at once
    monkeypatch.setattr(layers, "LARGE", image[0].numel())
    monkeypatch.setattr(layers, "STRIP", strip)
    convolved = Mock(wraps=F.conv2d)
    monkeypatch.setattr(F, "conv2d", convolved)
    with torch.inference_mode():
        assert agreement(expected, convolution(image)) > 130
    assert convolved.call_count == calls


def test_the_network_is_the_same_in_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    ours, _ = both("mdx23c")
    mixture = noise(128 * 23, 2)
    expected = ours(mixture)
    monkeypatch.setattr(layers, "LARGE", 1)
    monkeypatch.setattr(layers, "STRIP", 2_048)
    with torch.inference_mode():
        assert agreement(expected, ours(mixture)) > 100  # rounding grows by 40 dB


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"num_channels": 16}, "num_channels 16; the file has 8"),
        ({"growth": 4}, "growth 4; the file has 8"),
        ({"num_subbands": 2}, "num_subbands 2; the file has 4"),
        ({"num_scales": 3}, "num_scales 3; the file has 2"),
        ({"num_blocks_per_scale": 1}, "num_blocks_per_scale 1; the file has 2"),
        ({"dim_f": 128}, "dim_f 128; the file has 256"),
        ({"bottleneck_factor": 2}, "bottleneck_factor 2; the file has 4"),
        ({"sources": ("vocals",)}, "sources 1; the file has 2"),
    ],
)
def test_a_row_of_another_network_is_told_what_differs(
    change: dict[str, Any], complaint: str, tmp_path: Path
) -> None:
    row = small_row("mdx23c", tmp_path / "x.ckpt")
    path = saved(row)
    assert isinstance(row.parameters, Mdx23cParameters)
    if "sources" in change:
        other = replace(row, **change)
    else:
        other = replace(row, parameters=row.parameters.model_copy(update=change))
    with pytest.raises(UnsafeFile, match=rf"x\.ckpt: its manifest row says {complaint}; tensor "):
        load_model(other, path, CPU, torch.float32)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"num_scales": 10**9}, "num_scales: expected at most 16, found 1000000000"),
        ({"dim_f": 512}, r"dim_f: expected at most n_fft/2 \+ 1, found 512"),
        ({"dim_f": 250}, r"dim_f: expected a multiple of 16, at least 64, found 250"),
        ({"num_scales": 5}, r"dim_f: expected a multiple of 128, at least 512, found 256"),
        ({"hop": 257}, r"hop: expected at most n_fft/2, found 257"),
        ({"chunk_samples": 256}, r"chunk_samples: expected more than n_fft/2, found 256"),
        ({"growth": 0}, r"growth: expected a whole number above 0, found 0"),
    ],
)
def test_parameters_that_fit_no_network(change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        validate(Mdx23cParameters, {**MDX23C, **change}, "", ValueError)


def test_the_published_row_has_the_published_size() -> None:
    row = load_manifest().checkpoints["mdx23c-vocals"]
    assert isinstance(row.parameters, Mdx23cParameters)
    with torch.device("meta"):
        state = Mdx23c(row.parameters, len(row.sources)).state_dict()
        theirs = module_of(row).state_dict()
    assert (sum(value.numel() for value in state.values()), len(state)) == (111_990_272, 319)
    assert {key: value.shape for key, value in state.items()} == {
        key: value.shape for key, value in theirs.items()
    }


@pytest.mark.slow
def test_full_size(tmp_path: Path) -> None:
    """From its file, on the shortest mixture that the reference takes."""
    row = replace(load_manifest().checkpoints["mdx23c-vocals"], path=tmp_path / "x.ckpt")
    path, theirs, mixture = saved(row), module_of(row), noise(31 * 1_024)
    theirs.load_state_dict(random_network(row).state_dict())
    assert agreement(theirs(mixture), load_model(row, path, CPU, torch.float32)(mixture)) > 120
    rounded = autocast(theirs, mixture)
    least = agreement(theirs(mixture), rounded) - MARGIN_DB
    assert agreement(theirs(mixture), load_model(row, path, CPU, torch.bfloat16)(mixture)) > least
