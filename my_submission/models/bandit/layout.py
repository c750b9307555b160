"""What tells one BandIt from another."""

from typing import Literal

from pydantic import model_validator

from my_submission.models.bandit.bands import musical_bands
from my_submission.schema import Fft, Record, Whole, problem


class BanditLayout(Record):
    """The names are those of published configurations (sample_rate, hop: their fs, hop_length).

    version: 1 reads zeros beyond a mixture's ends, and puts a band's real parts before its imaginary ones; 2 reads
        the mixture's reflection, and lets them take turns.
    n_bands: "musical" ones. emb_dim: features of a band.
    n_sqm_modules: pairs of an RNN over frames and one over bands.
    rnn_dim: of a GRU in one direction. mlp_dim: of the hidden layer that makes a mask.
    """

    version: Literal[1, 2]
    sample_rate: Whole
    n_fft: Fft
    hop: Whole
    n_bands: Whole
    emb_dim: Whole
    n_sqm_modules: Whole
    rnn_dim: Whole
    mlp_dim: Whole

    @model_validator(mode="after")
    def _check_spectrum(self) -> "BanditLayout":
        if self.n_fft % 2 or self.n_fft < 4:
            raise problem(f"expected an even number, 4 or more, found {self.n_fft}", "n_fft")
        if self.hop > self.n_fft // 2:
            raise problem(f"expected at most n_fft/2, found {self.hop}", "hop")
        if self.n_bands > self.n_fft // 2 + 1:
            raise problem(f"expected at most one for each bin, found {self.n_bands}", "n_bands")
        return self

    def bands(self) -> list[range]:
        """The bins of each band."""
        return musical_bands(self.n_bands, self.n_fft, self.sample_rate)
