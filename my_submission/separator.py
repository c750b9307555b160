"""The challenge's interface to an ensemble: (samples, channels) arrays in and out, any rate, mono or stereo."""

import logging
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, ClassVar, NoReturn

import numpy as np
import numpy.typing as npt
from torch import Tensor

from my_submission.ensemble.costs import measure_costs
from my_submission.ensemble.deadline import Deadline, check_limit_factor
from my_submission.ensemble.engine import Ensemble, Progress
from my_submission.ensemble.plan import needed_sources
from my_submission.ensemble.preset import CHALLENGES, Preset, PresetError, checkpoint_rows
from my_submission.ensemble.preset_reader import called, load_preset
from my_submission.runtime.devices import describe, resolve_device, resolve_precision
from my_submission.runtime.memory import available_bytes
from my_submission.runtime.pool import ModelPool
from my_submission.runtime.schedule import plan_schedule
from my_submission.signal.arrays import result_arrays
from my_submission.signal.audio import (
    MODEL_SAMPLE_RATE,
    Stems,
    check_sample_rate,
    signal_from_array,
    to_stereo,
)
from my_submission.signal.chunking import Reader, reader
from my_submission.signal.resampling import at_mixture_rate, resample
from my_submission.weights import require
from my_submission.weights.store import sha256_of

log = logging.getLogger(__name__)


class SeparationModel:
    """An ensemble for any stems, behind the challenge's interface.

    preset: name or YAML file; the default is the class's own.
    weights_dir: a folder to search for weights first, by the file names in the manifest.
    device: "auto" (a GPU if there is one), "cpu", "cuda" or "cuda:N".
    precision: "auto", "fp32", "bf16" or "fp16".
    overlap, shifts: replace the preset's in every member.
    seed: for the delays of the shift trick.
    verify_weights: compare every file with the manifest's size and hash before opening it.
    stems: which ones to make, by default all; what only the others need is not run.
    fast: take all the preset's economies.
    time_limit_factor: the limit in seconds per second of audio, for example the challenge's 1.57. The models' speed
        is measured during construction, and each track takes as many of the preset's economies as it needs, in their
        order (`deadline.Deadline`). Without a limit none is ever taken.
    memory_budget: bytes of the device's memory that this process may use, models included. Less memory means fewer
        chunks at a time and more time, but the same result. The default is most of what is free, on a GPU 8 GiB at
        most.
    download: fetch missing weights; the default is to do so only if the environment has SDX_DOWNLOAD=1.
    progress: called with (work done, work in all) while a track is separated.

    Before anything is computed, raises PresetError, MissingWeights (with the command that fetches them),
    WrongContent, RuntimeError if the device does not exist, or ValueError if not even one chunk fits into
    memory_budget.
    """

    challenge: ClassVar[str | None] = None
    """The challenge whose stems the preset must make; None: any stems."""

    default_preset: ClassVar[str | None] = None

    def __init__(
        self,
        *,
        preset: str | Path | None = None,
        weights_dir: str | Path | None = None,
        device: str = "auto",
        precision: str = "auto",
        overlap: float | None = None,
        shifts: int | None = None,
        seed: int = 0,
        verify_weights: bool = True,
        stems: Collection[str] | None = None,
        fast: bool = False,
        time_limit_factor: float | None = None,
        memory_budget: int | None = None,
        download: bool | None = None,
        progress: Progress | None = None,
    ) -> None:
        loaded = self._read(preset).override(overlap, shifts)
        check_limit_factor(time_limit_factor)
        self._sharing_stems = loaded.sharing_stems
        if stems is not None:
            loaded = loaded.for_stems(stems)
        taken = loaded.economies if fast else ()
        loaded = loaded.economised(len(taken))
        torch_device = resolve_device(device)
        resolved = resolve_precision(precision, torch_device)
        checkpoints = checkpoint_rows(loaded)
        paths = require(
            checkpoints,
            weights_dir=Path(weights_dir) if weights_dir is not None else None,
            preset=called(loaded),
            download=download,
            verify=verify_weights,
        )
        self._models = ModelPool(checkpoints, paths, resolved, needed_sources(loaded))
        self._schedule = plan_schedule(torch_device, self._models.largest_chunk_bytes(), memory_budget)
        self._ensemble = Ensemble(loaded, self._models, seed, self._schedule)
        self._economies = [str(economy) for economy in taken]
        self._deadline: Deadline | None = None
        if time_limit_factor is not None:
            costs = measure_costs(self._models, self._schedule)
            self._deadline = Deadline(loaded, seed, costs, time_limit_factor)
        self._paths = paths
        self._device, self._precision = torch_device, describe(self._models.dtypes)
        self._precision_asked = precision
        self._progress = progress
        log.info(
            "preset %s: %d checkpoints on %s, %s",
            loaded.name,
            len(checkpoints),
            torch_device,
            self._precision,
        )

    def _read(self, preset: str | Path | None) -> Preset:
        """The preset that was asked for, or the class's own; PresetError if it is of another challenge."""
        chosen = preset or self.default_preset
        if chosen is None:
            raise PresetError("preset: expected the name of a preset, or a YAML file, found none")
        loaded = load_preset(chosen)
        if self.challenge not in (None, loaded.challenge):
            raise PresetError(
                f"preset {loaded.name}: expected one for the {self.challenge} challenge, which makes "
                f"{', '.join(CHALLENGES[str(self.challenge)])}; this one makes {', '.join(loaded.instruments)}"
            )
        return loaded

    @property
    def instruments(self) -> list[str]:
        """The stems it makes; those of a challenge are in the organisers' order."""
        return list(self._ensemble.preset.instruments)

    @property
    def sharing_stems(self) -> int:
        """`Preset.sharing_stems` of the whole preset, whichever stems were asked for."""
        return self._sharing_stems

    def stream(
        self, read: Reader, samples: int, progress: Progress | None = None
    ) -> Iterator[tuple[int, Stems]]:
        """Separate a stereo recording of any length at MODEL_SAMPLE_RATE in bounded memory: `Ensemble.stream`."""
        return self._ensemble.stream(read, 2, samples, progress)

    def measure(self) -> None:
        """Run a few chunks of each model; from then on, `work` and `progress` are in seconds on this machine."""
        self._ensemble.costs = measure_costs(self._models, self._schedule)

    def work(self, samples: int) -> float:
        """The work of a recording of that many samples at MODEL_SAMPLE_RATE, as `progress` counts it."""
        return self._ensemble.work(samples)

    def provenance(self) -> dict[str, Any]:
        """What this model is made of, for an evaluation's record: JSON types only; hashes every file."""
        return {
            "preset": self._ensemble.preset.name,
            "weights": [
                {"name": name, "file": path.name, "sha256": sha256_of(path)}
                for name, path in sorted(self._paths.items())
            ],
            "device": str(self._device),
            "precision": self._precision,
            "precision_asked": self._precision_asked,
            "time_limit_factor": self._deadline.limit_factor if self._deadline else None,
            **({"forecast": self._deadline.forecast} if self._deadline else {}),
            "economies": [*self._economies, *(self._deadline.economies if self._deadline else [])],
        }

    def raise_aicrowd_error(self, msg: str) -> NoReturn:
        """Part of the challenge's interface: raise an error whose message the organisers show."""
        raise NameError(msg)

    def separate_music_file(
        self, mixed_sound_array: npt.NDArray[Any], sample_rate: int
    ) -> tuple[dict[str, npt.NDArray[np.float32]], dict[str, int]]:
        """Separate one mixture.

        mixed_sound_array: (samples,) or (samples, channels), 1 or 2 channels, float or integer PCM.
        Returns the stems as float32 arrays (samples, channels) with the mixture's length and channels, and the
        mixture's sample rate for each. Arrays too large for memory are maps of files (`signal.arrays`).
        Raises ValueError for any other input, or if it has NaN or infinity; MemoryError if there is no room.
        """
        began = time.monotonic()
        check_sample_rate(sample_rate)
        mixture = signal_from_array(mixed_sound_array)
        arrays = result_arrays(self.instruments, mixture.T.shape, available_bytes())
        if mixture.any():  # the stems of silence are silence
            for start, block in self._separate(mixture, int(sample_rate), began):
                for stem, piece in block.items():
                    arrays[stem][start : start + piece.shape[-1]] = piece.T
        return arrays, dict.fromkeys(self.instruments, int(sample_rate))

    def _separate(self, mixture: Tensor, sample_rate: int, began: float) -> Iterator[tuple[int, Stems]]:
        channels, samples = mixture.shape
        model_input = resample(to_stereo(mixture), sample_rate, MODEL_SAMPLE_RATE)
        return at_mixture_rate(
            self._blocks(model_input, began),
            reader(mixture),
            reader(model_input),
            channels,
            samples,
            sample_rate,
            sharing=self._sharing_stems,
        )

    def _blocks(self, model_input: Tensor, began: float) -> Iterator[tuple[int, Stems]]:
        read, samples = reader(model_input), model_input.shape[-1]
        if self._deadline is None:
            return self.stream(read, samples, self._progress)
        policy = self._deadline.begin(samples, time.monotonic() - began)
        return self._ensemble.stream(read, 2, samples, self._progress, block_samples=None, policy=policy)


class MusicSeparationModel(SeparationModel):
    """Music -> bass, drums, other, vocals (leaderboard C of the Music Demixing challenge)."""

    challenge = "music"
    default_preset = "mdx-demo"


class CinematicSeparationModel(SeparationModel):
    """Film sound -> dialog, effect, music (leaderboard B of the Cinematic Demixing challenge)."""

    challenge = "cinematic"
    default_preset = "cdx-demo"
