"""The query encoder: HTS-AT, a hierarchy of transformers with windows over a log-mel spectrogram.

Source: Chen, Du, Zhu, Ma, Berg-Kirkpatrick, Dubnov: HTS-AT, a hierarchical token-semantic audio transformer for sound
classification and detection (ICASSP 2022); Liu et al.: Swin Transformer (ICCV 2021); and the authors' published code
(MIT). Names and shapes of the parameters are theirs. A query is what its tagger is given: the mean over all tokens
after the last norm. The tagger itself is not here.

Two seconds are 201 frames, where the network wants 1,024. As in their inference, the spectrogram is repeated five
times, stretched to that length by bicubic interpolation, and cut into four pieces, laid one above the other.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from my_submission.weights import UnsafeFile
from my_submission.weights.load import WRAPPERS, build, open_tensors
from my_submission.weights.shapes import count, size

SAMPLE_RATE = 32_000
SEGMENT_SAMPLES = 64_000
"""What is encoded at a time: 200 hops, 2 s."""
N_FFT, HOP = 1_024, 320
PATCH, WINDOW, IMAGE = 4, 8, 256
"""A patch's and a window's side, in bins or frames and in tokens, and that of the image in bins and frames. No tensor
that is always in a file tells the last."""
STAGES = 4
_QUIETEST = 1e-10
"""Powers below it count as it, before they become dB."""
_OTHER_WINDOW = -100.0
"""What is added to the attention between tokens that only the shift has brought into one window."""
_PREFIXES = ("", "sed_model.", "at_model.sed_model.")
"""Of the encoder's names: bare, in its own training's files, and in those of a separator that was trained with it."""
_MARK = "patch_embed.proj.weight"
_UNUSED = ("spectrogram_extractor.", "tscam_conv.", "head.")
_COMPUTED = (".relative_position_index", ".attn_mask")


@dataclass(frozen=True)
class EncoderLayout:
    """An encoder's size. dim: of a token in the first stage, twice as much in each further one. depths, heads: blocks
    and heads of each stage. bins: mel bands."""

    dim: int
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    bins: int

    @property
    def query_size(self) -> int:
        """How many numbers a query is."""
        return int(self.dim * 2 ** (STAGES - 1))


class QueryEncoder(nn.Module):
    """Segments (batch, SEGMENT_SAMPLES) float32 at 32 kHz -> (batch, query_size)."""

    def __init__(self, layout: EncoderLayout) -> None:
        super().__init__()
        self.layout = layout
        self.logmel_extractor = Bands(layout.bins)
        self.bn0 = nn.BatchNorm2d(layout.bins)
        self.patch_embed = Patches(layout.dim)
        side = IMAGE // PATCH
        self.layers = nn.ModuleList(
            Stage(
                layout.dim * 2**stage,
                side // 2**stage,
                layout.depths[stage],
                layout.heads[stage],
                last=stage == STAGES - 1,
            )
            for stage in range(STAGES)
        )
        self.norm = nn.LayerNorm(layout.query_size)

    def forward(self, segments: Tensor) -> Tensor:
        window = torch.hann_window(N_FFT, device=segments.device)
        spectra = torch.stft(segments, N_FFT, HOP, window=window, return_complex=True)
        powers = (
            torch.view_as_real(spectra).square().sum(-1).transpose(1, 2)
        )  # (batch, frames, bins of the FFT)
        loudness = self.logmel_extractor(powers)  # (batch, frames, bins)
        normed = self.bn0(loudness.transpose(1, 2)[..., None])[..., 0].transpose(1, 2)
        tokens = self.patch_embed(image_of(normed))
        for stage in self.layers:
            tokens = stage(tokens)
        query: Tensor = self.norm(tokens).flatten(1, 2).mean(1)
        return query


class Bands(nn.Module):
    """Mel bands in dB. The filters are those of the file."""

    def __init__(self, bins: int) -> None:
        super().__init__()
        self.melW = nn.Parameter(torch.zeros(N_FFT // 2 + 1, bins))

    def forward(self, powers: Tensor) -> Tensor:
        return 10 * torch.log10((powers @ self.melW).clamp_min(_QUIETEST))


def image_of(spectrogram: Tensor) -> Tensor:
    """(batch, frames, bins) -> (batch, 1, IMAGE, IMAGE): as many frames as fill it, in pieces one above the other."""
    batch, frames, bins = spectrogram.shape
    pieces = IMAGE // bins
    wanted = pieces * IMAGE
    repeated = spectrogram.repeat(1, wanted // frames, 1)[:, None]
    if repeated.shape[2] < wanted:
        repeated = F.interpolate(repeated, (wanted, bins), mode="bicubic", align_corners=True)
    stacked = (
        repeated[:, 0].reshape(batch, pieces, IMAGE, bins).transpose(2, 3)
    )  # (batch, pieces, bins, IMAGE)
    return stacked.reshape(batch, 1, pieces * bins, IMAGE)


class Patches(nn.Module):
    """Squares of an image as tokens, (batch, rows, columns, dim)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(1, dim, PATCH, stride=PATCH)
        self.norm = nn.LayerNorm(dim)

    def forward(self, image: Tensor) -> Tensor:
        tokens: Tensor = self.norm(self.proj(image).permute(0, 2, 3, 1))
        return tokens


class Stage(nn.Module):
    """Blocks at one resolution; all but the last stage then make one token of four."""

    def __init__(self, dim: int, side: int, depth: int, heads: int, *, last: bool) -> None:
        super().__init__()
        # Where one window covers everything, there is nothing to shift.
        shift = WINDOW // 2 if side > WINDOW else 0
        self.blocks = nn.ModuleList(
            SwinBlock(dim, side, heads, shift if number % 2 else 0) for number in range(depth)
        )
        self.downsample = None if last else Merge(dim)

    def forward(self, tokens: Tensor) -> Tensor:
        for block in self.blocks:
            tokens = block(tokens)
        return tokens if self.downsample is None else self.downsample(tokens)


class Merge(nn.Module):
    """Four neighbours become one token of twice the width."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * dim)
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """Of a square: upper left, lower left, upper right, lower right."""
        corners = [tokens[:, row::2, column::2] for column in (0, 1) for row in (0, 1)]
        merged: Tensor = self.reduction(self.norm(torch.cat(corners, dim=-1)))
        return merged


class SwinBlock(nn.Module):
    """Attention within windows, and two linear layers for each token by itself."""

    def __init__(self, dim: int, side: int, heads: int, shift: int) -> None:
        super().__init__()
        self.shift = shift
        self.norm1 = nn.LayerNorm(dim)
        self.attn = WindowAttention(dim, side, heads, shift)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim)

    def forward(self, tokens: Tensor) -> Tensor:
        """(batch, side, side, dim) -> the same."""
        moved = self.norm1(tokens).roll((-self.shift, -self.shift), (1, 2))
        attended = self.attn(moved).roll((self.shift, self.shift), (1, 2))
        tokens = tokens + attended
        result: Tensor = tokens + self.mlp(self.norm2(tokens))
        return result


class Mlp(nn.Module):
    """Two linear layers, four times as wide between them: (…, dim) -> (…, dim)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, 4 * dim)
        self.fc2 = nn.Linear(4 * dim, dim)

    def forward(self, tokens: Tensor) -> Tensor:
        result: Tensor = self.fc2(F.gelu(self.fc1(tokens)))
        return result


class WindowAttention(nn.Module):
    """Attention among the tokens of each window, with a learned bias for every distance in rows and columns."""

    def __init__(self, dim: int, side: int, heads: int, shift: int) -> None:
        super().__init__()
        self.heads = heads
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * WINDOW - 1) ** 2, heads))
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.distances: Tensor
        self.register_buffer("distances", distances(), persistent=False)
        self.strangers: Tensor | None
        self.register_buffer("strangers", strangers(side, shift) if shift else None, persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        """(batch, side, side, dim) -> the same."""
        batch, side, _, dim = tokens.shape
        windows = windowed(tokens)  # (batch, windows, tokens of a window, dim)
        parts = self.qkv(windows).unflatten(-1, (3, self.heads, -1)).permute(3, 0, 1, 4, 2, 5)
        query, key, value = parts.flatten(1, 2)  # each (batch · windows, heads, tokens, dim of a head)
        bias = self.relative_position_bias_table[self.distances].permute(2, 0, 1)
        if self.strangers is not None:
            bias = (bias + self.strangers[:, None]).repeat(batch, 1, 1, 1)
        attended = F.scaled_dot_product_attention(query, key, value, bias.expand(len(query), -1, -1, -1))
        mixed = self.proj(attended.transpose(1, 2).reshape(batch, -1, WINDOW**2, dim))
        return unwindowed(mixed, side)


def windowed(tokens: Tensor) -> Tensor:
    """(batch, side, side, dim) -> (batch, windows, tokens of a window, dim), row by row."""
    batch, side, _, dim = tokens.shape
    across = side // WINDOW
    rows = tokens.reshape(batch, across, WINDOW, across, WINDOW, dim)
    return rows.transpose(2, 3).flatten(3, 4).flatten(1, 2)


def unwindowed(windows: Tensor, side: int) -> Tensor:
    """The inverse of `windowed`."""
    batch, _, _, dim = windows.shape
    across = side // WINDOW
    rows = windows.reshape(batch, across, across, WINDOW, WINDOW, dim)
    return rows.transpose(2, 3).flatten(3, 4).flatten(1, 2)


def distances() -> Tensor:
    """The row of the table of biases for each pair of a window's tokens, (tokens, tokens): by distance in rows, then
    in columns."""
    places = torch.cartesian_prod(torch.arange(WINDOW), torch.arange(WINDOW))
    apart = places[:, None] - places[None] + WINDOW - 1
    return apart[..., 0] * (2 * WINDOW - 1) + apart[..., 1]


def strangers(side: int, shift: int) -> Tensor:
    """What is added to the attention of each pair in each window of a shifted image, (windows, tokens, tokens).

    A shift brings tokens of opposite edges into one window; they are not to attend to each other.
    """
    positions = torch.arange(side)
    zone = (positions >= side - WINDOW).long() + (positions >= side - shift).long()
    zones = windowed((3 * zone[:, None] + zone)[None, :, :, None])[0, :, :, 0]
    return torch.where(zones[:, :, None] == zones[:, None], 0.0, _OTHER_WINDOW)


def open_encoder(path: Path) -> QueryEncoder:
    """The encoder in a checkpoint: the authors' own file of it, or a separator's that holds it, too.

    Raises UnsafeFile if there is none in it, WeightsError, FileNotFoundError.
    """
    state = encoder_state(path, open_tensors(path, inside=WRAPPERS))
    layout = layout_of(path, state)
    return build(path, lambda: QueryEncoder(layout), state)


def encoder_state(path: Path, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The encoder's tensors among those of a file, under their own names, in float32."""
    prefix = next((prefix for prefix in _PREFIXES if prefix + _MARK in tensors), None)
    if prefix is None:
        raise UnsafeFile(
            f"{path}: expected the query encoder HTS-AT (a tensor {_MARK!r}), found none;"
            " give the file htsat_audioset_2048d.ckpt of the authors"
        )
    own = {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
    return {
        name: value.float() if value.is_floating_point() else value
        for name, value in own.items()
        if not name.startswith(_UNUSED) and not name.endswith(_COMPUTED)
    }


def layout_of(path: Path, state: Mapping[str, Tensor]) -> EncoderLayout:
    """An encoder's size, by the shapes of its tensors; UnsafeFile if they tell of none that this computes."""
    stages = count(state, "layers.")
    if stages != STAGES:
        raise UnsafeFile(f"{path}: expected an HTS-AT of {STAGES} stages, found {stages or 'none'}")
    layout = EncoderLayout(
        size(state, _MARK, 0) or 0,
        tuple(count(state, f"layers.{stage}.blocks.") or 0 for stage in range(STAGES)),
        tuple(
            size(state, f"layers.{stage}.blocks.0.attn.relative_position_bias_table", 1) or 0
            for stage in range(STAGES)
        ),
        size(state, "bn0.weight", 0) or 0,
    )
    if not layout.bins or IMAGE % layout.bins:
        raise UnsafeFile(f"{path}: expected mel bands that divide {IMAGE}, found {layout.bins}")
    for stage, heads in enumerate(layout.heads):
        width = layout.dim * 2**stage
        if not heads or width % heads:
            raise UnsafeFile(f"{path}: stage {stage}: expected heads that divide {width}, found {heads}")
    return layout
