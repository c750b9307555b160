"""Where each piece of sound belongs on its file's clock. Pure: times in seconds as fractions, lengths in samples."""

from fractions import Fraction

GAP_SECONDS = Fraction(1, 100)
"""From this much on, a jump of the clock is a gap: containers round times to milliseconds, or to their packets."""
RESTART_SECONDS = 10
"""A longer jump ahead, in a format whose clock may start anew (broadcasts), is a new clock and no silence."""
WORTH_SAYING_SECONDS = Fraction(1, 10)


class Timeline:
    """Tells how much silence goes before each piece of sound, so that all of them are where the clock wants them.

    zero: the clock at sample 0. end: where the file says that it ends, or None. restarts: the format's clock may
    start anew. Sound is never left out: where pieces overlap, or the clock goes back, what follows is late, which
    `facts` says.
    """

    def __init__(
        self, sample_rate: int, zero: Fraction, end: Fraction | None = None, *, restarts: bool = False
    ) -> None:
        self.samples = 0
        self._rate = sample_rate
        self._limit = None if end is None else end + 1
        self._restarts = restarts
        self._anchor = (zero, 0)  # a time, and the sample that belongs to it
        self._expected = zero
        self._silences: list[tuple[int, int]] = []  # where, how many samples
        self._jumps: list[str] = []

    def silence_before(self, time: Fraction | None, samples: int) -> int:
        """Note a piece of `samples` that belongs at `time` (None: right after the last); the silence before it."""
        silence = 0
        if time is not None:
            jump = time - self._expected
            if self._is_new_clock(time, jump):
                self._jumps.append(
                    f"its clock jumps by {float(jump):+.3f} s at {self.samples / self._rate:.3f} s, where nothing "
                    f"is put in or left out"
                )
                self._anchor = (time, self.samples)
            elif jump >= GAP_SECONDS or (jump > 0 and self.samples == 0):
                silence = max(0, self._place(time) - self.samples)
            self._expected = time
        if silence:
            self._silences.append((self.samples, silence))
        self._expected += Fraction(samples, self._rate)
        self.samples += silence + samples
        return silence

    def facts(self) -> list[str]:
        """What was put in to keep to the clock, and where that was not possible; whole clauses."""
        facts = [
            f"its sound starts at {count / self._rate:.3f} s, with silence before it"
            for start, count in self._silences
            if start == 0
        ]
        gaps = [count for start, count in self._silences if start]
        if gaps:
            where = "a gap" if len(gaps) == 1 else f"{len(gaps)} gaps"
            facts.append(
                f"its sound has {where} of {sum(gaps) / self._rate:.3f} s in all, filled with silence"
            )
        return facts + self._deviations()

    def _deviations(self) -> list[str]:
        late = Fraction(self.samples - self._place(self._expected), self._rate)
        if abs(late) < WORTH_SAYING_SECONDS:
            return self._jumps
        how = "later" if late > 0 else "earlier"
        return [*self._jumps, f"at its end, sound is {abs(float(late)):.3f} s {how} than on its clock"]

    def _place(self, time: Fraction) -> int:
        anchor, sample = self._anchor
        return sample + round((time - anchor) * self._rate)

    def _is_new_clock(self, time: Fraction, jump: Fraction) -> bool:
        if self.samples == 0:
            return False
        if jump > 0:
            beyond = self._limit is not None and time > self._limit
            return jump >= RESTART_SECONDS and (self._restarts or beyond)
        return jump <= -1
