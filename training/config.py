"""A training run's configuration: YAML in, frozen records out; every error names file, key, found, allowed."""

import dataclasses
import inspect
import math
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import yaml
from demucs.htdemucs import HTDemucs

from my_submission.models.tfc_tdf import TfcTdfConfig
from my_submission.yaml_file import read_yaml


class ConfigError(ValueError):
    """A configuration that cannot be used."""


@dataclass(frozen=True)
class HTDemucsSettings:
    """An HTDemucs: `sources` in the order of its outputs, `arguments` of `demucs.htdemucs.HTDemucs`."""

    sources: tuple[str, ...]
    segment_seconds: float
    arguments: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        known = set(inspect.signature(HTDemucs).parameters) - {
            "sources",
            "segment",
            "samplerate",
            "audio_channels",
        }
        _refuse_unknown("model.arguments", self.arguments, known)
        _check(bool(self.sources), "model.sources", "at least one stem", self.sources)
        _check(self.segment_seconds > 0, "model.segment_seconds", "more than 0", self.segment_seconds)


@dataclass(frozen=True)
class MdxNetSettings:
    """An MDX-Net: its target, its STFT (see `my_submission.models.mdx_net.Spectrogram`), its U-Net's size."""

    target: str
    n_fft: int
    dim_f: int
    dim_t: int
    hop: int = 1024
    blocks: int = 11
    convolutions: int = 3
    growth: int = 48
    bottleneck: int = 8

    def __post_init__(self) -> None:
        multiple = self.network.multiple
        _check(self.dim_t % multiple == 0, "model.dim_t", f"a multiple of {multiple}", self.dim_t)
        _check(self.dim_f <= self.n_fft // 2 + 1, "model.dim_f", "at most n_fft/2 + 1", self.dim_f)

    @property
    def sources(self) -> tuple[str, ...]:
        return (self.target,)

    @property
    def network(self) -> TfcTdfConfig:
        return TfcTdfConfig(self.dim_f, self.blocks, self.convolutions, self.growth, self.bottleneck)


ModelSettings = HTDemucsSettings | MdxNetSettings


@dataclass(frozen=True)
class DataSettings:
    """A folder of songs or scenes: `root/<split>/<track>/<file>.wav`, 44.1 kHz, mono or stereo.

    stems: stem -> file name without `.wav`; the mixture is the sum of exactly these.
    share: how often it is drawn from, relative to the others.
    """

    root: Path
    train: str
    valid: str
    stems: Mapping[str, str]
    share: float = 1.0

    def __post_init__(self) -> None:
        _check(bool(self.stems), "data.stems", "at least one stem", dict(self.stems))
        _check(self.share > 0, "data.share", "more than 0", self.share)

    @property
    def name(self) -> str:
        return self.root.name


@dataclass(frozen=True)
class AugmentationSettings:
    """What training examples are made of; every range is uniform.

    remix_share: of the examples, how many mix stems of different songs (the others keep one song together).
    gain_db: of each stem. level_db: of the whole mixture, on top.
    mixture_dbfs: if given, every mixture's RMS level instead, for networks that do not normalise their input.
    drop_share: how often a stem is left out. speed: ± that fraction, pitch and tempo together.
    """

    remix_share: float = 0.75
    gain_db: tuple[float, float] = (-7.0, 4.0)
    level_db: tuple[float, float] = (0.0, 0.0)
    mixture_dbfs: tuple[float, float] | None = None
    drop_share: float = 0.05
    speed: float = 0.0
    swap_channels: bool = True
    flip_polarity: bool = True

    def __post_init__(self) -> None:
        for name in ("remix_share", "drop_share"):
            _check(0 <= getattr(self, name) <= 1, f"augmentation.{name}", "0 to 1", getattr(self, name))
        for name in ("gain_db", "level_db", "mixture_dbfs"):
            low, high = getattr(self, name) or (0.0, 0.0)
            _check(low <= high, f"augmentation.{name}", "[low, high]", [low, high])
        _check(0 <= self.speed < 0.5, "augmentation.speed", "0 to below 0.5", self.speed)


@dataclass(frozen=True)
class OptimisationSettings:
    """How long and how fast to learn.

    batch: per process. learning_rate: rises over `warmup_steps`, then follows a cosine down to `final_share` of
    itself at `steps`. source_weights: how much each source's error counts, 1 where none is given.
    """

    steps: int
    batch: int
    learning_rate: float
    loss: Literal["l1", "mse", "relative_l1"] = "l1"
    source_weights: Mapping[str, float] = field(default_factory=dict)
    betas: tuple[float, float] = (0.9, 0.99)
    warmup_steps: int = 50
    final_share: float = 0.03
    clip_norm: float = 1.0
    ema_decay: float = 0.995
    precision: Literal["fp32", "bf16"] = "fp32"
    channels_last: bool = False
    threads: int = 1
    workers: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "threads"):
            _check(getattr(self, name) >= 1, f"optimisation.{name}", "1 or more", getattr(self, name))
        for name in ("learning_rate", "clip_norm"):
            _check(getattr(self, name) > 0, f"optimisation.{name}", "more than 0", getattr(self, name))
        for source, weight in self.source_weights.items():
            good = type(weight) in (int, float) and 0 < weight < math.inf
            _check(good, f"optimisation.source_weights.{source}", "more than 0", weight)
        _check(0 <= self.ema_decay < 1, "optimisation.ema_decay", "0 to below 1", self.ema_decay)
        _check(self.warmup_steps >= 0, "optimisation.warmup_steps", "0 or more", self.warmup_steps)


@dataclass(frozen=True)
class ValidationSettings:
    """When to measure and on how much: the first `seconds` of the first `tracks` of each data set."""

    every: int = 500
    tracks: int = 8
    seconds: float = 30.0
    overlap: float = 0.25

    def __post_init__(self) -> None:
        for name in ("every", "tracks"):
            _check(getattr(self, name) >= 1, f"validation.{name}", "1 or more", getattr(self, name))


@dataclass(frozen=True)
class TrainingConfig:
    """One run.

    start_run, start_checkpoint: whose weights to begin from, another run's folder or the name of a Demucs
    checkpoint of the manifest; nothing of their progress.
    """

    name: str
    seed: int
    model: ModelSettings
    data: tuple[DataSettings, ...]
    optimisation: OptimisationSettings
    augmentation: AugmentationSettings = field(default_factory=AugmentationSettings)
    validation: ValidationSettings = field(default_factory=ValidationSettings)
    checkpoint_every: int = 100
    start_run: Path | None = None
    start_checkpoint: str | None = None

    def __post_init__(self) -> None:
        _check(bool(self.data), "data", "at least one data set", self.data)
        unknown = sorted(set(self.optimisation.source_weights) - set(self.model.sources))
        _check(not unknown, "optimisation.source_weights", f"some of {list(self.model.sources)}", unknown)
        if self.start_checkpoint is not None:
            _check(self.start_run is None, "start_run", "nothing beside start_checkpoint", self.start_run)
            _check(isinstance(self.model, HTDemucsSettings), "start_checkpoint", "an htdemucs", "mdx_net")
        for data in self.data:
            missing = set(self.model.sources) - set(data.stems)
            _check(
                not missing,
                f"data: {data.root}: stems",
                f"the model's {list(self.model.sources)}",
                list(data.stems),
            )


_MODELS = {"htdemucs": HTDemucsSettings, "mdx_net": MdxNetSettings}


def load_config(path: Path) -> TrainingConfig:
    """Read and verify a configuration file; relative paths in it are relative to the working folder.

    Raises ConfigError naming file, key, found and allowed.
    """
    try:
        return parse_config(read_yaml(path))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: no valid YAML: {error}") from error
    except ValueError as error:
        raise ConfigError(f"{path}: {error}") from error


def parse_config(document: Any) -> TrainingConfig:
    """The record of a parsed YAML document (also of a checkpoint's copy of it). Raises ConfigError."""
    config: TrainingConfig = _record(TrainingConfig, document, "")
    return config


def _model(document: Any) -> ModelSettings:
    if not isinstance(document, dict) or document.get("architecture") not in _MODELS:
        found = document.get("architecture") if isinstance(document, dict) else document
        raise ConfigError(f"model.architecture: expected one of {sorted(_MODELS)}, found {found!r}")
    rest = {key: value for key, value in document.items() if key != "architecture"}
    settings: ModelSettings = _record(_MODELS[document["architecture"]], rest, "model")
    return settings


def as_document(config: TrainingConfig) -> dict[str, Any]:
    """The inverse of `parse_config`: plain dicts, lists and scalars."""
    document = _plain(config)
    architecture = next(name for name, kind in _MODELS.items() if isinstance(config.model, kind))
    document["model"] = {"architecture": architecture, **document["model"]}
    return typing.cast(dict[str, Any], document)


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return {entry.name: _plain(getattr(value, entry.name)) for entry in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(entry) for entry in value]
    return str(value) if isinstance(value, Path) else value


def _record(kind: type[Any], document: Any, where: str) -> Any:
    """A dataclass from a mapping with exactly its fields as keys."""
    prefix = f"{where}." if where else ""
    if not isinstance(document, dict):
        raise ConfigError(f"{where or 'top level'}: expected a mapping, found {document!r}")
    entries = dataclasses.fields(kind)
    hints = typing.get_type_hints(kind)
    _refuse_unknown(where or "top level", document, {entry.name for entry in entries})
    for entry in entries:
        required = entry.default is dataclasses.MISSING and entry.default_factory is dataclasses.MISSING
        if required and entry.name not in document:
            raise ConfigError(f"{prefix}{entry.name}: missing; it has no default")
    return kind(**{name: _value(hints[name], value, f"{prefix}{name}") for name, value in document.items()})


def _value(kind: Any, value: Any, where: str) -> Any:
    """`value` as `kind`, one of the types that fields of this module have."""
    if kind == ModelSettings:
        return _model(value)
    if dataclasses.is_dataclass(kind):
        return _record(typing.cast(type[Any], kind), value, where)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        _check(value in arguments, where, f"one of {list(arguments)}", value)
        return value
    if origin is types.UnionType:  # only `X | None`
        return None if value is None else _value(arguments[0], value, where)
    if origin is tuple:
        return _tuple(arguments, value, where)
    if origin is not None:  # Mapping
        _check(isinstance(value, dict), where, "a mapping", value)
        return dict(value)
    return _scalar(kind, value, where)


def _tuple(arguments: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    _check(isinstance(value, list), where, "a list", value)
    if arguments[-1] is Ellipsis:
        return tuple(_value(arguments[0], entry, f"{where}[{i}]") for i, entry in enumerate(value))
    _check(len(value) == len(arguments), where, f"{len(arguments)} entries", value)
    return tuple(_value(kind, entry, where) for kind, entry in zip(arguments, value, strict=True))


def _scalar(kind: Any, value: Any, where: str) -> Any:
    if kind is Path and isinstance(value, str):
        return Path(value)
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    _check(type(value) is kind, where, kind.__name__, value)
    return value


def _refuse_unknown(where: str, found: Mapping[str, Any], allowed: set[str]) -> None:
    unknown = sorted(set(found) - allowed)
    if unknown:
        raise ConfigError(f"{where}: unknown key {unknown[0]!r}; allowed: {', '.join(sorted(allowed))}")


def _check(good: bool, where: str, expected: str, found: Any) -> None:
    if not good:
        raise ConfigError(f"{where}: expected {expected}, found {found!r}")
