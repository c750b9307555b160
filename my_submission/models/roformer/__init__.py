"""RoFormers: transformers over the frames and over the bands of a spectrum, which give it a mask for each source.

- `bands`, `spectrum`: which bins a band has; audio to flat spectra and back;
- `network`: the published networks, one class, to be loaded, trained and compared with;
- `quick`: the same for inference;
- `checkpoint`, `model`: a published file and its manifest row become a callable on chunks;
- `training`: what training does with them;
- `bs`, `mel`: the two architectures, which differ in data.
"""

from my_submission.models.roformer import bs, mel

__all__ = ["bs", "mel"]
