"""The measures there are: how each is called, its unit, which way is better, and what values real signals have.

With |s|, |ŝ| ≤ 2¹⁵ (floats on the scale of 16-bit integers, the loudest that anybody writes) over a day of stereo
at 192 kHz, N = 3.3·10¹⁰ samples, every sum of squares, of s, ŝ and s − ŝ, is at most N·(2·2¹⁵)² = 1.4·10²⁰. So with
δ = 10⁻⁷ neither SDR nor SI-SDR, whose target |αs|² is at most |ŝ|², leaves ±10·log10(1.4·10²⁷) = ±272 dB. BSS Eval
has no δ: of equal signals it gives 20·log10(2⁵³) = 319 dB, and museval's may be more where only few samples differ;
of a reference as faint as float32 can be, 20·log10(10⁻⁴⁵/2¹⁶) = −996 dB. logWMSE has its
top where nothing is heard, −4·ln(10⁻⁸) = 73.7; beside a silent mixture the error is divided by 10⁻⁸ and the filter
adds 5 dB at most: −4·ln((2·2¹⁵·1.8/10⁻⁸)²) = −241. The others are 100/(1 + x), x ≥ 0.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True)
class Measure:
    """One measure of an estimate: `name` in results and tables, `option` on the command line."""

    name: str
    option: str
    unit: str
    lowest: float  # of signals that anybody may have
    highest: float
    higher_is_better: bool = True

    @property
    def better(self) -> str:
        """Which way is better, in one word."""
        return "higher" if self.higher_is_better else "lower"

    @property
    def words(self) -> str:
        """Unit and direction, as the end of a sentence."""
        return f"{self.unit}, {self.better} is better"

    def can_be(self, value: float | None) -> bool:
        """Whether signals can have this value; None, for "not defined", is possible."""
        return value is None or self.lowest <= value <= self.highest

    def gain(self, before: float, after: float) -> float:
        """How much better `after` is than `before`; below 0 if it is worse."""
        return after - before if self.higher_is_better else before - after


MEASURES: Mapping[str, Measure] = MappingProxyType(
    {
        measure.name: measure
        for measure in (
            Measure("sdr", "sdr", "dB", -300.0, 300.0),
            Measure("si_sdr", "si_sdr", "dB", -300.0, 300.0),
            Measure("bss_eval_sdr", "bss_eval", "dB", -1000.0, 500.0),
            Measure("bss_eval_isr", "bss_eval_isr", "dB", -1000.0, 500.0),
            Measure("bss_eval_sir", "bss_eval_sir", "dB", -1000.0, 500.0),
            Measure("bss_eval_sar", "bss_eval_sar", "dB", -1000.0, 500.0),
            Measure("l1_freq", "l1_freq", "0 to 100", 0.0, 100.0),
            Measure("log_wmse", "log_wmse", "no unit", -300.0, 74.0),
            Measure("aura_stft", "aura_stft", "0 to 100", 0.0, 100.0),
            Measure("aura_mrstft", "aura_mrstft", "0 to 100", 0.0, 100.0),
            Measure("bleedless", "bleedless", "0 to 100", 0.0, 100.0),
            Measure("fullness", "fullness", "0 to 100", 0.0, 100.0),
        )
    }
)
