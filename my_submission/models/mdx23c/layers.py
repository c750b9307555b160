"""What an MDX23C is made of. Images are (batch, channels, frames, bins)."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CHANNELS_AT_A_TIME = 16
"""That a norm holds twice; with fewer, more of the time goes into calls."""
LARGE, STRIP = 2**26, 2**23
"""Values of an image, and of a strip of it, see `Convolution`."""


def activated(channels: int, last_use: bool = False) -> tuple[nn.Module, nn.Module]:
    """A norm, and what follows each of them. last_use: see `ChannelNorm`."""
    return ChannelNorm(channels, last_use), Gelu()


def plus(image: Tensor, other: Tensor) -> Tensor:
    """Their sum; in place of the first, where nobody needs what it was for a gradient."""
    return image + other if torch.is_grad_enabled() else image.add_(other)


def times(image: Tensor, other: Tensor) -> Tensor:
    """Likewise, their product."""
    return image * other if torch.is_grad_enabled() else image.mul_(other)


class Gelu(nn.Module):
    """In place, where nobody needs what it was for a gradient."""

    def forward(self, image: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            return F.gelu(image)
        result: Tensor = torch.ops.aten.gelu_(image)
        return result


class ChannelNorm(nn.InstanceNorm2d):
    """Each channel by itself.

    last_use: whether nobody needs the image afterwards; then, on the CPU, the result takes its place, a few channels
    at a time.
    """

    def __init__(self, channels: int, last_use: bool = False) -> None:
        super().__init__(channels, affine=True)
        self.last_use = last_use

    def forward(self, image: Tensor) -> Tensor:
        if has_channels_last(image):  # which torch's own would reorder
            return F.group_norm(image, self.num_features, self.weight, self.bias, self.eps)
        if not self.last_use or image.device.type != "cpu" or torch.is_grad_enabled():
            return super().forward(image)
        for first in range(0, self.num_features, CHANNELS_AT_A_TIME):
            some = slice(first, first + CHANNELS_AT_A_TIME)
            image[:, some] = F.instance_norm(
                image[:, some], weight=self.weight[some], bias=self.bias[some], eps=self.eps
            )
        return image


class Convolution(nn.Conv2d):
    """3×3, without a bias. On the CPU, images of LARGE or more values each are convolved in strips of their frames:
    oneDNN copies its whole input into an order of its own, unless that has its channels last."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__(before, after, 3, padding=1, bias=False)

    def forward(self, image: Tensor) -> Tensor:
        batch, _, frames, bins = image.shape
        small = image.device.type != "cpu" or image[0].numel() < LARGE
        if small or has_channels_last(image) or torch.is_grad_enabled():
            return super().forward(image)
        at_a_time = max(1, frames * STRIP // image[0].numel())
        result = image.new_empty(batch, self.out_channels, frames, bins)
        for first in range(0, frames, at_a_time):
            end = min(first + at_a_time, frames)
            before, after = min(first, 1), min(frames - end, 1)  # frames that there are beside the strip
            strip = F.pad(image[:, :, first - before : end + after], (0, 0, 1 - before, 1 - after))
            result[:, :, first:end] = F.conv2d(strip, self.weight, padding=(0, 1))
        return result


class AlongBins(nn.Linear):
    """A linear layer along the bins of an image, without a bias."""

    def __init__(self, before: int, after: int) -> None:
        super().__init__(before, after, bias=False)

    def forward(self, image: Tensor) -> Tensor:
        if has_channels_last(image):
            return (self.weight @ image.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return super().forward(image)


def has_channels_last(image: Tensor) -> bool:
    """Whether only so is it contiguous."""
    return not image.is_contiguous() and image.is_contiguous(memory_format=torch.channels_last)
