"""What replaces a network's modules for speed computes what they computed; precision keeps its promises."""

import copy
from pathlib import Path
from typing import Any

import onnx
import onnx.numpy_helper
import pytest
import soundfile
import torch
from demucs.demucs import DConv
from demucs.htdemucs import HTDemucs
from torch import Tensor, nn

from my_submission.ensemble.preset import checkpoint_rows
from my_submission.ensemble.preset_reader import load_preset
from my_submission.models import fused, onnx_network
from my_submission.models.dconv import FoldedDConv, fold_dconv
from my_submission.models.demucs import DemucsModel
from my_submission.models.demucs_file import load_torch
from my_submission.models.htdemucs import FastHTDemucs, supported
from my_submission.models.htdemucs.attention import Attention
from my_submission.models.precision import computing, exact_float32
from my_submission.runtime.guarded import Guarded
from my_submission.runtime.pool import load_model
from my_submission.signal.chunking import Geometry
from my_submission.weights import Checkpoint, load_manifest, require
from tests.lower_precision import CPU, MARGIN_DB, agreement, autocast
from tests.random_checkpoints import demucs_arguments, save_demucs
from tests.thinned import one_in

pytestmark = pytest.mark.processor

DEMO = Path(__file__).parents[3] / "local_data" / "demo"
MANIFEST = load_manifest()
DTYPES = (torch.float32, torch.bfloat16)


def randomised(module: nn.Module) -> nn.Module:
    """With values in every parameter that matter: as they are made, scales are nearly zero and norms do nothing."""
    torch.manual_seed(0)
    for name, parameter in module.named_parameters():
        if name.endswith("scale") or parameter.dim() == 1:
            nn.init.normal_(parameter, 0.3, 0.5)
    return module.eval()


@pytest.mark.lower_precision
@pytest.mark.parametrize(
    ("arguments", "shape"),
    [
        ({"compress": 8}, (16, 16, 40)),
        ({"compress": 4, "attn": True, "lstm": True}, (2, 16, 40)),
        ({"depth": 3, "kernel": 1}, (1, 8, 1000)),
    ],
)
def test_a_folded_dconv_is_the_dconv(arguments: dict[str, int], shape: tuple[int, int, int]) -> None:
    network = nn.Sequential(randomised(DConv(shape[1], **arguments)))
    features = torch.randn(shape, generator=torch.Generator().manual_seed(1)) + 2.0
    with torch.no_grad():
        expected = network(features)
        lower = autocast(network, features)
        fold_dconv(network)
        assert isinstance(network[0], FoldedDConv)
        assert agreement(expected, network(features)) > 110
    folded = autocast(network, features)
    assert agreement(expected, features) < 20, "the branches matter"
    assert agreement(expected, folded) > agreement(expected, lower) - MARGIN_DB


def test_constant_features_do_not_divide_by_zero() -> None:
    network = nn.Sequential(randomised(DConv(8, compress=4)))
    with torch.no_grad():
        expected = network(torch.zeros(1, 8, 50))
        fold_dconv(network)
        assert agreement(expected, network(torch.zeros(1, 8, 50))) > 90


def test_a_dconv_of_another_form_is_left_alone() -> None:
    network = nn.Sequential(DConv(8, norm=False))
    fold_dconv(network)
    assert type(network[0]) is DConv


def attention(scale: float) -> tuple[nn.MultiheadAttention, Tensor]:
    """With scores of about the given size and biases, and factors for what comes out of it."""
    torch.manual_seed(0)
    module = nn.MultiheadAttention(32, 4, batch_first=True).eval()
    with torch.no_grad():
        module.in_proj_weight[:64] *= scale**0.5
        module.in_proj_bias.normal_()
        module.out_proj.bias.normal_()
    return module, torch.rand(32)


@pytest.mark.lower_precision
@pytest.mark.parametrize("tokens", [(1, 1), (335, 20), (336, 700), (1000, 337)])
def test_attention_is_multi_head_attention(tokens: tuple[int, int]) -> None:
    module, factors = attention(scale=4)
    generator = torch.Generator().manual_seed(0)
    query, key = (2 * torch.randn(2, count, 32, generator=generator) for count in tokens)
    with torch.no_grad():
        expected = factors * module(query, key, key, need_weights=False)[0]
        assert agreement(expected, Attention(module, factors, torch.float32)(query, key)) > 110
        lower = Attention(module, factors, torch.bfloat16)(query.bfloat16(), key.bfloat16())
        theirs = factors * written_out(module, query, key)
    assert agreement(expected, lower) > agreement(expected, theirs) - MARGIN_DB


def written_out(module: nn.MultiheadAttention, query: Tensor, key: Tensor) -> Tensor:
    """Attention in bfloat16 whose scores are rounded to it, as ours are; torch.s blockwise kernel does not."""
    with torch.autocast("cpu", torch.bfloat16):
        mixed: Tensor = module(query, key, key, need_weights=True)[0]
    return mixed.float()


@pytest.mark.lower_precision
def test_scores_beyond_what_an_exponential_can_hold() -> None:
    module, factors = attention(scale=300)
    query, key = 2 * torch.randn(2, 6, 400, 32, generator=torch.Generator().manual_seed(0))
    queries, keys = query.bfloat16(), key.bfloat16()
    with torch.no_grad():
        expected = factors * module(queries.float(), keys.float(), keys.float(), need_weights=False)[0]
        projected = nn.functional.linear(torch.cat([query, key], 1), module.in_proj_weight[:64])
        theirs = factors * written_out(module, queries, keys)
        assert (projected[0, :400, :8] @ projected[0, 400:, 32:40].T).max() * 8**-0.5 > 89, (
            "exp() is inf in float32"
        )
        lower = Attention(module, factors, torch.bfloat16)(queries, keys)
    assert (
        agreement(expected, lower) > agreement(expected, theirs) - 2 * MARGIN_DB
    )  # a few wrong maxima are all


@pytest.mark.lower_precision
@pytest.mark.parametrize("name", one_in(4, ["htdemucs", "htdemucs_6s", "hdemucs_mmi", "dnr_a778de4a"]))
def test_a_whole_network_agrees_in_both_precisions(name: str, tmp_path: Path) -> None:
    checkpoint = MANIFEST.checkpoints[name]
    path = save_demucs(name, tmp_path / checkpoint.file, small=True, seed=0)
    theirs = load_torch(path, checkpoint).eval()
    mixture = 0.1 * torch.randn(1, 2, 13_230, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = theirs(mixture)
    exact, lower = (load_model(checkpoint, path, CPU, dtype)(mixture) for dtype in DTYPES)
    assert exact.dtype == lower.dtype == torch.float32
    rounded = autocast(theirs, mixture)
    for source in range(expected.shape[1]):
        true = expected[:, source]
        assert agreement(true, exact[:, source]) > 90, source
        least = agreement(true, rounded[:, source]) - MARGIN_DB
        assert agreement(true, lower[:, source]) > least, source


def test_every_dconv_of_hdemucs_is_replaced() -> None:
    klass, arguments = demucs_arguments("hdemucs_mmi", small=True)
    network = klass(**arguments)
    dconvs = sum(isinstance(module, DConv) for module in network.modules())
    fold_dconv(network)
    assert [module for module in network.modules() if isinstance(module, DConv | nn.MultiheadAttention)] == []
    assert sum(isinstance(module, FoldedDConv) for module in network.modules()) == dconvs > 0


VARIANTS = [
    {"depth": 4, "nfft": 4096},
    {"bottom_channels": 0},
    {"freq_emb": 0.0, "t_norm_in": False, "t_norm_out": False, "t_layer_scale": False},
    {"t_cross_first": True, "t_norm_in_group": True, "t_weight_pos_embed": 0.3},
    {"dconv_mode": 1, "context": 0, "context_enc": 1, "use_train_segment": False},
    {"audio_channels": 1, "dconv_depth": 1, "dconv_comp": 2, "growth": 1},
]
OTHERS = [
    {"t_layers": 0},
    {"t_norm_first": False},
    {"t_gelu": False},
    {"t_emb": "cape"},
    {"t_group_norm": True},
    {"norm_starts": 2},
    {"rewrite": False},
    {"multi_freqs": [0.5]},
    {"cac": False},
    {"depth": 5, "nfft": 4096},
]


def network_of(changes: dict[str, Any]) -> HTDemucs:
    torch.manual_seed(0)
    _, arguments = demucs_arguments("htdemucs", small=True)
    network = HTDemucs(**arguments | changes)
    randomised(network)
    return network


@pytest.mark.lower_precision
@pytest.mark.parametrize("plain", one_in(2, [False, True]))
@pytest.mark.parametrize("changes", one_in(8, VARIANTS))
def test_htdemucs_in_another_layout_is_the_network(
    changes: dict[str, Any], plain: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """plain: as a build of torch without oneDNN has it."""
    if plain:
        monkeypatch.setattr(fused, "available", lambda dtype: False)
    network = network_of(changes)
    assert supported(network)
    batch = (
        0.1 * torch.randn(2, network.audio_channels, 10_000, generator=torch.Generator().manual_seed(0))
        + 0.05
    )
    with torch.inference_mode():
        expected = network(batch)
        found = FastHTDemucs(network, torch.float32)(batch)
        assert found.shape == expected.shape
        assert agreement(expected, found) > 80  # 95 and more
        with computing(CPU, torch.bfloat16):
            lower = FastHTDemucs(network, torch.bfloat16)(batch)
    assert agreement(expected, lower) > agreement(expected, autocast(network, batch)) - MARGIN_DB


@pytest.mark.thorough
@pytest.mark.lower_precision
@pytest.mark.parametrize("changes", OTHERS)
def test_an_htdemucs_of_another_form_runs_as_it_stands(changes: dict[str, Any]) -> None:
    """In lower precision it computes what autocast does once its DConvs are folded, layer by layer."""
    network = network_of(changes)
    assert not supported(network)
    sources = tuple(network.sources)
    batch = 0.1 * torch.randn(1, 2, 10_000, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = network(batch)
        lower = DemucsModel(copy.deepcopy(network), sources, CPU, torch.bfloat16)(batch)
        assert agreement(expected, DemucsModel(network, sources, CPU, torch.float32)(batch)) > 90
    fold_dconv(network)
    theirs = autocast(network, batch)
    # 20 dB where a sum is taken in another order, 270 elsewhere.
    assert agreement(theirs, lower) > agreement(expected, theirs) + 10


class Fake:
    """Answers one value everywhere."""

    sources = ("vocals",)
    geometry = Geometry(chunk_samples=4, short_chunk="as_is", least_samples=1)
    bytes_per_sample = 1

    def __init__(self, value: float) -> None:
        self.value = value
        self.calls = 0

    def __call__(self, chunks: Tensor) -> Tensor:
        self.calls += 1
        return torch.full((len(chunks), 1, *chunks.shape[1:]), self.value)


@pytest.mark.parametrize("value", [float("inf"), float("-inf"), float("nan")])
def test_what_overflows_is_computed_again_in_float32(value: float, caplog: pytest.LogCaptureFixture) -> None:
    lower, exact, loads = Fake(value), Fake(0.5), []
    guarded = Guarded("fragile", lower, lambda: loads.append(1) or exact)  # type: ignore[func-returns-value]
    chunks = torch.zeros(2, 2, 4)
    for _ in range(2):
        assert guarded(chunks).eq(0.5).all()
    assert "fragile: inf or nan in lower precision" in caplog.text
    assert (lower.calls, exact.calls, len(loads)) == (2, 2, 1)
    lower.value = 0.25
    assert guarded(chunks).eq(0.25).all()
    assert exact.calls == 2
    lower.value = exact.value = value
    with pytest.raises(FloatingPointError, match="fragile: inf or nan even in float32"):
        guarded(chunks)


@pytest.mark.parametrize("before", [True, False])
def test_float32_on_a_gpu_is_not_tf32(before: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", before)
    with exact_float32(torch.device("cuda", 0)):
        assert not torch.backends.cudnn.allow_tf32
        assert not torch.backends.cuda.matmul.allow_tf32
    assert torch.backends.cudnn.allow_tf32 is before
    with exact_float32(CPU):
        assert torch.backends.cudnn.allow_tf32 is before


@pytest.fixture
def vocals() -> tuple[Checkpoint, Path, Tensor]:
    """The demo's MDX-Net: its row, its file, and a chunk of music."""
    (row,) = (row for row in checkpoint_rows(load_preset("mdx-demo")) if row.architecture == "mdx_net")
    path = require([row], preset="mdx-demo")[row.name]
    song, _ = soundfile.read(DEMO / "music" / "song_1" / "mixture.flac", dtype="float32")
    samples = load_model(row, path, CPU, torch.float32).geometry.read_samples
    return row, path, torch.from_numpy(song.T.copy())[None, :, :samples]


@pytest.mark.thorough
@pytest.mark.lower_precision
def test_mdx_net_in_bfloat16_keeps_exact_what_is_cheap(
    vocals: tuple[Checkpoint, Path, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each of the two is worth a decibel: float32 at the end, and two numbers a weight in the layers that halve."""
    row, path, chunk = vocals
    exact, lower = (load_model(row, path, CPU, dtype)(chunk) for dtype in DTYPES)
    graph = onnx.load(str(path))
    halving = {
        node.input[1] for node in graph.graph.node if node.op_type == "Conv" and strides(node) == [2, 2]
    }
    assert halving
    for weight in graph.graph.initializer:
        if weight.name in halving:
            rounded = torch.from_numpy(onnx.numpy_helper.to_array(weight).copy()).bfloat16().float()
            weight.CopyFrom(onnx.numpy_helper.from_array(rounded.numpy(), weight.name))
    onnx.save(graph, str(tmp_path / path.name))
    one_number_a_weight = load_model(row, tmp_path / path.name, CPU, torch.bfloat16)(chunk)
    monkeypatch.setattr(onnx_network, "_ending", lambda nodes, output: set())
    rounded_end = load_model(row, path, CPU, torch.bfloat16)(chunk)
    for worse in (one_number_a_weight, rounded_end):
        assert agreement(exact, lower) > agreement(exact, worse) + 0.3


def strides(node: onnx.NodeProto) -> list[int]:
    """Of a convolution in an ONNX graph."""
    return next((list(item.ints) for item in node.attribute if item.name == "strides"), [1, 1])
