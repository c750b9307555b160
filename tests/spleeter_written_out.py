"""Spleeter in double precision, written out from what is published: its networks, and all that is around them."""

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from my_submission.models.spleeter import SpleeterParameters
from tests.random_spleeter import LAYERS, Weights

Estimator = Callable[[npt.NDArray[Any]], npt.NDArray[Any]]
"""(time, frequency, 2) magnitudes of a part -> (networks, time, frequency, 2)."""


def same_padding(size: int, kernel: int, stride: int, dilation: int) -> tuple[int, int]:
    """TensorFlow's "same": the output has size/stride values, and the odd one of what is missing is behind."""
    reach = dilation * (kernel - 1) + 1
    missing = max((-(-size // stride) - 1) * stride + reach - size, 0)
    return missing // 2, missing - missing // 2


def convolved(
    signals: npt.NDArray[Any], kernel: npt.NDArray[Any], stride: int = 2, dilation: int = 1
) -> npt.NDArray[Any]:
    """(time, frequency, in) with a kernel (height, width, in, out)."""
    height, width, _, _ = kernel.shape
    pads = [same_padding(size, height, stride, dilation) for size in signals.shape[:2]]
    padded = np.pad(signals, [*pads, (0, 0)])
    shape = [-(-size // stride) for size in signals.shape[:2]]
    result = np.zeros((*shape, kernel.shape[3]))
    for i in range(height):
        for j in range(width):
            rows = slice(i * dilation, i * dilation + stride * (shape[0] - 1) + 1, stride)
            columns = slice(j * dilation, j * dilation + stride * (shape[1] - 1) + 1, stride)
            result += padded[rows, columns] @ kernel[i, j]
    return result


def transposed(signals: npt.NDArray[Any], kernel: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The gradient of `convolved` by its input: (time, frequency, in) with a kernel (height, width, out, in)."""
    shape = [2 * size for size in signals.shape[:2]]
    pads = [same_padding(size, kernel.shape[0], 2, 1) for size in shape]
    spread = np.zeros((shape[0] + sum(pads[0]), shape[1] + sum(pads[1]), kernel.shape[2]))
    for i in range(kernel.shape[0]):
        for j in range(kernel.shape[1]):
            rows = slice(i, i + 2 * (signals.shape[0] - 1) + 1, 2)
            columns = slice(j, j + 2 * (signals.shape[1] - 1) + 1, 2)
            spread[rows, columns] += signals @ kernel[i, j].T
    return spread[pads[0][0] : pads[0][0] + shape[0], pads[1][0] : pads[1][0] + shape[1]]


def logits(weights: Weights, network: int, part: npt.NDArray[Any], elu: bool) -> npt.NDArray[Any]:
    """(time, frequency, 2) magnitudes -> (time, frequency, 2)."""

    def layer(kind: str, place: int) -> Weights:
        number = network * dict(LAYERS)[kind] + place
        prefix = f"{kind}_{number}/" if number else f"{kind}/"
        found = {name: value for name, value in weights.items() if name.startswith(prefix)}
        return {name.removeprefix(prefix): value.astype(np.float64) for name, value in found.items()}

    def normed(place: int, signals: npt.NDArray[Any]) -> npt.NDArray[Any]:
        values = layer("batch_normalization", place)
        scaled = (signals - values["moving_mean"]) / np.sqrt(values["moving_variance"] + 1e-3)
        return np.asarray(values["gamma"] * scaled + values["beta"])

    def activated(signals: npt.NDArray[Any], below: float) -> npt.NDArray[Any]:
        low = np.expm1(np.minimum(signals, 0)) if elu else below * signals
        return np.where(signals > 0, signals, low)

    skipped, signals = [], part
    for level in range(6):
        values = layer("conv2d", level)
        raw = convolved(signals, values["kernel"]) + values["bias"]
        skipped.append(raw)
        signals = activated(normed(level, raw), 0.2)
    signals = skipped.pop()
    for level in range(6):
        values = layer("conv2d_transpose", level)
        up = activated(transposed(signals, values["kernel"]) + values["bias"], 0.0)
        up = normed(6 + level, up)
        signals = np.concatenate([skipped.pop(), up], axis=-1) if skipped else up
    values = layer("conv2d", 6)
    return convolved(signals, values["kernel"], stride=1, dilation=2) + values["bias"]


def estimated(weights: Weights, parameters: SpleeterParameters, networks: int) -> Estimator:
    """All networks on one part."""

    def estimate_part(part: npt.NDArray[Any]) -> npt.NDArray[Any]:
        each = np.stack([logits(weights, k, part, parameters.activation == "elu") for k in range(networks)])
        shares = np.exp(each) / np.exp(each).sum(axis=0)
        return np.asarray((shares if parameters.softmax else 1 / (1 + np.exp(-each))) * part)

    return estimate_part


def written_out(weights: Weights, parameters: SpleeterParameters, networks: int, track: Tensor) -> Tensor:
    """The whole track at once: (2, samples) -> (networks, 2, samples)."""
    return separated(estimated(weights, parameters, networks), parameters, networks, track)


def separated(estimator: Estimator, parameters: SpleeterParameters, networks: int, track: Tensor) -> Tensor:
    """What is around the networks: (2, samples) -> (networks, 2, samples)."""
    n_fft, hop, frames, bins = parameters.n_fft, parameters.hop, parameters.frames, parameters.bins
    samples = track.shape[-1]
    count = -(-(samples + n_fft) // hop)
    padded = np.zeros((2, (count - 1) * hop + n_fft))
    padded[:, n_fft : n_fft + samples] = track.double().numpy()
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_fft) / n_fft)
    cut = np.stack([padded[:, k * hop : k * hop + n_fft] for k in range(count)])
    spectrum = np.fft.rfft(cut * window).transpose(0, 2, 1)  # (frames, bins, channels)
    whole = np.zeros((-(-count // frames) * frames, bins, 2))
    whole[:count] = np.abs(spectrum[:, :bins])
    made = [estimator(part) for part in np.split(whole, len(whole) // frames)]
    magnitudes = np.concatenate(made, axis=1)[:, :count]
    masks = (magnitudes**2 + 1e-10 / networks) / ((magnitudes**2).sum(axis=0) + 1e-10)
    above = np.zeros((networks, count, n_fft // 2 + 1 - bins, 2))
    if parameters.extension == "average":
        above += masks.mean(axis=2, keepdims=True)
    turned = np.concatenate([masks, above], axis=2) * spectrum
    result = np.zeros((networks, 2, padded.shape[-1]))
    for k, frame in enumerate(np.fft.irfft(turned, n_fft, axis=2).transpose(1, 0, 3, 2)):
        result[..., k * hop : k * hop + n_fft] += frame * window * 2 / 3
    return torch.from_numpy(result[..., n_fft : n_fft + samples])
