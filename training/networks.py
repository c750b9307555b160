"""The networks that are trained here, with one way to call them: mixtures in, estimates of the sources out."""

import torch
from demucs.htdemucs import HTDemucs
from torch import Tensor, nn

from my_submission.audio import MODEL_SAMPLE_RATE
from my_submission.inference import ChunkModel
from my_submission.models.demucs import DemucsModel
from my_submission.models.mdx_net import MdxNetModel, Spectrogram
from my_submission.models.tfc_tdf import TfcTdfNet
from training.config import HTDemucsSettings, MdxNetSettings, ModelSettings


class MdxNet(nn.Module):
    """The TFC-TDF U-Net between an STFT and its inverse."""

    def __init__(self, settings: MdxNetSettings) -> None:
        super().__init__()
        self.network = TfcTdfNet(settings.network)
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
