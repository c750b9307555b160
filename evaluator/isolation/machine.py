"""What the evaluation ran on, for the result."""

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

import soundfile

PACKAGES = ("numpy", "soundfile", "torch", "demucs", "onnxruntime", "onnxruntime-gpu", "scipy")


def describe() -> dict[str, object]:
    """System, processor, cores, memory and GPUs of this machine."""
    return {
        "system": platform.system(),
        "release": platform.release(),
        "architecture": platform.machine(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_bytes": memory_bytes(),
        "gpus": _gpus(),
    }


def number_of_gpus() -> int:
    """How many GPUs this machine has."""
    return len(_gpus())


def versions() -> dict[str, str]:
    """Versions of Python, libsndfile and the packages that matter for a score, as far as they are installed."""
    found = {"python": platform.python_version(), "libsndfile": soundfile.__libsndfile_version__}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor()


def memory_bytes() -> int | None:
    """Physical memory in bytes, or None if the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None  # Windows has no sysconf


def _gpus() -> list[str]:
    query = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    try:
        listing = subprocess.run(query, capture_output=True, text=True, check=True, timeout=30).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in listing.splitlines() if line.strip()]
