"""SCNet: equal to the reference package's; its masks are complex; its errors name parameters."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from my_submission.models.scnet import ScNetParameters
from my_submission.models.scnet.network import DualPath, ScNet
from my_submission.runtime.pool import load_model
from my_submission.schema import validate
from my_submission.weights import UnsafeFile, load_manifest
from tests.lower_precision import CPU, MARGIN_DB, agreement, autocast
from tests.reference_networks import module_of
from tests.small_networks import SCNET, random_network, saved, small_row
from tests.thinned import one_in

pytestmark = pytest.mark.processor

PUBLISHED = {  # name -> parameters, keys of the state dict
    "scnet-xl": (54_006_896, 420),
    "scnet-xl-ihf": (53_466_800, 510),
    "scnet-large": (42_181_232, 372),
    "scnet-large-starrytong": (42_181_232, 372),
}


def both(name: str) -> tuple[nn.Module, nn.Module]:
    """Our network and theirs, with the same weights."""
    row = small_row(name, Path("x.ckpt"))
    ours, theirs = random_network(row), module_of(row)
    theirs.load_state_dict(ours.state_dict())
    return ours, theirs


def noise(samples: int, batch: int = 1) -> Tensor:
    return 0.1 * torch.randn(batch, 2, samples, generator=torch.Generator().manual_seed(0))


@pytest.mark.filterwarnings("ignore:A window was not provided")
@pytest.mark.parametrize("name", one_in(2, ["scnet", "scnet-ihf"]))
@pytest.mark.parametrize("samples", one_in(4, [3_073, 300, 2_944, 3_072]))
def test_it_is_the_reference_network(name: str, samples: int) -> None:
    ours, theirs = both(name)
    expected = theirs(noise(samples, 2))
    assert agreement(expected, ours(noise(samples, 2))) > 120
    with torch.inference_mode():  # where grids are overwritten
        assert agreement(expected, ours(noise(samples, 2))) > 120
        assert agreement(expected[:1], ours(noise(samples, 2)[:1])) > 120


@pytest.mark.thorough
@pytest.mark.lower_precision
@pytest.mark.filterwarnings("ignore:A window was not provided")
@pytest.mark.parametrize("name", ["scnet", "scnet-ihf"])
def test_lower_precision_is_as_near_as_autocast(name: str) -> None:
    ours, theirs = both(name)
    mixture = noise(3_000)
    expected = theirs(mixture)
    least = agreement(expected, autocast(theirs, mixture)) - MARGIN_DB
    assert agreement(expected, autocast(ours, mixture)) > least


@pytest.mark.lower_precision
def test_sequences_that_fill_a_block_up_change_nothing() -> None:
    """In lower precision only: 17 sequences become 32."""
    torch.manual_seed(0)
    layer = DualPath(8, 1).eval().requires_grad_(False)
    grid = torch.randn(1, 17, 17, 8)
    assert agreement(layer(grid.clone()), autocast(layer, grid)) > 40


def constant_mask(parts: tuple[float, float]) -> ScNet:
    """A network whose mask is one complex number for all sources, whatever it hears."""
    network = random_network(small_row("scnet-masked", Path("x.ckpt")))
    assert isinstance(network, ScNet)
    last = network.mask_layer[2]
    assert isinstance(last, nn.Conv2d)
    assert last.bias is not None
    last.weight.zero_()
    last.bias.copy_(torch.tensor(parts).atanh().repeat(last.out_channels // 2))
    return network


def test_a_mask_is_complex_and_for_the_mixture_as_it_came() -> None:
    """By a real number it scales, by an imaginary one it turns a cosine by a quarter of a turn."""
    angles = 2 * math.pi * torch.arange(4_000) * 16 / 512
    mixture = torch.stack([angles.cos(), 0.5 * angles.cos()])[None]
    turned = torch.stack([-angles.sin(), -0.5 * angles.sin()])[None]
    for parts, expected in (((0.75, 0.0), 0.75 * mixture), ((0.0, 0.5), 0.5 * turned)):
        estimates = constant_mask(parts)(mixture)
        assert estimates.shape == (1, 4, 2, 4_000)
        inside = slice(512, -512)  # the ends are reflected, which a sine is not
        for estimate in estimates.unbind(1):
            assert agreement(expected[..., inside], estimate[..., inside]) > 100


def test_a_masked_network_hears_the_place_of_bins() -> None:
    network = random_network(small_row("scnet-masked", Path("x.ckpt")))
    assert isinstance(network, ScNet)
    before = network(noise(3_000))
    network.pos_embed_f.add_(0.5)
    assert agreement(before, network(noise(3_000))) < 60


def test_a_normalised_network_knows_no_level() -> None:
    network = random_network(small_row("scnet-normalised", Path("x.ckpt")))
    before = network(noise(3_000))
    louder = network(7 * noise(3_000) + 0.25)
    assert agreement(before, (louder - 0.25) / 7) > 90
    plain = random_network(small_row("scnet", Path("x.ckpt")))
    plain.load_state_dict(network.state_dict())
    mono = noise(3_000).mean(dim=1)
    deviation, mean = mono.std(correction=0), mono.mean()
    expected = plain((noise(3_000) - mean) / deviation) * deviation + mean
    assert agreement(expected, before) > 110


@pytest.mark.thorough
@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"dims": (4, 8, 32)}, r"dims \(4, 8, 32\); the file has \(4, 8, 16\)"),
        ({"dims": (4, 8, 16, 16)}, r"dims \(4, 8, 16, 16\); the file has \(4, 8, 16\)"),
        ({"band_kernels": (3, 8, 16)}, r"band_kernels \(3, 8, 16\); the file has \(3, 4, 16\)"),
        ({"conv_depths": (1, 1, 1)}, r"conv_depths \(1, 1, 1\); the file has \(3, 2, 1\)"),
        ({"compress": 2}, r"compress 2; the file has 4"),
        ({"conv_kernel": 5}, r"conv_kernel 5; the file has 3"),
        ({"num_dplayer": 6}, r"num_dplayer 6; the file has 2"),
        ({"expand": 2}, r"expand 2; the file has 1"),
        ({"masked": True}, r"masked True; the file has False"),
        ({"sources": ("vocals", "other")}, r"sources 2; the file has 4"),
    ],
)
def test_a_row_of_another_network_is_told_what_differs(
    change: dict[str, Any], complaint: str, tmp_path: Path
) -> None:
    row = small_row("scnet", tmp_path / "x.ckpt")
    path = saved(row)
    assert isinstance(row.parameters, ScNetParameters)
    if "sources" in change:
        other = replace(row, **change)
    else:
        other = replace(row, parameters=row.parameters.model_copy(update=change))
    with pytest.raises(UnsafeFile, match=rf"x\.ckpt: its manifest row says {complaint}; tensor "):
        load_model(other, path, CPU, torch.float32)


def test_a_file_of_something_else_is_told_only_the_tensor(tmp_path: Path) -> None:
    row = small_row("scnet", tmp_path / "x.ckpt")
    assert row.path is not None
    torch.save({"encoder.0.weight": torch.zeros(()), "separation_net.dp_modules.x": torch.zeros(1)}, row.path)
    with pytest.raises(UnsafeFile, match=r"x\.ckpt: tensor 'decoder"):
        load_model(row, row.path, CPU, torch.float32)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"dims": (2, 8)}, r"dims: expected 4 as the first, found \[2, 8\]"),
        ({"dims": (4,)}, r"dims: expected at least 2 entries"),
        ({"compress": 16}, r"compress: expected at most 8, found 16"),
        ({"conv_kernel": 4}, r"conv_kernel: expected an odd number, found 4"),
        ({"num_dplayer": 3}, r"num_dplayer: expected an even number, found 3"),
        ({"n_fft": 511}, r"n_fft: expected an even number, found 511"),
        ({"n_fft": 2, "hop": 1}, r"n_fft: a band would have no bins, found 2"),
        ({"band_shares": (0.2, 0.3, 0.4)}, r"band_shares: expected a sum of 1"),
        ({"band_shares": (0.5, 0.5)}, r"band_shares: expected three numbers above 0"),
        ({"band_kernels": (3, 2, 16)}, r"band_kernels: expected no less than the strides"),
        ({"hop": 257}, r"hop: expected at most n_fft/2, found 257"),
        ({"chunk_samples": 256}, r"chunk_samples: expected more than n_fft/2, found 256"),
    ],
)
def test_parameters_that_fit_no_network(change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        validate(ScNetParameters, {**SCNET, **change}, "", ValueError)


@pytest.mark.parametrize("name", one_in(4, PUBLISHED))
def test_published_rows_have_the_published_size(name: str) -> None:
    row = load_manifest().checkpoints[name]
    assert isinstance(row.parameters, ScNetParameters)
    with torch.device("meta"):
        state = ScNet(row.parameters, len(row.sources)).state_dict()
        theirs = module_of(row).state_dict()
    assert (sum(value.numel() for value in state.values()), len(state)) == PUBLISHED[name]
    assert {key: value.shape for key, value in state.items()} == {
        key: value.shape for key, value in theirs.items()
    }


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:A window was not provided")
def test_full_size(tmp_path: Path) -> None:
    """From its file, in both precisions, on a second."""
    row = replace(load_manifest().checkpoints["scnet-xl-ihf"], path=tmp_path / "x.ckpt")
    path, theirs, mixture = saved(row), module_of(row), noise(44_100)
    theirs.load_state_dict(random_network(row).state_dict())
    expected, rounded = theirs(mixture), autocast(theirs, mixture)
    for dtype, least in ((torch.float32, 120.0), (torch.bfloat16, 0.0)):
        model = load_model(row, path, CPU, dtype)
        for place, estimate in enumerate(model(mixture).unbind(1)):
            true = expected[:, place]
            assert agreement(true, estimate) > (least or agreement(true, rounded[:, place]) - MARGIN_DB)
