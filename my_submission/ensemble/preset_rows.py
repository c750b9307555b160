"""What a preset's YAML file may hold, as records: each checks itself; `preset_reader` checks the whole."""

import math
import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, Strict, StringConstraints, model_validator

from my_submission.ensemble.preset import (
    CHALLENGES,
    LARGEST_FACTOR,
    LARGEST_SEGMENT_SAMPLES,
    LARGEST_WEIGHT,
    LEAST_SEGMENT_SAMPLES,
    LEAST_WEIGHT,
    MOST_ECONOMIES,
    MOST_MEMBERS,
    MOST_STEMS,
    MOST_STEPS,
    STEP_INPUT,
    Overlap,
    Shifts,
)
from my_submission.schema import (
    LONGEST_TEXT,
    Name,
    Record,
    Text,
    at_most,
    choice_text,
    expecting,
    one_of,
    problem,
)
from my_submission.signal.augment import Normalise, Polarity

WIENER = "wiener"
"""The architecture, and the key of a member that is one of its filters."""

# Fraction itself would read 1e999999999, and write out its digits.
_NUMBER = re.compile(r"\s*[+-]?[\d.]{1,20}(e[+-]?\d{1,2})?(\s*/\s*\d{1,20})?\s*", re.ASCII | re.IGNORECASE)


def _as_number(value: Any) -> Any:
    """A fraction as text, 1/3, as a number."""
    if not isinstance(value, str):
        return value
    try:
        return float(Fraction("".join(value.split()))) if _NUMBER.fullmatch(value) else math.nan
    except (ValueError, ArithmeticError):
        return math.nan


def _check_weight(weight: float) -> float:
    if 0 < weight < LEAST_WEIGHT:
        raise problem(f"expected 0, or {LEAST_WEIGHT} or more, found {weight}")
    return weight


Names = Annotated[
    tuple[Name, ...], Field(min_length=1), expecting("a list of names"), Field(max_length=MOST_STEMS)
]
Weight = Annotated[
    float,
    Field(ge=0),
    expecting("a number, 0 or more"),
    at_most(LARGEST_WEIGHT),
    AfterValidator(_check_weight),
]
Share = Annotated[
    float,
    Field(ge=0, le=1),
    BeforeValidator(_as_number),
    expecting("a share from 0 to 1, such as 0.5 or 1/3"),
]
Factor = Annotated[
    float,
    Field(ge=-LARGEST_FACTOR, le=LARGEST_FACTOR),
    BeforeValidator(_as_number),
    expecting(f"a factor from -{LARGEST_FACTOR:,} to {LARGEST_FACTOR:,}, such as -0.1 or 1/3"),
]
Mix = Annotated[Mapping[str, Factor], Field(min_length=1, max_length=MOST_STEMS + 1)]
Segment = Annotated[
    int,
    Field(ge=LEAST_SEGMENT_SAMPLES),
    expecting(f"a whole number of samples, {LEAST_SEGMENT_SAMPLES} or more"),
    at_most(LARGEST_SEGMENT_SAMPLES),
]
Loudness = Annotated[float, Field(ge=-70, le=0), expecting("a loudness from -70 to 0 LUFS")]
PolarityName = Annotated[Polarity, Strict(False), one_of(Polarity)]
NormaliseName = Annotated[Normalise, Strict(False), one_of(Normalise)]
Challenge = Annotated[str, one_of(CHALLENGES)]


class RunKeys(Record):
    """How to run members; a step's keys are the defaults of its members."""

    polarity: PolarityName | None = None
    overlap: Overlap | None = None
    shifts: Shifts | None = None
    segment_samples: Segment | None = None
    normalise: NormaliseName | None = None


class MemberRow(RunKeys):
    """`wiener`: a filter of the `estimates`, instead of a `model`; its keys are those of the architecture."""

    model: str | None = None
    wiener: Mapping[str, Any] | None = None
    sources: Mapping[str, Any] = {}
    estimates: Mapping[str, str] = {}
    weight: Weight | None = None
    weights: Mapping[str, Weight] | None = None

    @model_validator(mode="after")
    def _check_kind(self) -> "MemberRow":
        if self.model is None and self.wiener is None:
            raise problem("the key 'model' is missing")
        if self.model is not None and self.wiener is not None:
            raise problem("'wiener' is a member of its own, without a model; remove one of the two", "wiener")
        if self.wiener is not None and len(self.estimates) < 2:
            raise problem("a filter divides the mixture among two signals or more; name them", "estimates")
        return self

    @property
    def name(self) -> str:
        """The model's, or one that is the same for filters that do the same."""
        if self.model is not None:
            return self.model
        settings = "".join(f", {key} {value}" for key, value in sorted((self.wiener or {}).items()))
        return f"{WIENER} of {', '.join(self.estimates)}{settings}"

    @model_validator(mode="after")
    def _check_weights(self) -> "MemberRow":
        if self.weight is not None and self.weights is not None:
            raise problem("give either one weight for all stems or weights by stem", "weight")
        return self


class StepRow(RunKeys):
    """`residual_shares`: stem -> its share of what the stems leave; `mix`: stem -> factors of signals."""

    name: Text
    input: str
    stems: Names
    members: Annotated[tuple[MemberRow, ...], Field(min_length=1, max_length=MOST_MEMBERS)]
    consistency: bool = False
    residual_shares: Mapping[str, Share] | None = None
    residual: Name | None = None
    loudness_lufs: Loudness | None = None
    mix: Mapping[str, Mix] = {}

    @model_validator(mode="after")
    def _check_mix(self) -> "StepRow":
        for stem, factors in self.mix.items():
            if stem not in self.stems:
                raise problem(choice_text(stem, self.stems), "mix")
            for name in factors:
                if name not in (*self.stems, STEP_INPUT):
                    raise problem(choice_text(name, (*self.stems, STEP_INPUT)), "mix")
        return self

    @model_validator(mode="after")
    def _check_shares(self) -> "StepRow":
        if self.consistency and self.residual_shares is not None:
            raise problem(
                "consistency: true is an equal share for all; drop one of the two keys", "residual_shares"
            )
        for stem in self.residual_shares or {}:
            if stem not in self.stems:
                raise problem(choice_text(stem, self.stems), "residual_shares")
        if self.residual and math.isclose(sum(self.shares.values()), 1.0):
            raise problem(
                "the residual would be silence, since the stems' shares of it add up to one", "residual"
            )
        return self

    @property
    def shares(self) -> dict[str, float]:
        """stem -> its share of the residual, where above zero."""
        equal = dict.fromkeys(self.stems, 1 / len(self.stems)) if self.consistency else {}
        return {stem: share for stem, share in (self.residual_shares or equal).items() if share}


_SAVINGS = ("drop", "overlap", "polarity", "shifts")


class EconomyRow(Record):
    """One thing to save in a step: a model to drop, or another value of one key, of one model or of all."""

    step: str
    model: str | None = None
    drop: str | None = None
    polarity: Annotated[Polarity, Strict(False), one_of(("plain", "inverted"))] | None = None
    overlap: Overlap | None = None
    shifts: Shifts | None = None

    @model_validator(mode="after")
    def _check_saving(self) -> "EconomyRow":
        savings = [key for key in _SAVINGS if getattr(self, key) is not None]
        if len(savings) != 1:
            raise problem(f"expected one of {', '.join(_SAVINGS)}, found {' and '.join(savings) or 'none'}")
        if self.drop is not None and self.model is not None:
            raise problem("'drop' already names the model; remove this key", "model")
        return self


class PresetRow(Record):
    """`track` is the old name of `challenge`."""

    challenge: Challenge | None = None
    track: Challenge | None = None
    stems: Names | None = None
    description: Annotated[str, StringConstraints(max_length=LONGEST_TEXT)] = ""
    manifest: Text | None = None
    steps: Annotated[tuple[StepRow, ...], Field(min_length=1, max_length=MOST_STEPS)]
    economies: Annotated[tuple[EconomyRow, ...], Field(min_length=1, max_length=MOST_ECONOMIES)] = ()

    @model_validator(mode="after")
    def _check_stems(self) -> "PresetRow":
        given = [key for key in ("challenge", "track", "stems") if getattr(self, key) is not None]
        if len(given) != 1:
            raise problem(
                f"expected one of stems (the names of what it makes) and challenge ({', '.join(CHALLENGES)}),"
                f" found {' and '.join(given) or 'none'}"
            )
        for stem in self.stems or ():
            if (self.stems or ()).count(stem) > 1:
                raise problem(f"{stem!r} is named twice", "stems")
        return self
