"""The organisers' entry point, for both challenges. Participants must not change it.

The file layout follows from the model's instruments; the contract is that of the two public starter kits.
"""

import os

import numpy as np
import numpy.typing as npt
import soundfile

from my_submission.user_config import MySeparationModel

MUSIC_INSTRUMENTS = {"bass", "drums", "other", "vocals"}
CINEMATIC_INSTRUMENTS = {"dialog", "effect", "music"}

Array = npt.NDArray[np.float64]


class AIcrowdWrapper:
    """Reads mixtures from one folder per track, calls the model, checks what it returns, and writes it.

    dataset_dir and predictions_dir must exist; the environment variables AICROWD_DATASET_DIR and
    AICROWD_PUBLIC_SHARED_DIR (+ /predictions) override them.
    """

    allowed_instruments = (MUSIC_INSTRUMENTS, CINEMATIC_INSTRUMENTS)
    """Sets of stems, of which a model makes one; our evaluator has others of presets that are for no challenge."""

    def __init__(
        self, dataset_dir: str = "./public_dataset/", predictions_dir: str = "./evaluator_outputs/"
    ) -> None:
        self.model = MySeparationModel()
        self.instruments = list(self.model.instruments)
        assert set(self.instruments) in self.allowed_instruments, (
            f"instruments: expected {' or '.join(str(sorted(allowed)) for allowed in self.allowed_instruments)}, "
            f"found {self.instruments}"
        )
        shared_dir = os.getenv("AICROWD_PUBLIC_SHARED_DIR")
        self.predictions_dir = os.path.join(shared_dir, "predictions") if shared_dir else predictions_dir
        assert os.path.exists(self.predictions_dir), f"{self.predictions_dir} - No such directory"
        self.dataset_dir = os.getenv("AICROWD_DATASET_DIR", dataset_dir)
        assert os.path.exists(self.dataset_dir), f"{self.dataset_dir} - No such directory"

    @property
    def cinematic(self) -> bool:
        return set(self.instruments) == CINEMATIC_INSTRUMENTS

    def raise_aicrowd_error(self, msg: str) -> None:
        """Used by the organisers' evaluator to put a message into the log."""
        raise NameError(msg)

    def separate_music_file(self, foldername: str) -> bool:
        """Separate the track of one folder of dataset_dir into a folder of that name in predictions_dir."""
        mixed_sound_array, sample_rate = self.read_mixture(foldername)
        arrays, sample_rates = self.model.separate_music_file(mixed_sound_array, sample_rate)
        self.check_output(arrays)
        self.save_prediction(foldername, arrays, sample_rates)
        return True

    def read_mixture(self, foldername: str) -> tuple[Array, int]:
        """The mixture as soundfile gives it, and its rate; a cinematic one is two files of one channel each."""
        folder = os.path.join(self.dataset_dir, foldername)
        if not self.cinematic:
            return soundfile.read(os.path.join(folder, "mixture.wav"))  # type: ignore[no-any-return]
        try:
            left, left_rate = soundfile.read(os.path.join(folder, f"{foldername}_mixture_Lt.wav"))
            right, right_rate = soundfile.read(os.path.join(folder, f"{foldername}_mixture_Rt.wav"))
        except soundfile.LibsndfileError:
            left, left_rate = right, right_rate = soundfile.read(os.path.join(folder, "mix.wav"))
        assert left_rate == right_rate, f"{folder}: sample rates {left_rate} and {right_rate}"
        assert len(left) == len(right), f"{folder}: lengths {len(left)} and {len(right)}"
        return np.stack([left, right], axis=1), left_rate

    def check_output(self, arrays: dict[str, npt.NDArray[np.float32]]) -> None:
        assert set(self.instruments) == set(arrays), (
            f"expected the stems {sorted(self.instruments)}, found {sorted(arrays)}"
        )

    def save_prediction(
        self, foldername: str, arrays: dict[str, npt.NDArray[np.float32]], sample_rates: dict[str, int]
    ) -> None:
        folder = os.path.join(self.predictions_dir, foldername)
        os.makedirs(folder, exist_ok=True)
        for instrument in self.instruments:
            name = f"{foldername}_{instrument}.wav" if self.cinematic else f"{instrument}.wav"
            path = os.path.join(folder, name)
            soundfile.write(path, data=arrays[instrument], samplerate=sample_rates[instrument])
