"""3×3 convolutions in float32 with fewer products, on the CPU: Winograd's algorithm (Lavin and Gray, arXiv
1509.09308).

An output of 6×6 values takes 64 products of a transformed input and a transformed weight, instead of 324. The sums in
the transforms cost some of that again, and agreement: of noise, one layer agrees with the exact result to 103 to 117
dB, where the direct way has 133; of values of one sign, to 132 and 140. benchmarks/README.md has the times.

NNPACK, which is part of most builds of torch, has it for AVX2 and for ARM. It is used with AVX2 alone, and on Zen 4,
which takes two steps for an instruction of AVX-512: elsewhere the direct way gains twice as much from each. That is
said here rather than tried: a trial that could end either way would have the last bits differ from one process to the
next.
"""

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

QUICKER_ON = "AVX2"
"""What torch calls the instructions of a processor without AVX-512."""
IN_TWO_STEPS = {"vendor_id": "AuthenticAMD", "cpu family": "25"}
"""What Linux says of AMD's Zen 4, whose AVX-512 is as quick as AVX2; and of Zen 3, which has only that."""
LEAST_CHANNELS = 32
"""With fewer, the transforms cost more than they save."""
LEAST_PLACES = 512
"""Rows times columns; with fewer, transforming the weights takes too long."""
TILE = 6
"""Rows and columns that are computed together."""
STRIP_BYTES = 32 << 20
"""What the transforms of a strip may take, which each thread keeps."""
_TILE_BYTES = (TILE + 2) ** 2 * 4
"""Of one channel."""
KERNEL, _ONE = (3, 3), (1, 1)


def fits(
    weight: Tensor,
    stride: Any = _ONE,
    padding: Any = _ONE,
    dilation: Any = _ONE,
    groups: int = 1,
) -> bool:
    """Whether a convolution has the shape for it, and does so on this processor.

    weight: (channels out, channels in, rows, columns). The others: as those of `torch.conv2d`.
    """
    return (
        weight.shape[2:] == KERNEL
        and min(weight.shape[:2]) >= LEAST_CHANNELS
        and weight.dtype == torch.float32
        and weight.device.type == "cpu"
        and groups == 1
        and all(_pair(each) == _ONE for each in (stride, padding, dilation))
        and quicker()
    )


def convolve(images: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """(batch, channels in, rows, columns) -> (batch, channels out, rows, columns) contiguous, for a convolution that
    `fits`.

    In strips of rows: NNPACK transforms all that it is given before it multiplies, which takes much more memory than
    the image.
    """
    if bias is None:
        bias = weight.new_zeros(len(weight))
    batch, _, rows, columns = images.shape
    if rows * columns < LEAST_PLACES:
        return torch.conv2d(images.contiguous(), weight, bias, padding=1)
    result = images.new_empty(batch, len(weight), rows, columns)
    tiles = -(-columns // TILE) * _TILE_BYTES * sum(weight.shape[:2])  # bytes of a row of them
    step = TILE * max(1, STRIP_BYTES // tiles)
    # One image at a time: for several, NNPACK has an algorithm of its own, whose results differ in the last bits.
    for image, into in zip(torch.split(images, 1), torch.split(result, 1), strict=True):
        for first in range(0, rows, step):
            last = min(rows, first + step)
            strip = image[:, :, max(0, first - 1) : last + 1]
            beyond = int(first == 0), int(last == rows)  # a row of zeros above and below the image
            strip = nn.functional.pad(strip, (0, 0, *beyond))
            into[:, :, first:last] = torch._nnpack_spatial_convolution(strip, weight, bias, (0, 1))
    return result


@functools.cache
def quicker() -> bool:
    """Whether NNPACK is here, and this processor of the kind on which it is faster than oneDNN."""
    instructions = torch.backends.cpu.get_cpu_capability()
    as_avx2 = instructions == QUICKER_ON or (instructions == "AVX512" and in_two_steps())
    return as_avx2 and _available()


def in_two_steps(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether this processor takes two steps for an instruction of AVX-512, as far as the system tells."""
    try:
        first = cpuinfo.read_text().partition("\n\n")[0]
    except OSError:  # not Linux
        return False
    said = {
        name.strip(): value.strip() for name, _, value in (line.partition(":") for line in first.splitlines())
    }
    return said.items() >= IN_TWO_STEPS.items()


def _available() -> bool:
    try:
        return bool(torch._nnpack_available())  # which also makes it ready
    except (AttributeError, RuntimeError):  # not in this build of torch
        return False


class Winograd(TorchFunctionMode):
    """Within it, convolutions of torch that fit are computed so."""

    def __torch_function__(
        self, function: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """torch calls this in place of each of its functions."""
        if function is torch.conv2d:
            return _conv2d(*args, **(kwargs or {}))
        return function(*args, **(kwargs or {}))


def _conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    if (
        input.dim() == 4
        and input.dtype == torch.float32
        and not isinstance(padding, str)
        and fits(weight, stride, padding, dilation, groups)
    ):
        return convolve(input, weight, bias)
    return torch.conv2d(input, weight, bias, stride, padding, dilation, groups)


def _pair(setting: Any) -> tuple[int, ...]:
    """A setting of torch's: a number for both axes, or one each."""
    return (setting, setting) if isinstance(setting, int) else tuple(setting)
