"""VR networks of Ultimate Vocal Remover, versions 5 and 5.1 (v4 files have networks of version 5).

They ran whole songs. Here chunks of about two minutes are read with some seconds around them, which bounds memory; a
track of up to two minutes is run whole, as there. Windows lie as in the whole song. What differs in a longer one is
the level that the network sees: magnitudes are divided by the largest in what is read, there by that of the song.
With random weights that leaves 86 dB of agreement in five steady minutes, and 50 to 70 dB where their levels are 6
and 12 dB apart; with trained weights nobody here has measured it.
"""

import re
from collections.abc import Collection
from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from my_submission.models.vr.bands import LAYOUTS, Layout
from my_submission.models.vr.network import Size, cascade, told_by
from my_submission.models.vr.separation import Separation, Treatment
from my_submission.models.vr.spectrum import Spectrum
from my_submission.models.waveforms import WaveformModel
from my_submission.registry import Architecture, register
from my_submission.schema import Record, Whole, at_most, expecting, one_of
from my_submission.signal.chunking import Geometry
from my_submission.weights import Checkpoint, WeightsError
from my_submission.weights.load import PICKLES, build, open_network_state

CHUNK_SECONDS = 120
_EDGE_FRAMES = 32
"""How far the end of what is read may reach into spectrum and mask, besides the context of a window."""
_BYTES_PER_BIN, _BYTES_PER_MAP = 60, 140
"""Of memory: for a bin of a frame of a channel, in spectrum and mask; and for one of a window in a network, times its
width. Measured."""


class VrParameters(Record):
    """What stands beside a file, and how it is run; see the options in weights/README.md.

    bands: the name of its band file. accompaniment: whether its first source is an accompaniment.
    aggressiveness: below −50 the mask's power would be negative, and the mask of silence infinite.
    """

    bands: Annotated[str, one_of(LAYOUTS)]
    window_frames: Annotated[Whole, at_most(1 << 13)]
    aggressiveness: Annotated[int, Field(ge=-50, le=100), expecting("a whole number from -50 to 100")]
    accompaniment: bool
    tta: bool
    post_process: Annotated[
        float | None, Field(gt=0, lt=1), expecting("null, or a number above 0 and below 1")
    ]

    @property
    def layout(self) -> Layout:
        return LAYOUTS[self.bands]

    @property
    def power(self) -> tuple[float, float]:
        """To which the mask is raised, (below, from) the layout's split."""
        if self.aggressiveness == 0:
            return 1.0, 1.0
        more = 2 * self.aggressiveness / 100
        if not self.accompaniment:
            more = 1 - more
        return 1 + more / 3, 1 + more


def load(
    checkpoint: Checkpoint,
    path: Path,
    device: torch.device,
    dtype: torch.dtype,
    needed: Collection[str] | None = None,
) -> WaveformModel:
    """Open a checkpoint (`registry.Loader`). Which of the networks it is, its tensors tell."""
    parameters = checkpoint.parameters
    assert isinstance(parameters, VrParameters)
    state = _named(open_network_state(path, lambda name: name.startswith("aux")))
    of = told_by(state)
    if of is None:
        raise WeightsError(
            f"{path}: expected a VR network of version 5 or 5.1, found tensors of something else"
        )
    layout = parameters.layout
    _check_fits(path, parameters, of)
    said, seen = {"bins": layout.bins}, {"bins": of.bins} if of.bins else {}
    network = build(path, lambda: cascade(of, layout.bins), state, said, lambda found: seen)
    treatment = Treatment(parameters.window_frames, parameters.power, parameters.tta, parameters.post_process)
    separation = Separation(network, of, Spectrum(layout, of.version), treatment)
    geometry = _geometry(parameters, of)
    window_bytes = _BYTES_PER_MAP * layout.bins * parameters.window_frames * of.width
    bytes_per_sample = 2 * _BYTES_PER_BIN * layout.bins // layout.hop + window_bytes // geometry.read_samples
    return WaveformModel(separation, checkpoint.sources, geometry, bytes_per_sample, device, dtype, needed)


def _named(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """A file's tensors under one set of names: the versions have two names for the same layer in two places."""

    def ours(name: str) -> str:
        name = re.sub(r"(\.dec\d)\.conv1\.", r"\1.conv.", name)  # version 5.1
        return name.replace(".aspp.bottleneck.0.", ".aspp.bottleneck.")  # version 5

    return {ours(name): value for name, value in state.items()}


def _check_fits(path: Path, parameters: VrParameters, of: Size) -> None:
    """Raise WeightsError if a network of this size cannot run with its row's windows or bands."""
    window, context = parameters.window_frames, of.context_frames
    if window % of.multiple or window <= 2 * context:
        raise WeightsError(
            f"{path}: its manifest row says window_frames {window}; this network (version {of.version}) takes"
            f" multiples of {of.multiple} above {2 * context}"
        )
    half = parameters.layout.bins // 2
    if half % of.multiple:
        raise WeightsError(
            f"{path}: its manifest row says bands {parameters.bands}, half of whose bins are {half}; this network"
            f" takes multiples of {of.multiple}"
        )


def _geometry(parameters: VrParameters, of: Size) -> Geometry:
    """Chunks and what is read around them are whole steps of the windows, so that these lie as in the whole song."""
    layout = parameters.layout
    step = (parameters.window_frames - 2 * of.context_frames) * layout.hop
    around = step // 2 + (of.context_frames + _EDGE_FRAMES) * layout.hop
    return Geometry(
        chunk_samples=max(1, round(CHUNK_SECONDS * layout.rate / step)) * step,
        margin_samples=-(-around // step) * step,
        margins_inside=True,
        short_chunk="as_is",
        sample_rate=layout.rate,
    )


register(Architecture("vr", PICKLES, load, VrParameters, sources=2, lower_precision=False))
