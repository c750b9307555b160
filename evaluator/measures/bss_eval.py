"""BSS Eval v4 (Stöter, Liutkus, Ito, arXiv 1804.06267): framewise SDR, ISR, SIR and SAR, as the package museval.

An estimate ŝ of a source s is s + e_spat + e_interf + e_artif. With P the projection on all references under filters
of 512 taps, and Pₛ that on the source's own, e_spat = Pₛŝ − s, e_interf = Pŝ − Pₛŝ, e_artif = ŝ − Pŝ. The filters are
those of whole signals (v4; v3 had some for each frame); ratios of energies are taken frame by frame.

- The errors of SDR add up to ŝ − s, so SDR needs no filter.
- Correlations are summed up over blocks, so memory does not grow with length. The filters of all estimates come from
  one Cholesky factor.
- A frame's projections are products of spectra that are longer than its convolutions, and energies those of the
  spectra (Parseval).

Signals are functions that give a new iterator of (samples, channels) blocks, all with equal channels and blocks of
equal lengths. All is computed in float64.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import scipy.fft
import scipy.linalg
from numpy.typing import NDArray

Block = NDArray[np.floating]
Signal = Callable[[], Iterator[Block]]
Ratio = Literal["sdr", "isr", "sir", "sar"]
Values = NDArray[np.float64]

TAPS = 512
CORRELATED_TOGETHER = 8  # pieces whose products are summed up by one call
PIECE_SIZE = 8192  # of the transforms that correlations are computed with
LEAST_ERROR = 2.0**-106  # of an energy: what float64 leaves where there is no error, 319 dB
RIDGE = np.finfo(
    np.float64
).eps  # as in museval: on the diagonal, against references that are filtered from another


def medians(
    references: Sequence[Signal], estimates: Sequence[Signal], frame_samples: int, ratios: Sequence[Ratio]
) -> dict[Ratio, list[float | None]]:
    """For each of `ratios` its median in dB over the whole frames of each source; None where no frame counts.

    A source whose reference or estimate is silent throughout has no values, and the others are evaluated without it.
    Frames in which any of theirs is silent do not count. Silent is, as in museval, what has channels that add up to
    nothing. One source alone has no SIR. A signal shorter than a frame is one.
    """
    heard = _heard(references, estimates)
    found: dict[Ratio, list[float | None]] = {ratio: [None] * len(references) for ratio in ratios}
    if not heard:
        return found
    own = [references[place] for place in heard], [estimates[place] for place in heard]
    filters = None if set(ratios) == {"sdr"} else _Filters(*own)
    frames = [
        _frame_ratios(*frame, filters)
        for frame in _frames(*own, frame_samples)
        if not any(_is_silent(signal) for signal in (*frame[0], *frame[1]))
    ]
    for ratio in ratios if frames else ():
        if ratio == "sir" and len(heard) == 1:
            continue
        for place, value in zip(heard, np.median([frame[ratio] for frame in frames], axis=0), strict=True):
            found[ratio][place] = float(value)
    return found


def _is_silent(signal: Block) -> bool:
    return not signal.sum(axis=1, dtype=np.float64).any()


def _heard(references: Sequence[Signal], estimates: Sequence[Signal]) -> list[int]:
    """Places of the sources that are not silent throughout."""
    return [
        place
        for place, pair in enumerate(zip(references, estimates, strict=True))
        if all(any(not _is_silent(block) for block in signal()) for signal in pair)
    ]


def _pieces(signals: Sequence[Signal], size: int) -> Iterator[Values]:
    """(signals, size, channels), the last piece as short as it is."""
    rest: Values | None = None
    for blocks in zip(*(signal() for signal in signals), strict=True):
        block = np.stack(blocks, dtype=np.float64)
        rest = block if rest is None else np.concatenate([rest, block], axis=1)
        while rest.shape[1] >= size:
            yield rest[:, :size]
            rest = rest[:, size:]
    if rest is not None and rest.shape[1]:
        yield rest


def _frames(
    references: Sequence[Signal], estimates: Sequence[Signal], size: int
) -> Iterator[tuple[Values, Values]]:
    """Whole frames of references and estimates, (sources, size, channels) each; a shorter one only if it is all."""
    for number, piece in enumerate(_pieces([*references, *estimates], size)):
        if piece.shape[1] == size or number == 0:
            yield piece[: len(references)], piece[len(references) :]


def _channels(signals: Values) -> Values:
    """(signals, samples, channels) -> (signals · channels, samples)."""
    return np.moveaxis(signals, 2, 1).reshape(-1, signals.shape[1])


class _Filters:
    """Of least squares: from every reference channel to every channel of the estimates, and from a source's own."""

    def __init__(self, references: Sequence[Signal], estimates: Sequence[Signal]) -> None:
        correlations = _correlations(references, estimates)
        inputs = len(correlations)
        self._all = _least_squares(correlations[:, :inputs], correlations[:, inputs:])
        channels = inputs // len(references)
        own = []
        for source in range(0, inputs, channels):
            rows, columns = (slice(start, start + channels) for start in (source, inputs + source))
            own.append(_least_squares(correlations[rows, rows], correlations[rows, columns]))
        self._own = np.stack(own)
        self._spectra: _Spectra | None = None

    def spectra(self, size: int) -> "_Spectra":
        """Of transforms of this size; kept until another one is asked for."""
        if self._spectra is None or self._spectra.size != size:
            self._spectra = _Spectra(size, *(scipy.fft.rfft(taps, size) for taps in (self._all, self._own)))
        return self._spectra


@dataclass(frozen=True)
class _Spectra:
    """all: (reference channels, estimate channels, bins); own: (sources, channels, channels, bins)."""

    size: int
    all: NDArray[np.complex128]
    own: NDArray[np.complex128]


def _correlations(references: Sequence[Signal], estimates: Sequence[Signal]) -> Values:
    """Σₙ x[n − a]·y[n] for each reference channel x, each channel y of references and estimates, and a from 0 to
    TAPS − 1: (reference channels, channels of both, taps)."""
    step = PIECE_SIZE - TAPS + 1
    total: NDArray[np.complex128] | float = 0.0
    before: Values | None = None
    count = 0
    for piece in _pieces([*references, *estimates], CORRELATED_TOGETHER * step):
        signals = _channels(piece)
        count = len(signals) * len(references) // (len(references) + len(estimates))
        short = -signals.shape[1] % step
        if before is None:
            before = np.zeros((len(signals), TAPS - 1))
        longer = np.concatenate([before, np.pad(signals, ((0, 0), (0, short)))], axis=1)
        before = longer[:, signals.shape[1] :][:, : TAPS - 1]
        windows = np.lib.stride_tricks.sliding_window_view(longer, PIECE_SIZE, axis=1)[:, ::step]
        now = windows.copy()
        now[..., : TAPS - 1] = 0
        past = scipy.fft.rfft(windows[:count])  # (channels, pieces, bins)
        total = total + np.conj(past).transpose(2, 0, 1) @ scipy.fft.rfft(now).transpose(2, 1, 0)
    assert isinstance(total, np.ndarray)
    return np.asarray(scipy.fft.irfft(total.transpose(1, 2, 0), PIECE_SIZE)[..., :TAPS])


def _least_squares(among: Values, onto: Values) -> Values:
    """Filters from n channels to m, (n, m, taps), by the correlations among the n and with the m."""
    inputs, outputs = onto.shape[:2]
    gram = np.empty((inputs, TAPS, inputs, TAPS))
    for one in range(inputs):
        for other in range(inputs):
            # Row a, column b: x[n − a]·y[n − b], which depends on b − a.
            lags = np.concatenate([among[one, other, :0:-1], among[other, one]])
            gram[one, :, other] = np.lib.stride_tricks.sliding_window_view(lags, TAPS)[::-1]
    matrix = gram.reshape(inputs * TAPS, inputs * TAPS)
    matrix.flat[:: len(matrix) + 1] += RIDGE
    wanted = onto.transpose(0, 2, 1).reshape(inputs * TAPS, outputs)
    try:
        solved = scipy.linalg.cho_solve(scipy.linalg.cho_factor(matrix.T), wanted)  # in Fortran's order
    except scipy.linalg.LinAlgError:
        solved = _solved_by_few(matrix, wanted)
    return np.asarray(solved.reshape(inputs, TAPS, outputs).transpose(0, 2, 1))


def _solved_by_few(matrix: Values, wanted: Values) -> Values:
    """The same where some inputs are made of others, as in two equal channels: with nothing of those.

    A Cholesky factor with pivots finds them, beside inputs of equal energy; least squares by singular values take
    twenty times as long.
    """
    scale = 1 / np.sqrt(matrix.diagonal())
    factor, order, rank, _ = scipy.linalg.lapack.dpstrf((matrix * scale[:, None] * scale).T)
    few = order[:rank] - 1
    solved = np.zeros_like(wanted)
    equalised = scale[few, None] * wanted[few]
    solved[few] = scale[few, None] * scipy.linalg.cho_solve((factor[:rank, :rank], False), equalised)
    return solved


def _frame_ratios(references: Values, estimates: Values, filters: _Filters | None) -> dict[Ratio, Values]:
    """In dB of each source, of a frame (sources, samples, channels)."""
    found: dict[Ratio, Values] = {
        "sdr": _decibels(*(np.square(x).sum(axis=(1, 2)) for x in (references, estimates - references)))
    }
    if filters is None:
        return found
    size = scipy.fft.next_fast_len(references.shape[1] + TAPS - 1, real=True)
    s, s_hat = (scipy.fft.rfft(_channels(signals), size) for signals in (references, estimates))
    spectra = filters.spectra(size)
    everything = np.einsum("iof,if->of", spectra.all, s)
    shape = (*spectra.own.shape[:2], -1)
    of_own = np.einsum("siof,sif->sof", spectra.own, s.reshape(shape))
    s, s_hat, everything = (signals.reshape(shape) for signals in (s, s_hat, everything))

    def energy(signals: NDArray[np.complex128]) -> Values:
        power = np.square(signals.real) + np.square(signals.imag)
        once = power[..., 0] + (power[..., -1] if size % 2 == 0 else 0)  # the other bins stand for two
        return np.asarray((2 * power.sum(axis=-1) - once).sum(axis=-1) / size)

    found["isr"] = _decibels(energy(s), energy(of_own - s))
    found["sir"] = _decibels(energy(of_own), energy(everything - of_own))
    found["sar"] = _decibels(energy(everything), energy(s_hat - everything))
    return found


def _decibels(signal: Values, error: Values) -> Values:
    with np.errstate(divide="ignore"):
        return np.asarray(10 * np.log10(signal / np.maximum(error, LEAST_ERROR * signal)))
