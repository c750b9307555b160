"""Writes trained networks in the formats of the released ones, with the row that a manifest needs."""

import tempfile
from pathlib import Path
from typing import Any

import torch
import yaml

from my_submission.locations import IS_INSTALLED
from my_submission.weights.store import sha256_of
from training.config import ConfigError, TrainingConfig, as_document, parse_config
from training.state import load_state


def load_run(folder: Path) -> tuple[TrainingConfig, torch.nn.Module, int]:
    """A run's configuration, its network with the averaged weights, and its step. Raises ConfigError."""
    state = load_state(folder)
    if state is None:
        start = "sdx train" if IS_INSTALLED else "python -m training"
        raise ConfigError(f"{folder}: has no saved run; start one with `{start} fit CONFIG`")
    config = parse_config(state.config)
    network = config.model.build()
    network.load_state_dict(state.average)
    return config, network.eval(), state.step


def export_run(run: Path, folder: Path) -> str:
    """Write a run's averaged weights into `folder`; return their row for a manifest in that folder, as YAML.

    Files in weights/ are found from a manifest anywhere.
    """
    config, network, step = load_run(run)
    folder.mkdir(parents=True, exist_ok=True)
    model = config.model
    record = {**as_document(config), "step": step}
    # in a folder of its own first, so that no half of a file is ever there
    with tempfile.TemporaryDirectory(prefix=".", dir=folder) as draft:
        written, parameters = model.export(network, Path(draft), config.name, record)
        path = written.replace(folder / written.name)
    row: dict[str, Any] = {"architecture": model.architecture, "sources": list(model.sources)}
    if parameters:
        row["parameters"] = dict(parameters)
    row |= {"file": path.name, "bytes": path.stat().st_size, "sha256": sha256_of(path)}
    return yaml.safe_dump({config.name: row}, sort_keys=False, allow_unicode=True)
