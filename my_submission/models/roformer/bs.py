"""BS-RoFormer, also with polar positions (BS PolarFormer): bands side by side, one norm after all blocks."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from my_submission.models.roformer.bands import BAND_WIDTHS, Bands, side_by_side
from my_submission.models.roformer.model import SUFFIXES, RoformerParameters, load, piece_of_work
from my_submission.models.roformer.training import RoformerSettings
from my_submission.registry import Architecture, register
from my_submission.schema import Whole, allowed_text, expecting, problem


class BSRoformerParameters(RoformerParameters):
    """bands: how many, where the published networks with that number all have the same; or band_widths: the width of
    each in bins (`freqs_per_bands` in published configurations). pope: whether positions are polar (`use_pope`)."""

    bands: Whole | None = None
    band_widths: Annotated[
        tuple[Whole, ...] | None, Field(min_length=1), expecting("a list of whole numbers above 0")
    ] = None
    pope: bool

    @model_validator(mode="after")
    def _check_bands(self) -> "BSRoformerParameters":
        if (self.bands is None) == (self.band_widths is None):
            raise problem("give either 'bands' (a number) or 'band_widths' (a list)")
        if self.bands is not None and self.bands not in BAND_WIDTHS:
            known = allowed_text(self.bands, map(str, BAND_WIDTHS))
            raise problem(f"found {self.bands}; {known}; list others as band_widths", "bands")
        bins, covered = self.n_fft // 2 + 1, self.layout().bins
        if covered != bins:
            key = "bands" if self.band_widths is None else "band_widths"
            raise problem(f"expected widths that add up to n_fft / 2 + 1, {bins}, found {covered}", key)
        return self

    def layout(self) -> Bands:
        return side_by_side(self.band_widths or BAND_WIDTHS[self.bands or 0])

    def hidden_layers(self) -> int:
        return self.mask_estimator_depth - 1

    def final_norm(self) -> bool:
        return True

    def polar(self) -> bool:
        return self.pope


class BSRoformerSettings(RoformerSettings, BSRoformerParameters):
    """How a BS-RoFormer is trained: its parameters as in a manifest row, and what training adds."""

    architecture: Literal["bs_roformer"] = "bs_roformer"


register(
    Architecture(
        "bs_roformer",
        SUFFIXES,
        load,
        BSRoformerParameters,
        training=BSRoformerSettings,
        piece_of_work=piece_of_work,
    )
)
