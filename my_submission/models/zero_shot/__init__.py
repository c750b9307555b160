"""Zero-shot separation by query: one network separates whatever it is shown examples of.

A row names the separator's file and, for each of its sources, a file with a query (`query.py`), which
`python -m my_submission query` makes of recordings of that source. Queries lie beside the row's manifest.

The network takes one channel at 32 kHz. Its authors mixed stereo down to that; here each channel is separated by
itself. They also dropped what is left of a track after its last two whole seconds.
"""

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated

import torch
from pydantic import Field, StringConstraints, model_validator
from torch import Tensor

from my_submission.models.waveforms import Chunks, WaveformModel
from my_submission.models.zero_shot.network import MULTIPLE, Queried, Separator
from my_submission.models.zero_shot.query import SUFFIX, read_query
from my_submission.registry import Architecture, register
from my_submission.schema import LARGEST_FFT, Name, Whole, at_most, expecting, problem
from my_submission.signal.audio import HIGHEST_SAMPLE_RATE, LOWEST_SAMPLE_RATE
from my_submission.signal.chunking import Geometry
from my_submission.weights import Checkpoint, ManifestError
from my_submission.weights.load import PICKLES, build, open_network_state
from my_submission.weights.manifest import MOST_SOURCES
from my_submission.weights.shapes import State, size, told

_BYTES_PER_VALUE = 70
"""Of memory while a chunk is computed, for each value of the first level's image; measured on the published size."""
_OTHERS = ("stft.", "istft.", "at_model.")
"""What the authors' files hold besides the separator: its transform, and the encoder that it was trained with."""

QueryFile = Annotated[
    str,
    StringConstraints(pattern=rf"^[^/\\]+\{SUFFIX}$"),
    expecting(f"the name of a file beside the manifest that ends in {SUFFIX}"),
]


class ZeroShotParameters(Chunks):
    """A separator's size, its chunks, and its queries.

    channels: of the first of its levels. query_size: how many numbers a query is. queries: the file of each source.
    """

    hop: Whole
    sample_rate: Annotated[Whole, Field(ge=LOWEST_SAMPLE_RATE), at_most(HIGHEST_SAMPLE_RATE)]
    channels: Annotated[Whole, at_most(1 << 12)]
    query_size: Annotated[Whole, at_most(1 << 16)]
    queries: Annotated[Mapping[Name, QueryFile], Field(min_length=1, max_length=MOST_SOURCES)]

    @model_validator(mode="after")
    def _check_sizes(self) -> "ZeroShotParameters":
        if self.n_fft % (2 * MULTIPLE) or self.n_fft > LARGEST_FFT:
            raise problem(
                f"expected a multiple of {2 * MULTIPLE}, at most 65,536, found {self.n_fft}", "n_fft"
            )
        if self.hop > self.n_fft // 2:
            raise problem(f"expected at most n_fft/2, found {self.hop}", "hop")
        return self

    @property
    def files(self) -> tuple[str, ...]:
        """`registry.NamesFiles`."""
        return tuple(self.queries.values())


def load(
    checkpoint: Checkpoint,
    path: Path,
    device: torch.device,
    dtype: torch.dtype,
    needed: Collection[str] | None = None,
) -> WaveformModel:
    """Open a checkpoint (`registry.Loader`) and its queries."""
    parameters = checkpoint.parameters
    assert isinstance(parameters, ZeroShotParameters)
    queries = _queries(checkpoint, parameters)
    state = open_network_state(path, lambda name: name.startswith(_OTHERS))
    separator = build(
        path,
        lambda: Separator(parameters.n_fft, parameters.hop, parameters.channels, parameters.query_size),
        state,
        parameters.model_dump(exclude={"queries"}),
        told_by,
    )
    geometry = Geometry(
        parameters.chunk_samples,
        fade_samples=parameters.fade_samples,
        sample_rate=parameters.sample_rate,
        channels=1,
    )
    # A stereo chunk is two images, one after the other or side by side.
    bytes_per_sample = 2 * _BYTES_PER_VALUE * parameters.channels * (parameters.n_fft // 2) // parameters.hop
    network = Queried(separator, queries)
    return WaveformModel(network, checkpoint.sources, geometry, bytes_per_sample, device, dtype, needed)


def _queries(checkpoint: Checkpoint, parameters: ZeroShotParameters) -> Tensor:
    """(sources, query_size) in the order of the row's sources."""
    where = f"{checkpoint.manifest}: checkpoints.{checkpoint.row}.parameters.queries"
    if set(parameters.queries) != set(checkpoint.sources):
        found, expected = list(parameters.queries), list(checkpoint.sources)
        raise ManifestError(f"{where}: expected a query for each of the sources {expected}, found {found}")
    files = [checkpoint.folder / parameters.queries[source] for source in checkpoint.sources]
    return torch.stack([read_query(file, parameters.query_size) for file in files])


def told_by(state: State) -> dict[str, int]:
    """The parameters, as far as the shapes of a file's tensors tell."""
    bins = size(state, "bn0.weight", 0)
    return told(
        n_fft=bins and 2 * (bins - 1),
        channels=size(state, "encoder_block1.conv_block.conv1.weight", 0),
        query_size=size(state, "encoder_block1.conv_block.emb1.weight", 1),
    )


# No piece of work: what lower precision does with trained weights nobody here could see. So "auto" means float32.
register(Architecture("zero_shot", (*PICKLES, ".safetensors"), load, ZeroShotParameters))
