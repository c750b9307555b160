"""HTDemucs for inference on the CPU: the network of a `demucs.htdemucs.HTDemucs`, computed in another layout.

It computes the same function as the original's forward in evaluation mode (Rouard et al., arXiv 2211.08553). Features
are grids (batch, rows, frames, channels) with the channels last; the waveform's branch has one row, so both branches
share their code. Whatever follows a layer is computed with it (`models/fused.py`). The transformer adds up in
float32: what its layers add is rounded, but not the sum that passes them by.
"""

from my_submission.models.htdemucs.network import FastHTDemucs, supported

__all__ = ["FastHTDemucs", "supported"]
