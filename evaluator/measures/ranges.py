"""Between which values a measure of real signals lies.

With |s|, |ŝ| ≤ 2¹⁵ (floats on the scale of 16-bit integers, the loudest that anybody writes) over a day of stereo
at 192 kHz, N = 3.3·10¹⁰ samples, every sum of squares, of s, ŝ and s − ŝ, is at most N·(2·2¹⁵)² = 1.4·10²⁰. So with
δ = 10⁻⁷ neither SDR nor SI-SDR, whose target |αs|² is at most |ŝ|², leaves ±10·log10(1.4·10²⁷) = ±272 dB. BSS Eval
has no δ: of equal signals it gives what float64 leaves of their difference, 20·log10(2⁵³) = 319 dB, and more where
only few samples differ; of a reference as faint as float32 can be, 20·log10(10⁻⁴⁵/2¹⁶) = −996 dB.
"""

from collections.abc import Mapping
from types import MappingProxyType

POSSIBLE_DB: Mapping[str, tuple[float, float]] = MappingProxyType(
    {"sdr": (-300.0, 300.0), "si_sdr": (-300.0, 300.0), "bss_eval_sdr": (-1000.0, 500.0)}
)


def is_possible(measure: str, decibels: float | None) -> bool:
    """Whether signals can have this value; None, for "not defined", is possible."""
    low, high = POSSIBLE_DB[measure]
    return decibels is None or low <= decibels <= high
