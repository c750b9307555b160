"""What is submitted: change the preset's name and the time limit here, and nothing else."""

import os
from typing import Any

import numpy as np
import numpy.typing as npt

from my_submission.ensemble.deadline import read_limit_factor
from my_submission.ensemble.preset_reader import load_preset
from my_submission.separator import SeparationModel
from my_submission.signal.audio import round_to_16_bits

PRESET = os.environ.get("SDX_PRESET", "mdx-demo")
# Seconds per second of audio ("1.57" in the challenge): economies are then taken if a track needs them to be in time.
# Empty: the whole preset runs, however long it takes.
TIME_LIMIT_FACTOR = os.environ.get("SDX_TIME_LIMIT_FACTOR", "")


class MySeparationModel(SeparationModel):
    """The submitted preset. `track` tells the evaluator which challenge it is for; where it is empty, `stems` do."""

    _preset = load_preset(PRESET)
    challenge = _preset.challenge
    track = challenge or ""
    stems = _preset.instruments

    def __init__(self) -> None:
        super().__init__(preset=PRESET, time_limit_factor=read_limit_factor(TIME_LIMIT_FACTOR))

    def separate_music_file(
        self, mixed_sound_array: npt.NDArray[Any], sample_rate: int
    ) -> tuple[dict[str, npt.NDArray[np.float32]], dict[str, int]]:
        """As the library class, but rounded for the wrapper's 16-bit files, which soundfile would round down."""
        arrays, rates = super().separate_music_file(mixed_sound_array, sample_rate)
        return {stem: round_to_16_bits(array) for stem, array in arrays.items()}, rates
