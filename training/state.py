"""A run's state on disk: enough to continue as if it had never stopped."""

import os
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from training.config import ConfigError

STATE_FILE = "state.pt"

Weights = dict[str, Tensor]


@dataclass
class RunState:
    """Where a run stands after `step` steps. Random numbers need no state: see `training.fit.seed_step`."""

    step: int
    seconds: float
    config: dict[str, Any]
    weights: Weights
    average: Weights
    optimiser: dict[str, Any]


def save_state(folder: Path, state: RunState) -> None:
    """Write the state so that a kill at any moment leaves the old one or the new one."""
    temporary = folder / f"{STATE_FILE}.tmp"
    torch.save(vars(state), temporary)
    os.replace(temporary, folder / STATE_FILE)


def load_state(folder: Path) -> RunState | None:
    """The state of the run in a folder, on the CPU; None if it has not saved one yet.

    Raises ConfigError if what is there is none.
    """
    path = folder / STATE_FILE
    if not path.is_file():
        return None
    try:
        return RunState(**torch.load(path, map_location="cpu", weights_only=True))
    except (RuntimeError, pickle.UnpicklingError, EOFError, TypeError, ValueError) as error:
        raise ConfigError(
            f"{path}: expected a saved run, found a file that cannot be read as one ({type(error).__name__});"
            " choose another folder, or remove it to start over"
        ) from error


class Average:
    """Exponential moving average of weights and BatchNorm statistics; it is validated and exported.

    It follows quickly at first: after t steps the decay is at most (1 + t) / (10 + t).
    """

    def __init__(self, network: torch.nn.Module, decay: float) -> None:
        self.weights: Weights = {key: value.detach().clone() for key, value in network.state_dict().items()}
        self._decay = decay

    def update(self, network: torch.nn.Module, step: int) -> None:
        """Add the weights after step number `step` (counted from 0)."""
        decay = min(self._decay, (1 + step) / (10 + step))
        with torch.no_grad():
            for key, value in network.state_dict().items():
                if value.is_floating_point():
                    self.weights[key].lerp_(value, 1 - decay)
                else:
                    self.weights[key].copy_(value)
