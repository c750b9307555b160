"""The TFC-TDF U-Net of MDX-Net: the mixture's spectrogram in, one target's spectrogram out.

Structure of the released networks (Kim et al., "KUIELab-MDX-Net", arXiv 2111.12203, section 2, and the
authors' training code): a 1×1 convolution in, an encoder and a decoder of TFC-TDF blocks joined by
multiplicative skips, a 1×1 convolution out.  Kim_* and UVR-MDX-NET-* are
`TfcTdfNet(TfcTdfConfig(dim_f=3072))`.
"""

import warnings
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

SPECTROGRAM_CHANNELS = 4  # left real, left imaginary, right real, right imaginary


@dataclass(frozen=True)
class TfcTdfConfig:
    """The size of a network; the defaults are those of the released ones.

    `blocks` counts encoder, middle and decoder blocks and is odd; `growth` is the number of channels at
    full resolution, and how many every halving adds; `bottleneck` divides the frequency axis inside the TDF.
    """

    dim_f: int
    blocks: int = 11
    convolutions: int = 3
    growth: int = 48
    bottleneck: int = 8
    kernel: int = 3
    linear_bias: bool = False

    def __post_init__(self) -> None:
        if self.blocks < 1 or self.blocks % 2 == 0:
            raise ValueError(f"TfcTdfConfig.blocks: expected an odd number, 1 or more, found {self.blocks}")
        if self.kernel % 2 == 0:
            raise ValueError(f"TfcTdfConfig.kernel: expected an odd number, found {self.kernel}")
        for name in ("convolutions", "growth", "bottleneck"):
            if getattr(self, name) < 1:
                raise ValueError(f"TfcTdfConfig.{name}: expected 1 or more, found {getattr(self, name)}")
        if self.dim_f % self.multiple or self.dim_f // self.multiple < self.bottleneck:
            raise ValueError(
                f"TfcTdfConfig.dim_f: expected a multiple of {self.multiple} (2 to the number of halvings) "
                f"of at least {self.multiple * self.bottleneck} (so that the deepest bottleneck has a unit), "
                f"found {self.dim_f}"
            )

    @property
    def levels(self) -> int:
        """How often the encoder halves time and frequency."""
        return self.blocks // 2

    @property
    def multiple(self) -> int:
        """What dim_f and the number of frames must be multiples of."""
        return int(2**self.levels)


class TfcTdfBlock(nn.Module):
    """3×3 convolutions over (time, frequency), plus the output of two linear layers along frequency."""

    def __init__(self, channels: int, bins: int, config: TfcTdfConfig) -> None:
        super().__init__()
        hidden = bins // config.bottleneck
        self.tfc = nn.Sequential(
            *(
                nn.Sequential(
                    nn.Conv2d(channels, channels, config.kernel, padding=config.kernel // 2),
                    nn.BatchNorm2d(channels),
                    nn.ReLU(),
                )
                for _ in range(config.convolutions)
            )
        )
        self.tdf = nn.Sequential(
            nn.Linear(bins, hidden, bias=config.linear_bias),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Linear(hidden, bins, bias=config.linear_bias),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
        )

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(batch, channels, frames, bins) -> the same shape."""
        convolved: torch.Tensor = self.tfc(features)
        filtered: torch.Tensor = self.tdf(convolved)
        return convolved + filtered


def _scale(kind: type[nn.Conv2d] | type[nn.ConvTranspose2d], inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(kind(inputs, outputs, kernel_size=2, stride=2), nn.BatchNorm2d(outputs), nn.ReLU())


class TfcTdfNet(nn.Module):
    """Spectrograms (batch, 4, dim_f, frames) float32 -> the target's, the same shape.

    `frames` is any multiple of `config.multiple`.
    """

    def __init__(self, config: TfcTdfConfig) -> None:
        super().__init__()
        self.config = config
        growth, levels = config.growth, config.levels
        self.first = nn.Sequential(
            nn.Conv2d(SPECTROGRAM_CHANNELS, growth, 1), nn.BatchNorm2d(growth), nn.ReLU()
        )
        widths = [growth * (level + 1) for level in range(levels + 1)]
        bins = [config.dim_f // 2**level for level in range(levels + 1)]
        self.encoder = nn.ModuleList(TfcTdfBlock(widths[i], bins[i], config) for i in range(levels))
        self.down = nn.ModuleList(_scale(nn.Conv2d, widths[i], widths[i + 1]) for i in range(levels))
        self.middle = TfcTdfBlock(widths[levels], bins[levels], config)
        upwards = range(levels - 1, -1, -1)
        self.up = nn.ModuleList(_scale(nn.ConvTranspose2d, widths[i + 1], widths[i]) for i in upwards)
        self.decoder = nn.ModuleList(TfcTdfBlock(widths[i], bins[i], config) for i in upwards)
        self.final = nn.Conv2d(growth, SPECTROGRAM_CHANNELS, 1)

    def forward(self, spectrogram: torch.Tensor) -> torch.Tensor:
        """(batch, 4, dim_f, frames) -> (batch, 4, dim_f, frames)."""
        features = self.first(spectrogram)
        features = features.transpose(-1, -2)  # (batch, channels, frames, bins): linear layers see frequency
        skips = []
        for block, down in zip(self.encoder, self.down, strict=True):
            features = block(features)
            skips.append(features)
            features = down(features)
        features = self.middle(features)
        for block, up in zip(self.decoder, self.up, strict=True):
            features = block(up(features) * skips.pop())
        estimate: torch.Tensor = self.final(features.transpose(-1, -2))
        return estimate


def export_onnx(network: TfcTdfNet, path: Path, dim_t: int) -> None:
    """Write `network` as ONNX: `input` -> `output`, float32 (batch, 4, dim_f, dim_t), any batch.

    A BatchNorm after a convolution is folded into it, as in the released files. The network keeps its mode (training
    or evaluation).
    """
    if dim_t % network.config.multiple:
        raise ValueError(
            f"export_onnx: dim_t: expected a multiple of {network.config.multiple}, found {dim_t}; "
            "choose another number of frames or fewer blocks"
        )
    example = torch.zeros(1, SPECTROGRAM_CHANNELS, network.config.dim_f, dim_t)
    was_training = network.training
    network.eval()
    path.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        # The TorchScript exporter needs no other package and folds BatchNorm; at each call it warns that another
        # exporter is the default.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            network,
            (example,),
            str(path),
            input_names=["input"],
            output_names=["output"],
            dynamic_axes={"input": {0: "batch"}, "output": {0: "batch"}},
            opset_version=17,
            dynamo=False,
        )
    network.train(was_training)
