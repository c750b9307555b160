"""The networks that are trained here, with one way to call them: mixtures in, estimates of the sources out."""

from typing import Any

import torch
from demucs.htdemucs import HTDemucs
from torch import Tensor, nn

from my_submission.models import ChunkModel
from my_submission.models.demucs import DemucsModel
from my_submission.models.mdx_net import MdxNetModel, Spectrogram
from my_submission.models.tfc_tdf import TfcTdfNet
from my_submission.signal.audio import MODEL_SAMPLE_RATE
from training.config import HTDemucsSettings, MdxNetSettings, ModelSettings

# Bins of a spectrogram reach hundreds where samples reach 1: the last layer's weights begin, and learn, this much
# larger than the others', or thousands of steps would pass before the network could speak up.
OUTPUT_SCALE = 8.0


class MdxNet(nn.Module):
    """The TFC-TDF U-Net between an STFT and its inverse."""

    def __init__(self, settings: MdxNetSettings) -> None:
        super().__init__()
        self.network = TfcTdfNet(settings.network)
        with torch.no_grad():
            self.network.final.weight.mul_(OUTPUT_SCALE)
        self.spectrogram = Spectrogram(settings.n_fft, settings.dim_f, settings.dim_t, settings.hop)

    def forward(self, mixtures: Tensor) -> Tensor:
        """(batch, 2, samples) -> (batch, 1, 2, samples) float32."""
        with torch.autocast(mixtures.device.type, enabled=False):
            spectrograms = self.spectrogram.forward(mixtures)
        estimates = self.network(spectrograms)
        with torch.autocast(mixtures.device.type, enabled=False):
            return self.spectrogram.inverse(estimates.float())[:, None]


def build_network(settings: ModelSettings) -> nn.Module:
    """A network with fresh weights from torch's global random state."""
    if isinstance(settings, MdxNetSettings):
        return MdxNet(settings)
    network: nn.Module = HTDemucs(
        list(settings.sources),
        samplerate=MODEL_SAMPLE_RATE,
        segment=settings.segment_seconds,
        **settings.arguments,
    )
    return network


def parameter_groups(network: nn.Module) -> list[dict[str, Any]]:
    """For the optimiser: parameters with `scale`, what the learning rate is multiplied by for them."""
    if not isinstance(network, MdxNet):
        return [{"params": list(network.parameters()), "scale": 1.0}]
    last = list(network.network.final.parameters())
    others = [value for value in network.parameters() if all(value is not other for other in last)]
    return [{"params": others, "scale": 1.0}, {"params": last, "scale": OUTPUT_SCALE}]


def training_samples(settings: ModelSettings) -> int:
    """The length of a training example: the only one that the network is meant for."""
    if isinstance(settings, MdxNetSettings):
        return settings.hop * (settings.dim_t - 1)
    return int(settings.segment_seconds * MODEL_SAMPLE_RATE)


def chunk_model(network: nn.Module, settings: ModelSettings, device: torch.device) -> ChunkModel:
    """The network as the project's own inference takes it; sets it to evaluation mode."""
    network.eval()
    if isinstance(settings, HTDemucsSettings):
        return DemucsModel(network, settings.sources, device, torch.float32)
    assert isinstance(network, MdxNet)
    return MdxNetModel(network.network, settings.sources, network.spectrogram, device)
