"""Weights that were fetched to this machine, which a submission may read, and the variables that lead to them.

The server has no network, and no such caches: there, weights are part of the submission. Here they may lie where the
hub's client, torch or the kit put them. Of these folders only what holds models is shown, not tokens or data sets.
"""

import os
from pathlib import Path

from evaluator.locations import DATA_VARIABLE, IS_INSTALLED, data_folder


def weights_folders(submission: Path) -> list[Path]:
    """What a submission may read of the caches of weights, as far as it is there."""
    hub = _hub_cache()
    models = sorted(hub.glob("models--*")) if os.path.isdir(hub) else []
    found = (data_folder() / "weights", _torch_checkpoints(), *models)
    return [path for path in found if os.path.isdir(path)]  # Path.is_dir raises where we may not look


def weights_variables(submission: Path) -> dict[str, str]:
    """Variables with which libraries find these, although the submission's home is another."""
    kit = data_folder() if IS_INSTALLED or os.environ.get(DATA_VARIABLE) else submission
    return {
        DATA_VARIABLE: str(kit),
        "HF_HUB_CACHE": str(_hub_cache()),
        "HF_HUB_OFFLINE": "1",
        "TORCH_HOME": str(_torch_checkpoints().parents[1]),
    }


def _hub_cache() -> Path:
    """Where the hub's client keeps files, by its own variables."""
    for name in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if folder := os.environ.get(name):
            return Path(folder).expanduser().absolute()
    home = os.environ.get("HF_HOME")
    return (Path(home).expanduser() if home else _user_cache() / "huggingface").absolute() / "hub"


def _torch_checkpoints() -> Path:
    home = os.environ.get("TORCH_HOME")
    return (Path(home).expanduser() if home else _user_cache() / "torch").absolute() / "hub" / "checkpoints"


def _user_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
