"""A mixture through a VR network: spectrum, windows, mask, and what is done to the mask.

Source: `vr_separator.py` and `spec_utils.py` of python-audio-separator 0.47.1, which are those of Ultimate Vocal
Remover.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from my_submission.models.vr.network import Size
from my_submission.models.vr.spectrum import Spectrum

_LEAST_RANGE_FRAMES, _FADE_FRAMES = 64, 32
"""Of what the post-processing gives to the first source, and how that begins and ends."""


@dataclass(frozen=True)
class Treatment:
    """What is done besides running the network; see the options in weights/README.md.

    window_frames: of the spectrum, what the network gets at a time. power: (below, from) the split of the layout: to
    which power the mask is raised. tta: the mean of two masks, the second from windows half a step later.
    post_process: where the mask is above that in all bins for long, it becomes 1; None: not.
    """

    window_frames: int
    power: tuple[float, float]
    tta: bool
    post_process: float | None


class Separation(nn.Module):
    """The network with its front and back end: mixtures (batch, 2, samples) and the places of the sources to give ->
    (batch, sources, 2, samples). The first source is the mask's, the second what the mask leaves."""

    def __init__(self, network: nn.Module, size: Size, spectrum: Spectrum, treatment: Treatment) -> None:
        super().__init__()
        self._network = network
        self._context = size.context_frames
        self._spectrum, self._treatment = spectrum, treatment

    def forward(self, mixtures: Tensor, kept: Sequence[int]) -> Tensor:
        return torch.stack([self._separate(mixture, kept) for mixture in mixtures])

    def _separate(self, mixture: Tensor, kept: Sequence[int]) -> Tensor:
        spectrum = self._spectrum.forward(mixture)
        mask = self.mask(spectrum.abs())
        estimates = [self._spectrum.inverse(spectrum * (1 - mask if place else mask)) for place in kept]
        return torch.stack(estimates)[..., : mixture.shape[-1]]

    def mask(self, magnitudes: Tensor) -> Tensor:
        """(2, bins + 1, frames) -> the first source's share of each, the same shape.

        The network sees magnitudes over the largest of them. Of silence there is nothing to share.
        """
        largest = magnitudes.max()
        if largest == 0:
            return torch.zeros_like(magnitudes)
        step = self._treatment.window_frames - 2 * self._context
        mask = self._windows(magnitudes / largest, 0)
        if self._treatment.tta:
            mask = (mask + self._windows(magnitudes / largest, step // 2)) / 2
        split, (below, above) = self._spectrum.layout.split, self._treatment.power
        mask[:, :split] **= below
        mask[:, split:] **= above
        if self._treatment.post_process is not None:
            weights = first_alone(mask.amin(dim=(0, 1)) > self._treatment.post_process).to(mask)
            mask += weights * (1 - mask)
        return mask

    def _windows(self, seen: Tensor, lead: int) -> Tensor:
        """The mask of all frames, window by window; the first begins `lead` frames before them and its context."""
        frames, window = seen.shape[-1], self._treatment.window_frames
        step = window - 2 * self._context
        count = (frames + 2 * lead) // step + 1
        before = self._context + lead
        padded = nn.functional.pad(seen, (before, count * step + self._context - lead - frames))
        masks = [
            self._network(padded[None, ..., start : start + window])[0, ..., self._context : -self._context]
            for start in range(0, count * step, step)
        ]
        return torch.cat(masks, dim=-1)[..., lead : lead + frames]


def first_alone(above: Tensor) -> Tensor:
    """Of frames, (frames,) bool -> the weight with which the first source gets all of one, (frames,) float32.

    It is 1 in a range of more than 64 such frames, with a fade of 32 at either end, within it; but it begins at once
    in the first frame. A range that begins fewer than 32 frames after the last one begins 64 before that one's end,
    with a fade, too, as there.
    """
    outside = torch.zeros(1, dtype=torch.int32)
    edges = torch.diff(above.cpu().int(), prepend=outside, append=outside)
    starts, ends = (edges == 1).nonzero()[:, 0].tolist(), (edges == -1).nonzero()[:, 0].tolist()
    weights = torch.zeros(len(above))
    rising = torch.linspace(0, 1, _FADE_FRAMES)
    last_end: int | None = None
    for start, end in zip(starts, (end - 1 for end in ends), strict=True):
        if end - start <= _LEAST_RANGE_FRAMES:
            continue
        if last_end is not None and start - last_end < _FADE_FRAMES:
            start = last_end - 2 * _FADE_FRAMES
        full = start + _FADE_FRAMES if start else 0
        weights[start:full] = rising[: full - start]
        weights[end - _FADE_FRAMES : end] = rising.flip(0)
        weights[full : end - _FADE_FRAMES] = 1
        last_end = end
    return weights
