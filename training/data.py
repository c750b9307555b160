"""Training examples from folders of stems: pure functions of (seed, process, step)."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import scipy.fft
import soundfile
import soxr
import torch

from my_submission.signal.audio import MODEL_SAMPLE_RATE
from training.config import AugmentationSettings, ConfigError, DataSettings

Audio = npt.NDArray[np.float32]

SILENT_RMS = 1e-5  # below the noise of 16 bits: not worth bringing to a level
OCTAVES_HZ = 62.5 * 2.0 ** np.arange(9)
"""Where a random gain is drawn; below the first and above the last it stays as it is there."""


@dataclass(frozen=True)
class StemTrack:
    """A song or scene on disk: one file per stem, each at least `samples` long at 44.1 kHz."""

    name: str
    files: dict[str, Path]
    samples: int

    def read(self, stem: str, start: int, samples: int) -> Audio:
        """(2, samples) float32 of one stem; zeros beyond its end; a mono file in both channels."""
        signal, _ = soundfile.read(
            self.files[stem], start=start, frames=samples, dtype="float32", always_2d=True, fill_value=0.0
        )
        stereo = np.broadcast_to(signal.T, (2, samples)) if signal.shape[1] == 1 else signal.T
        return np.ascontiguousarray(stereo, dtype=np.float32)


def find_tracks(data: DataSettings, split: str) -> list[StemTrack]:
    """The tracks of a split in name order.

    Raises ConfigError if the folder is missing or empty, a stem's file is missing, or a file is not 44.1 kHz mono or
    stereo.
    """
    folder = data.root / split
    if not folder.is_dir():
        raise ConfigError(f"{folder}: no such folder; expected {folder}/<track>/<stem>.wav")
    tracks = [
        _track(path, data) for path in sorted(folder.iterdir()) if path.is_dir() and path.name[0] not in "._"
    ]
    if not tracks:
        raise ConfigError(f"{folder}: expected at least one track folder, found none")
    return tracks


def _track(folder: Path, data: DataSettings) -> StemTrack:
    files = {stem: folder / f"{name}.wav" for stem, name in data.stems.items()}
    lengths = []
    for path in files.values():
        if not path.is_file():
            raise ConfigError(
                f"{path}: no such file; every track needs {sorted(data.stems.values())} as .wav"
            )
        try:
            info = soundfile.info(path)
        except soundfile.LibsndfileError as error:
            raise ConfigError(f"{path}: cannot be read as audio: {error.error_string}") from error
        if info.samplerate != MODEL_SAMPLE_RATE or info.channels not in (1, 2):
            raise ConfigError(
                f"{path}: expected {MODEL_SAMPLE_RATE} Hz, mono or stereo, "
                f"found {info.samplerate} Hz, {info.channels} channels; convert it first"
            )
        lengths.append(info.frames)
    return StemTrack(folder.name, files, min(lengths))


@dataclass(frozen=True)
class Examples(torch.utils.data.Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Batch number `step` of one process: `(mixtures (batch, 2, samples), references (batch, sources, 2, samples))`.

    The same (seed, process, step) gives the same batch, whatever was drawn before.
    """

    data: tuple[DataSettings, ...]
    tracks: tuple[tuple[StemTrack, ...], ...]
    sources: tuple[str, ...]
    augmentation: AugmentationSettings
    samples: int
    batch: int
    seed: int
    process: int

    def __getitem__(self, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        random = np.random.default_rng([self.seed, self.process, step])
        shares = np.array([data.share for data in self.data])
        mixtures, references = [], []
        for _ in range(self.batch):
            chosen = random.choice(len(self.data), p=shares / shares.sum())
            stems = draw_stems(self.tracks[chosen], self.augmentation, self.samples, random)
            mixtures.append(np.sum(list(stems.values()), axis=0, dtype=np.float32))
            references.append(np.stack([stems[source] for source in self.sources]))
        return torch.from_numpy(np.stack(mixtures)), torch.from_numpy(np.stack(references))


def draw_stems(
    tracks: Sequence[StemTrack], settings: AugmentationSettings, samples: int, random: np.random.Generator
) -> dict[str, Audio]:
    """One augmented example: stem -> (2, samples) float32, not yet mixed."""
    remix = random.random() < settings.remix_share
    level = random.uniform(*settings.level_db)
    stems = list(tracks[0].files)
    together = _draw_place(tracks, settings, samples, random)
    swap = _coin(settings.swap_channels, random)
    drawn = {}
    for stem in stems:
        track, start, speed = _draw_place(tracks, settings, samples, random) if remix else together
        signal = _read_at_speed(track, stem, start, samples, speed)
        if settings.tone_db:
            signal = _with_tone(signal, random.uniform(-settings.tone_db, settings.tone_db, len(OCTAVES_HZ)))
        gain = 10 ** ((level + random.uniform(*settings.gain_db)) / 20)
        sign = -1 if _coin(settings.flip_polarity, random) else 1
        if random.random() < settings.drop_share:
            gain = 0.0
        if _coin(settings.swap_channels, random) if remix else swap:
            signal = signal[::-1]
        drawn[stem] = np.float32(gain * sign) * signal
    if settings.mixture_dbfs is None:
        return drawn
    return _at_level(drawn, random.uniform(*settings.mixture_dbfs))


def _with_tone(signal: Audio, octaves_db: npt.NDArray[np.float64]) -> Audio:
    """(2, samples) with so many dB at each of OCTAVES_HZ, straight lines over log frequency between them."""
    samples = signal.shape[-1]
    longer = scipy.fft.next_fast_len(
        samples + MODEL_SAMPLE_RATE // 5, real=True
    )  # or the end would ring at the start
    hertz = np.fft.rfftfreq(longer, 1 / MODEL_SAMPLE_RATE)
    decibels = np.interp(np.log(np.maximum(hertz, 1.0)), np.log(OCTAVES_HZ), octaves_db)
    spectrum = scipy.fft.rfft(signal, longer) * (10 ** (decibels / 20)).astype(np.float32)
    toned: Audio = scipy.fft.irfft(spectrum, longer)[:, :samples]
    return toned


def _at_level(stems: dict[str, Audio], dbfs: float) -> dict[str, Audio]:
    """Stems whose mixture has this RMS level; silent ones stay silent."""
    mixture = np.sum(list(stems.values()), axis=0, dtype=np.float32)
    level = float(np.sqrt(np.mean(np.square(mixture))))
    gain = np.float32(10 ** (dbfs / 20) / level if level > SILENT_RMS else 0.0)
    return {stem: gain * signal for stem, signal in stems.items()}


def _coin(allowed: bool, random: np.random.Generator) -> bool:
    return bool(random.random() < 0.5) and allowed


def _draw_place(
    tracks: Sequence[StemTrack], settings: AugmentationSettings, samples: int, random: np.random.Generator
) -> tuple[StemTrack, int, float]:
    """A track, where to start in it, and how fast to play it."""
    track = tracks[int(random.integers(len(tracks)))]
    speed = 1 + random.uniform(-settings.speed, settings.speed)
    start = random.integers(max(1, track.samples - int(samples * speed) + 1))
    return track, int(start), speed


def _read_at_speed(track: StemTrack, stem: str, start: int, samples: int, speed: float) -> Audio:
    if speed == 1:
        return track.read(stem, start, samples)
    played = track.read(stem, start, int(np.ceil(samples * speed)) + 1)
    resampled = soxr.resample(played.T, speed, 1.0, quality="LQ")[:samples].T
    return np.pad(resampled, ((0, 0), (0, samples - resampled.shape[1])))
