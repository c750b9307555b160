"""The separator: a U-Net over magnitudes that a query conditions at every convolution.

Source: Chen, Du, Zhu, Ma, Berg-Kirkpatrick, Dubnov: Zero-shot Audio Source Separation through Query-based Learning
from Weakly-labeled Data (AAAI 2022), and the authors' published code (MIT). Names and shapes of the parameters are
theirs. As there:

- the first norm is over the bins, before the last of them is left out, so that six halvings come out even;
- that bin's mask is then the sigmoid of zero, a half;
- frames are zeros up to a multiple of 64, after the norm;
- a query is added after a layer's ReLU, not before it.

They divide by the mixture's magnitude, at least 1e-10, to have its phase, and multiply by it again. Here the spectrum
is multiplied by the mask at once, which differs only where there is less than that.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from my_submission.models.waveforms import in_float32

LEVELS = 6
"""Halvings of frames and bins on the way to the middle; the files' names have them."""
MULTIPLE = 2**LEVELS


class Separator(nn.Module):
    """Mixtures (batch, 1, samples) and queries (sources, query_size) -> estimates (batch, sources, 1, samples).

    More than n_fft/2 samples. channels: of the first level; each further one has twice as many.
    """

    def __init__(self, n_fft: int, hop: int, channels: int, query_size: int) -> None:
        super().__init__()
        self.n_fft, self.hop = n_fft, hop
        widths = [channels * 2**level for level in range(LEVELS + 1)]
        self.bn0 = nn.BatchNorm2d(n_fft // 2 + 1)
        for level in range(LEVELS):
            before = widths[level - 1] if level else 1
            setattr(self, f"encoder_block{level + 1}", Encoder(before, widths[level], query_size))
        self.conv_block7 = ConvBlock(widths[-2], widths[-1], query_size)
        for level in range(LEVELS):
            before = widths[LEVELS - level]
            setattr(self, f"decoder_block{level + 1}", Decoder(before, before // 2, query_size))
        self.after_conv_block1 = ConvBlock(channels, channels, query_size)
        self.after_conv2 = nn.Conv2d(channels, 1, 1)

    def forward(self, mixtures: Tensor, queries: Tensor) -> Tensor:
        with in_float32(mixtures):
            window = torch.hann_window(self.n_fft, device=mixtures.device)
            spectra = torch.stft(
                mixtures[:, 0].float(), self.n_fft, self.hop, window=window, return_complex=True
            )
            image = self.bn0(spectra.abs()[..., None])  # (batch, bins, frames, 1)
        image = image.permute(0, 3, 2, 1)[..., :-1]  # (batch, 1, frames, bins)
        frames = image.shape[2]
        image = F.pad(image, (0, 0, 0, -frames % MULTIPLE))
        estimates = []
        for query in queries:  # one by one, since an image at the first level is large
            logits = self._processed(image, query.expand(len(image), -1))[:, 0, :frames]
            with in_float32(mixtures):
                masks = torch.sigmoid(F.pad(logits.float(), (0, 1))).transpose(1, 2)  # (batch, bins, frames)
                masked = masks * spectra
                estimates.append(
                    torch.istft(masked, self.n_fft, self.hop, window=window, length=mixtures.shape[-1])
                )
        return torch.stack(estimates, dim=1)[:, :, None]

    def _processed(self, image: Tensor, queries: Tensor) -> Tensor:
        """(batch, 1, frames, bins) and a query for each -> the masks before their sigmoid, of that shape."""
        skips: list[Tensor] = []
        for level in range(1, LEVELS + 1):
            skips.append(getattr(self, f"encoder_block{level}")(image, queries))
            image = F.avg_pool2d(skips[-1], 2)
        image = self.conv_block7(image, queries)
        for level in range(1, LEVELS + 1):
            image = getattr(self, f"decoder_block{level}")(image, skips.pop(), queries)
        masks: Tensor = self.after_conv2(self.after_conv_block1(image, queries))
        return masks


class ConvBlock(nn.Module):
    """Two convolutions; what each makes of the query is added to all of an image alike."""

    def __init__(self, before: int, channels: int, query_size: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.emb1 = nn.Linear(query_size, channels)
        self.emb2 = nn.Linear(query_size, channels)

    def forward(self, image: Tensor, queries: Tensor) -> Tensor:
        image = conditioned(self.bn1(self.conv1(image)), self.emb1(queries))
        return conditioned(self.bn2(self.conv2(image)), self.emb2(queries))


class Encoder(nn.Module):
    """A level on the way down, before its halving."""

    def __init__(self, before: int, channels: int, query_size: int) -> None:
        super().__init__()
        self.conv_block = ConvBlock(before, channels, query_size)

    def forward(self, image: Tensor, queries: Tensor) -> Tensor:
        convolved: Tensor = self.conv_block(image, queries)
        return convolved


class Decoder(nn.Module):
    """A level on the way up."""

    def __init__(self, before: int, channels: int, query_size: int) -> None:
        super().__init__()
        self.conv1 = nn.ConvTranspose2d(before, channels, 3, stride=2, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv_block2 = ConvBlock(2 * channels, channels, query_size)
        self.emb1 = nn.Linear(query_size, channels)

    def forward(self, image: Tensor, skip: Tensor, queries: Tensor) -> Tensor:
        """skip: what the way down made at this level, twice the image's frames and bins."""
        image = conditioned(self.bn1(self.conv1(image)), self.emb1(queries))
        joined = torch.cat([image[..., :-1, :-1], skip], dim=1)
        convolved: Tensor = self.conv_block2(joined, queries)
        return convolved


def conditioned(image: Tensor, shifts: Tensor) -> Tensor:
    """(batch, channels, frames, bins), rectified, and (batch, channels) added to it."""
    return F.relu(image) + shifts[:, :, None, None]


class Queried(nn.Module):
    """A separator with the queries of its sources, as `WaveformModel` calls it."""

    def __init__(self, separator: Separator, queries: Tensor) -> None:
        super().__init__()
        self.separator = separator
        self.queries: Tensor
        self.register_buffer("queries", queries, persistent=False)

    def forward(self, mixtures: Tensor, kept: Sequence[int] | None = None) -> Tensor:
        """(batch, 1, samples) -> (batch, sources, 1, samples). kept: the sources to give, by default all."""
        estimates: Tensor = self.separator(
            mixtures, self.queries if kept is None else self.queries[list(kept)]
        )
        return estimates
