"""Weights: what checkpoints there are (manifest), where they lie and whether they are the right ones
(store), how they come here (download), and how they are opened without trusting them (load)."""

from .errors import DownloadError, ManifestError, MissingWeights, UnsafeFile, WeightsError, WrongContent
from .manifest import Bag, Checkpoint, Manifest, Origin, load_manifest
from .required import require
from .store import Verification, find, verify

__all__ = [
    "Bag",
    "Checkpoint",
    "DownloadError",
    "Manifest",
    "ManifestError",
    "MissingWeights",
    "Origin",
    "UnsafeFile",
    "Verification",
    "WeightsError",
    "WrongContent",
    "find",
    "load_manifest",
    "require",
    "verify",
]
