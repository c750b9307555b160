"""BSRNN (Luo and Yu: Music Source Separation with Band-Split RNN, arXiv 2209.15174) as others trained it, since its
authors released no checkpoint: recurrent layers over the frames and over the bands of a spectrum, and a mask for it.

- `bands`: which bins a band has; `layers`: what both networks have in common;
- `port`: the network of amanteur/BandSplitRNN-PyTorch, and of crlandsc/Music-Demixing-with-Band-Split-RNN, which
  differs from it in one transpose;
- `reproduction`: that of magronp/bsrnn ("oBSRNN"; Magron, Serizel, Douwes: The Costs of Reproducibility in Music
  Separation Research, arXiv 2603.09187), with an exchange between channels, and attention.

Nearly all products are those of the recurrent layers, which have all bands side by side. The layers that each band
has of its own follow one another, since bands are of many widths.
"""

from my_submission.models.bsrnn import port, reproduction

__all__ = ["port", "reproduction"]
