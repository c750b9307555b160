"""A training run's configuration: YAML in, frozen records out; every error names file, key, found, allowed."""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field, Strict, StringConstraints, TypeAdapter, model_validator

from my_submission.ensemble.preset import STEP_INPUT, Overlap
from my_submission.registry import (
    TrainingSettings,
    UnknownArchitecture,
    architecture_names,
    find_architecture,
)
from my_submission.schema import LONGEST_NAME, Record, expecting, problem, read, validate

SPECTRAL_WINDOWS = (4096, 2048, 1024, 512, 256)
LEAST_SPECTRAL_SAMPLES = max(SPECTRAL_WINDOWS) // 2  # the longest transform reflects so many at each end


class ConfigError(ValueError):
    """A configuration that cannot be used."""


def _model(document: Any) -> TrainingSettings:
    """The settings of the architecture that the document names."""
    if not isinstance(document, Mapping):
        raise problem(f"expected a mapping, found {document!r}")
    name = document.get("architecture")
    try:
        settings = find_architecture(str(name)).training
    except UnknownArchitecture as error:
        raise problem(str(error), "architecture") from error
    if settings is None:
        trained = ", ".join(known for known in architecture_names() if _is_trained(known))
        raise problem(f"found {name!r}, which is not trained here; allowed: {trained}", "architecture")
    return TypeAdapter(settings).validate_python(document)


def _is_trained(name: str) -> bool:
    """Whether an architecture says how; one of another package that cannot be imported does not."""
    with contextlib.suppress(UnknownArchitecture):
        return find_architecture(name).training is not None
    return False


if TYPE_CHECKING:
    _Model = TrainingSettings
else:
    _Model = Annotated[Any, BeforeValidator(_model)]

RunName = Annotated[
    str,
    StringConstraints(pattern=r"^\w[\w .+-]*$", max_length=LONGEST_NAME),
    expecting("a name of letters, digits, spaces and . _ + - that begins with a letter or digit"),
]
"""It becomes the name of a folder, of a file and of a manifest's row."""
Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1), expecting("0 to 1")]
Above = Annotated[float, Field(gt=0)]
Decay = Annotated[float, Field(ge=0, lt=1), expecting("0 to below 1")]
FilePath = Annotated[Path, Strict(False)]


Range = Annotated[tuple[float, float], expecting("2 entries, [low, high]")]


class DataSettings(Record):
    """A folder of songs or scenes: `root/<split>/<track>/<file>.wav`, 44.1 kHz, mono or stereo.

    stems: stem -> file name without `.wav`; the mixture is the sum of exactly these.
    share: how often this data is drawn, relative to the others.
    """

    root: FilePath
    train: str
    valid: str
    stems: Annotated[Mapping[str, str], Field(min_length=1), expecting("a mapping of at least one stem")]
    share: Above = 1.0

    @property
    def name(self) -> str:
        return self.root.name


class AugmentationSettings(Record):
    """How training examples are made; every range is uniform.

    remix_share: the share of examples that mix stems of different songs (the others keep one song together).
    gain_db: for each stem. level_db: for the whole mixture, in addition.
    mixture_dbfs: if given, sets every mixture's RMS level instead, for networks that do not normalise their input.
    drop_share: how often a stem is left out. speed: ± this fraction, pitch and tempo together.
    tone_db: ± this much at each octave, and interpolated in between, for each stem: other timbres than the data have.
    """

    remix_share: Share = 0.75
    gain_db: Range = (-7.0, 4.0)
    level_db: Range = (0.0, 0.0)
    mixture_dbfs: Range | None = None
    drop_share: Share = 0.05
    speed: Annotated[float, Field(ge=0, lt=0.5), expecting("0 to below 0.5")] = 0.0
    tone_db: Annotated[float, Field(ge=0, le=60), expecting("0 to 60")] = 0.0
    swap_channels: bool = True
    flip_polarity: bool = True

    @model_validator(mode="after")
    def _check_ranges(self) -> "AugmentationSettings":
        for name in ("gain_db", "level_db", "mixture_dbfs"):
            low, high = getattr(self, name) or (0.0, 0.0)
            if low > high:
                raise problem(f"expected [low, high], found {[low, high]}", name)
        return self


class OptimisationSettings(Record):
    """How long and how fast to learn.

    batch: per process. learning_rate: rises over `warmup_steps`, then follows a cosine down to `final_share` of
    itself at `steps`. loss: see `waveform_loss`. source_weights: how much each source's error counts, 1 where none is
    given. weight_decay: as in AdamW, apart from the gradient; 0 is Adam.
    """

    steps: Count
    batch: Count
    learning_rate: Above
    loss: Literal["l1", "mse", "rmse", "relative_l1", "spectral_l1"] = "l1"
    source_weights: Mapping[str, Above] = {}
    betas: tuple[Decay, Decay] = (0.9, 0.99)
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    warmup_steps: Annotated[int, Field(ge=0)] = 50
    final_share: Share = 0.03
    clip_norm: Above = 1.0
    ema_decay: Decay = 0.995
    precision: Literal["fp32", "bf16"] = "fp32"
    channels_last: bool = False
    threads: Count = 1
    workers: Annotated[int, Field(ge=0)] = 0


class ValidationSettings(Record):
    """When to validate, and on how much: the first `seconds` of the first `tracks` of each data set."""

    every: Count = 500
    tracks: Count = 8
    seconds: Above = 30.0
    overlap: Overlap = 0.25


class TrainingConfig(Record):
    """One run.

    start_run, start_checkpoint: whose weights to start from: another run's folder, or the name of a checkpoint in the
        manifest. Only weights are taken over, no progress.
    """

    name: RunName
    seed: Annotated[int, Field(ge=0)]
    model: _Model
    data: Annotated[tuple[DataSettings, ...], Field(min_length=1)]
    optimisation: OptimisationSettings
    augmentation: AugmentationSettings = AugmentationSettings()
    validation: ValidationSettings = ValidationSettings()
    checkpoint_every: Count = 100
    start_run: FilePath | None = None
    start_checkpoint: str | None = None

    @model_validator(mode="after")
    def _check_whole(self) -> "TrainingConfig":
        sources = list(self.model.sources)
        if len(set(sources)) < len(sources) or STEP_INPUT in sources:
            raise problem(
                f"expected different names, none of them {STEP_INPUT!r}, found {sources}", "model.sources"
            )
        unknown = sorted(set(self.optimisation.source_weights) - set(sources))
        if unknown:
            raise problem(f"expected some of {sources}, found {unknown}", "optimisation.source_weights")
        if self.optimisation.loss == "spectral_l1" and self.model.example_samples <= LEAST_SPECTRAL_SAMPLES:
            raise problem(
                f"spectral_l1 needs examples of more than {LEAST_SPECTRAL_SAMPLES} samples, found"
                f" {self.model.example_samples}",
                "optimisation.loss",
            )
        if self.start_checkpoint is not None and self.start_run is not None:
            raise problem(f"give either start_run or start_checkpoint, found {self.start_run}", "start_run")
        for place, data in enumerate(self.data):
            if not set(sources) <= set(data.stems):
                raise problem(
                    f"expected the model's {sources}, found {list(data.stems)}", f"data[{place}].stems"
                )
        return self


def load_config(path: Path) -> TrainingConfig:
    """Read and verify a configuration file; relative paths in it are relative to the working folder.

    Raises ConfigError naming file, key, found and allowed.
    """
    return read(TrainingConfig, path, ConfigError)


def parse_config(document: Any) -> TrainingConfig:
    """The record of a parsed YAML document (also of a checkpoint's copy of it). Raises ConfigError."""
    return validate(TrainingConfig, document, "", ConfigError)


def as_document(config: TrainingConfig) -> dict[str, Any]:
    """The inverse of `parse_config`: plain dicts, lists and scalars."""
    return config.model_dump(mode="json")
