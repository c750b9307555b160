"""The whole network: spectrogram and waveform, encoders, transformer, decoders, and back to one waveform."""

import math

import torch
from demucs.hdemucs import pad1d
from demucs.htdemucs import HTDemucs
from demucs.spec import spectro
from torch import Tensor, nn

from my_submission.models.htdemucs import layers, transformer
from my_submission.models.htdemucs.layers import Decoder, Encoder
from my_submission.models.htdemucs.transformer import Transformer


def supported(network: nn.Module) -> bool:
    """Whether a network is made of what this package computes, as all published HTDemucs checkpoints are."""
    return (
        isinstance(network, HTDemucs)
        and network.cac
        and len(network.encoder) == len(network.tencoder)
        and all(
            map(layers.supported, [*network.encoder, *network.tencoder, *network.decoder, *network.tdecoder])
        )
        and transformer.supported(network.crosstransformer)
    )


class FastHTDemucs(nn.Module):
    """The network with weights of one dtype. It holds no parameters: nothing here is for training."""

    def __init__(self, network: HTDemucs, dtype: torch.dtype) -> None:
        super().__init__()
        assert supported(network)
        self._sources = len(network.sources)
        self._nfft, self._hop = network.nfft, network.hop_length
        self._training_samples = int(network.segment * network.samplerate) if network.use_train_segment else 0
        self._dtype = dtype
        self._encoder = [Encoder(layer, dtype) for layer in network.encoder]
        self._encoder_t = [Encoder(layer, dtype) for layer in network.tencoder]
        self._decoder = [Decoder(layer, dtype) for layer in network.decoder]
        self._decoder_t = [Decoder(layer, dtype) for layer in network.tdecoder]
        self._embedding = None
        if network.freq_emb is not None:
            embedding = network.freq_emb_scale * network.freq_emb.weight.detach()
            self._embedding = embedding[:, None]  # (rows, 1, channels) float32
        self._transformer = Transformer(network, dtype)
        self._margin = network.hop_length // 2 * 3  # samples that the original adds at each end
        # All constant factors of the inverse STFT at once: the original's STFT is normalised by √nfft, and the
        # squares of overlapping Hann windows add up to 3/8 · nfft/hop at every sample. So no division
        # by an envelope.
        window = torch.hann_window(network.nfft)
        self._window = window * (network.nfft**0.5 / (3 / 8 * network.nfft / network.hop_length))

    def forward(self, mixture: Tensor) -> Tensor:
        """(batch, channels, samples) float32 -> (batch, sources, channels, samples) float32.

        Like the original, a network with a training segment takes at most that many samples.
        """
        length = mixture.shape[-1]
        if length < self._training_samples:
            mixture = nn.functional.pad(mixture, (0, self._training_samples - length))
        samples = mixture.shape[-1]
        values, mean, std = _normalised(self._spectrum(mixture))
        values_t, mean_t, std_t = _normalised(mixture.transpose(1, 2)[:, None])
        grid, grid_t = values.to(self._dtype), values_t.to(self._dtype)

        skips = []
        for number, (encode, encode_t) in enumerate(zip(self._encoder, self._encoder_t, strict=True)):
            rows, samples_t = grid.shape[1], grid_t.shape[2]
            grid, grid_t = encode(grid), encode_t(grid_t)
            if number == 0 and self._embedding is not None:
                # In float32: with the embedding rounded to bfloat16, one source agrees 0.2 dB less well with float32
                # (benchmarks/README.md).
                grid = grid.float().add_(self._embedding).to(self._dtype)
            # Strides round sizes up; the decoder cuts its output back to these.
            skips.append((grid, rows, grid_t, samples_t))
        grid, grid_t = self._transformer(grid, grid_t)
        for decode, decode_t in zip(self._decoder, self._decoder_t, strict=True):
            skip, rows, skip_t, samples_t = skips.pop()
            grid, grid_t = decode(grid, skip, rows), decode_t(grid_t, skip_t, samples_t)

        estimates = self._waveform(grid.float().mul_(std).add_(mean), samples)
        estimates += grid_t.float().mul_(std_t).add_(mean_t)[:, 0].transpose(1, 2)
        return estimates.view(len(mixture), self._sources, -1, samples)[..., :length]

    def _spectrum(self, mixture: Tensor) -> Tensor:
        """(batch, channels, samples) -> (batch, bins, frames, channels · 2), as the original's `_spec`.

        The original drops the highest bin and two frames at each end.
        """
        frames = math.ceil(mixture.shape[-1] / self._hop)
        margin = self._margin
        padded = pad1d(mixture, (margin, margin + frames * self._hop - mixture.shape[-1]), mode="reflect")
        spectrum = spectro(padded, self._nfft, self._hop)[..., :-1, 2 : 2 + frames]
        return torch.view_as_real(spectrum).permute(0, 2, 3, 1, 4).flatten(3)

    def _waveform(self, spectrum: Tensor, samples: int) -> Tensor:
        """(batch, bins, frames, sources · channels · 2) -> (batch, sources · channels, samples).

        As the original's `_ispec`. The frames, and frames of silence around them, reach far enough beyond both ends
        that every kept sample lies in `overlap` of them, so that the window's constant factor (see above) holds.
        """
        nfft, hop = self._nfft, self._hop
        overlap = nfft // hop
        values = torch.view_as_complex(spectrum.view(*spectrum.shape[:3], -1, 2)).permute(0, 3, 2, 1)
        # (batch, channels, frames, nfft)
        frames = torch.fft.irfft(values.contiguous(), nfft).mul_(self._window)
        number = frames.shape[2]
        waveform = frames.new_zeros(*frames.shape[:2], number + overlap - 1, hop)
        # Overlap-add in slices of a hop each: a few long sums instead of one short sum per frame.
        for part, piece in enumerate(torch.split(frames, hop, dim=3)):
            waveform[:, :, part : part + number] += piece
        start = nfft // 2 + self._margin - 2 * hop  # the original begins with two frames of silence
        kept: Tensor = waveform.flatten(2).narrow(2, start, samples)
        return kept


def _normalised(grid: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """A grid minus its mean, over its deviation; and both of them, each (batch, 1, 1, 1)."""
    mean = grid.mean(dim=(1, 2, 3), keepdim=True)
    std = grid.std(dim=(1, 2, 3), keepdim=True)
    return (grid - mean).div_(1e-5 + std), mean, std
