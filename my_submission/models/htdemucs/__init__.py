"""HTDemucs for inference on the CPU: the network of a `demucs.htdemucs.HTDemucs`, computed in another layout.

The same function as the original's forward in evaluation mode (Rouard et al., arXiv 2211.08553). Features are grids
(batch, rows, frames, channels), channels last, where the waveform's branch has one row; what follows a layer is
computed with it (`models/fused.py`), and the transformer adds up in float32.
"""

from my_submission.models.htdemucs.network import FastHTDemucs, supported

__all__ = ["FastHTDemucs", "supported"]
