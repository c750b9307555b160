"""BandIt (Watcharasupat et al., arXiv 2309.02539) in both published versions: band-split RNNs, and a mask per source.

It is a network of one channel. Names and shapes of the parameters are those of version 1's files; `__init__.py` says
how the files of version 2 differ. In lower precision (autocast), the RNNs have it, which are 96 % of all products.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from my_submission.models.bandit.bands import bands_covering
from my_submission.models.bandit.gru import BidirectionalGru
from my_submission.models.bandit.layout import BanditLayout
from my_submission.models.recurrent import plus_layer
from my_submission.models.waveforms import in_float32

SEQUENCES_AT_A_TIME = 128
"""Of a GRU on the CPU; in float32 with AVX2, its products are the fastest at this number, too."""


class Bandit(nn.Module):
    """Mixtures (batch, 1, samples) -> estimates (batch, sources, 1, samples) float32. More than n_fft/2 samples.

    scale: what the spectrum is divided by: the root of the sum of the squared window, as torchaudio "normalizes".
    """

    def __init__(self, layout: BanditLayout, sources: Sequence[str]) -> None:
        super().__init__()
        self.layout = layout
        self.scale = math.sqrt(layout.n_fft * 3 / 8)
        self.band_split = BandSplit(layout)
        self.tf_model = BandModel(layout)
        self.mask_estim = nn.ModuleDict({source: MaskEstimator(layout) for source in sources})

    def forward(self, mixtures: Tensor, kept: Sequence[int] | None = None) -> Tensor:
        """kept: the sources to give, in this order; by default all."""
        estimators = list(self.mask_estim.values())
        chosen = estimators if kept is None else [estimators[place] for place in kept]
        with in_float32(mixtures):
            spectrum = self._transform(mixtures.float())
            features = self.band_split(torch.view_as_real(spectrum))
        features = self.tf_model(features)
        with in_float32(mixtures):
            masked = [spectrum * torch.view_as_complex(estimator(features)) for estimator in chosen]
            return self._inverse(torch.stack(masked, dim=1), mixtures.shape[-1])

    def _transform(self, mixtures: Tensor) -> Tensor:
        """(batch, 1, samples) -> (batch, frames, bins) complex."""
        spectrum = torch.stft(
            mixtures[:, 0],
            self.layout.n_fft,
            self.layout.hop,
            window=torch.hann_window(self.layout.n_fft, device=mixtures.device),
            pad_mode="constant" if self.layout.version == 1 else "reflect",
            return_complex=True,
        )
        return (spectrum / self.scale).transpose(1, 2).contiguous()

    def _inverse(self, spectrum: Tensor, samples: int) -> Tensor:
        """(batch, sources, frames, bins) complex -> (batch, sources, 1, samples)."""
        signals = torch.istft(
            (spectrum * self.scale).flatten(0, 1).transpose(1, 2),
            self.layout.n_fft,
            self.layout.hop,
            window=torch.hann_window(self.layout.n_fft, device=spectrum.device),
            length=samples,
        )
        return signals.reshape(*spectrum.shape[:2], 1, samples)


class BandSplit(nn.Module):
    """Each band of a spectrum, normalised and projected by layers of its own."""

    def __init__(self, layout: BanditLayout) -> None:
        super().__init__()
        self.bands = layout.bands()
        self.reals_first = layout.version == 1
        self.norm_fc_modules = nn.ModuleList(
            NormedLinear(2 * len(band), layout.emb_dim) for band in self.bands
        )

    def forward(self, parts: Tensor) -> Tensor:
        """(batch, frames, bins, real and imaginary) -> (frames, bands, batch, width)."""
        parts = parts.transpose(0, 1)
        features = []
        for band, layer in zip(self.bands, self.norm_fc_modules, strict=True):
            values = parts[:, :, band.start : band.stop]
            features.append(layer((values.transpose(-1, -2) if self.reals_first else values).flatten(-2)))
        return torch.stack(features, dim=1)


class NormedLinear(nn.Module):
    """A norm and a linear layer over the last axis: (…, before) -> (…, after)."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(before)
        self.fc = nn.Linear(before, after)

    def forward(self, values: Tensor) -> Tensor:
        projected: Tensor = self.fc(self.norm(values))
        return projected


class BandModel(nn.Module):
    """RNNs over the frames of each band and over the bands of each frame, in turn."""

    def __init__(self, layout: BanditLayout) -> None:
        super().__init__()
        self.seqband = nn.ModuleList(
            ResidualRnn(layout.emb_dim, layout.rnn_dim) for _ in range(2 * layout.n_sqm_modules)
        )

    def forward(self, features: Tensor) -> Tensor:
        """(frames, bands, batch, width) -> the same."""
        for layer in self.seqband:
            features = layer(features).transpose(0, 1)
        return features


class ResidualRnn(nn.Module):
    """An RNN over the first axis of (steps, …, …, width), whose memory the result may take."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.rnn = BidirectionalGru(width, hidden)
        self.fc = nn.Linear(2 * hidden, width)

    def forward(self, features: Tensor) -> Tensor:
        sequences = self.norm(features).flatten(1, 2)
        totals = plus_layer(features.flatten(1, 2), sequences, self._of_sequences, SEQUENCES_AT_A_TIME)
        return torch.unflatten(totals, 1, features.shape[1:3])

    def _of_sequences(self, sequences: Tensor) -> Tensor:
        """(steps, sequences, width) -> the same."""
        projected: Tensor = self.fc(self.rnn(sequences))
        return projected


class MaskEstimator(nn.Module):
    """A source's complex mask: where bands overlap, the mean of theirs."""

    def __init__(self, layout: BanditLayout) -> None:
        super().__init__()
        self.bands, self.bins = layout.bands(), layout.n_fft // 2 + 1
        self.norm_mlp = nn.ModuleList(
            BandMask(layout.emb_dim, layout.mlp_dim, 2 * len(band)) for band in self.bands
        )

    def forward(self, features: Tensor) -> Tensor:
        """(frames, bands, batch, width) -> (batch, frames, bins, real and imaginary)."""
        frames, _, batch, _ = features.shape
        total = features.new_zeros(frames, batch, self.bins, 2)
        for place, (band, layer) in enumerate(zip(self.bands, self.norm_mlp, strict=True)):
            total[:, :, band.start : band.stop] += torch.unflatten(layer(features[:, place]), -1, (-1, 2))
        covering = torch.tensor(bands_covering(self.bands), device=total.device)
        return (total / covering[:, None]).transpose(0, 1).contiguous()


class BandMask(nn.Module):
    """The mask of one band: (…, width) features -> (…, values)."""

    def __init__(self, width: int, hidden: int, values: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.hidden = nn.Sequential(nn.Linear(width, hidden), nn.Tanh())
        self.output = nn.Sequential(nn.Linear(hidden, 2 * values), nn.GLU(dim=-1))

    def forward(self, features: Tensor) -> Tensor:
        mask: Tensor = self.output(self.hidden(self.norm(features)))
        return mask
