"""Mel-Band RoFormer: bands that overlap, after the mel scale, a norm after each transformer."""

from typing import Literal

from pydantic import model_validator

from my_submission.models.roformer.bands import Bands, mel_bands
from my_submission.models.roformer.model import SUFFIXES, RoformerParameters, load, piece_of_work
from my_submission.models.roformer.training import RoformerSettings
from my_submission.registry import Architecture, register
from my_submission.schema import Whole, problem


class MelBandRoformerParameters(RoformerParameters):
    """bands: how many (`num_bands` in published configurations)."""

    bands: Whole

    @model_validator(mode="after")
    def _check_bands(self) -> "MelBandRoformerParameters":
        try:
            self.layout()
        except ValueError as error:
            raise problem(f"{error}; expected fewer", "bands") from error
        if self.chunk_samples % self.hop:
            # Published programs cut chunks to whole hops, and their users read of lengths that do not match.
            raise problem(
                f"expected a multiple of hop, {self.hop}, found {self.chunk_samples}", "chunk_samples"
            )
        return self

    def layout(self) -> Bands:
        return mel_bands(self.bands, self.n_fft)

    def hidden_layers(self) -> int:
        """One more than in a BS-RoFormer of the same `mask_estimator_depth`."""
        return self.mask_estimator_depth

    def final_norm(self) -> bool:
        return False


class MelBandRoformerSettings(RoformerSettings, MelBandRoformerParameters):
    """How a Mel-Band RoFormer is trained: its parameters as in a manifest row, and what training adds."""

    architecture: Literal["mel_band_roformer"] = "mel_band_roformer"


register(
    Architecture(
        "mel_band_roformer",
        SUFFIXES,
        load,
        MelBandRoformerParameters,
        training=MelBandRoformerSettings,
        piece_of_work=piece_of_work,
    )
)
