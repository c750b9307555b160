"""Weights: which checkpoints there are (manifest), where they are and whether they are right (store), how to fetch
them (fetch, download), and how to open them without trusting them (load)."""

from .checkpoints import Bag, Checkpoint, Manifest, Origin
from .errors import (
    DownloadError,
    LicenceNotAccepted,
    ManifestError,
    MissingWeights,
    UnsafeFile,
    WeightsError,
    WrongContent,
)
from .manifest import load_manifest
from .required import require
from .store import Verification, find, verify

__all__ = [
    "Bag",
    "Checkpoint",
    "DownloadError",
    "LicenceNotAccepted",
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
