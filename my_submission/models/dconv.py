"""The branches of Demucs' DConv for inference: the last normalisation folded into the layer before it.

A branch ends in a 1×1 convolution from few channels to many, a GroupNorm over all of them, a GLU and a LayerScale.
The mean and variance of the convolution's output follow from the mean and covariance of its few inputs. So
normalisation and scale become weights of one matrix product, and need no pass over the wide tensor.
benchmarks/README.md has the times.
"""

import torch
from demucs.demucs import DConv
from demucs.transformer import LayerScale
from torch import Tensor, nn


class NormalisedProjection(nn.Module):
    """GroupNorm (one group) of a 1×1 convolution, its first half times a scale, as one matrix product.

    With inputs x of mean m and covariance S over the samples, output channel c has the mean w_c·m + b_c and the
    variance w_cᵀ S w_c. Over all channels and samples the variance is the mean of those variances, which is
    sum(S ∘ WᵀW) / channels, plus the variance of the channels' means.
    """

    weight: Tensor
    bias: Tensor
    gram: Tensor
    gain: Tensor
    offset: Tensor

    def __init__(self, convolution: nn.Conv1d, norm: nn.GroupNorm, scale: Tensor) -> None:
        """scale (channels out / 2): of the LayerScale. It can act before the GLU, as GLU(a, b) = a · sigmoid(b)."""
        super().__init__()
        weight = convolution.weight[..., 0].detach().float()  # (channels out, channels in)
        bias = (
            weight.new_zeros(len(weight)) if convolution.bias is None else convolution.bias.detach().float()
        )
        # The scale is for the values alone: in the gates it would change the sigmoid.
        both = torch.cat([scale.detach().float(), torch.ones_like(scale, dtype=torch.float32)])
        self.eps = norm.eps
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)
        self.register_buffer("gram", weight.T @ weight / len(weight))
        self.register_buffer("gain", norm.weight.detach().float() * both)
        self.register_buffer("offset", norm.bias.detach().float() * both)

    def for_values(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """(batch, samples, channels in) float32 -> weight (batch, channels out, channels in), offset (batch, channels
        out), float32: what to multiply each item by, and what to add."""
        mean = values.mean(dim=1, keepdim=True)
        centred = values - mean  # first: E[x²] − E[x]² cancels where the mean is large beside the deviation
        covariance = centred.transpose(1, 2) @ centred / values.shape[1]
        channel_means = mean[:, 0] @ self.weight.T + self.bias
        spread = channel_means.var(dim=1, correction=0)
        variance = (covariance * self.gram).sum(dim=(1, 2)) + spread
        gain = self.gain * (variance + self.eps).rsqrt()[:, None]  # (batch, channels out)
        offset = gain * (self.bias - channel_means.mean(dim=1, keepdim=True)) + self.offset
        return gain[..., None] * self.weight, offset

    def forward(self, hidden: Tensor) -> Tensor:
        """(batch, channels in, samples) -> (batch, channels out, samples), the same dtype.

        The statistics are float32 whatever autocast says: they scale the whole output.
        """
        with torch.autocast(hidden.device.type, enabled=False):
            weight, offset = self.for_values(hidden.float().transpose(1, 2))
            weight = torch.cat([weight, offset[..., None]], dim=-1)
            # A channel of ones takes the offset along in the product: no second pass over the wide result.
            with_ones = nn.functional.pad(hidden, (0, 0, 0, 1), value=1.0)
            return torch.bmm(weight.to(hidden.dtype), with_ones)


class FoldedDConv(nn.Module):
    """A DConv whose branches all end in 1×1 convolution, GroupNorm, GLU, LayerScale."""

    def __init__(self, original: DConv) -> None:
        super().__init__()
        self.hidden = nn.ModuleList(branch[:-4] for branch in branches(original))
        tails = map(tail, branches(original))
        self.projections = nn.ModuleList(NormalisedProjection(*one) for one in tails if one is not None)

    def forward(self, features: Tensor) -> Tensor:
        """(batch, channels, samples) -> the same shape and dtype."""
        for hidden, projection in zip(self.hidden, self.projections, strict=True):
            change = nn.functional.glu(projection(hidden(features)), dim=1)
            # In place into `change`, which nothing else holds; but never into a lower dtype, which would round
            # what passes the branches by.
            features = change.add_(features) if change.dtype == features.dtype else features + change
        return features


def fold_dconv(network: nn.Module) -> None:
    """Replace every DConv of a network that ends as described above, in place."""
    for parent in list(network.modules()):
        for name, child in parent.named_children():
            if isinstance(child, DConv) and None not in map(tail, branches(child)):
                setattr(parent, name, FoldedDConv(child))


def branches(dconv: DConv) -> list[nn.Sequential]:
    """The branches of a DConv, in order."""
    return [branch for branch in dconv.layers if isinstance(branch, nn.Sequential)]


def tail(branch: nn.Sequential) -> tuple[nn.Conv1d, nn.GroupNorm, Tensor] | None:
    """The convolution, norm and scale that a branch ends in, if it ends as described above."""
    match list(branch)[-4:]:
        case [
            nn.Conv1d(kernel_size=(1,)) as convolution,
            nn.GroupNorm(num_groups=1) as norm,
            nn.GLU(dim=1),
            LayerScale(channel_last=False) as last,
        ]:
            return convolution, norm, last.scale
    return None
