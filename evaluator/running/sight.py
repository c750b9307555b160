"""What a submission may read besides its own folder, and what of that folder it will not see.

Mostly weights that were fetched to this machine, with the variables that lead to them. The server has no network, and
no such caches: there, weights are part of the submission. Here they may lie where the hub's client, torch or the kit
put them. Of these folders only what holds models is shown, not tokens or data sets.
"""

import logging
import os
from collections.abc import Sequence
from pathlib import Path

from evaluator import printable
from evaluator.isolation import view
from evaluator.locations import DATA_VARIABLE, IS_INSTALLED, data_folder

log = logging.getLogger(__name__)

OF_A_PRESET = (".yaml", ".yml", ".th", ".pt", ".pth", ".ckpt", ".chpt", ".onnx", ".safetensors")
SHOWN_LINKS = 3


def seen_besides(submission: Path, readable: Sequence[Path], preset: str | None) -> list[Path]:
    """What the submission is shown: what the user names, fetched weights, and what belongs to a preset's file."""
    return [*readable, *weights_folders(submission), *_beside(preset)]


def warn_of_what_is_unseen(submission: Path, shown: Sequence[Path] | None) -> None:
    """Say which parts of the folder will not be there; shown: see `seen_besides`, or None for an image.

    Their names are the submission's.
    """
    if shown is not None and (closed := view.unreadable(submission)) is not None:
        log.warning(
            "%s: only its owner may read it, but a submission runs as another user; chmod -R go+rX %s",
            printable.plain(str(closed)),
            printable.plain(str(submission)),
        )
    ends = {link: os.path.realpath(link) for link in view.links_out(submission)}
    places = [os.path.realpath(each) for each in shown or ()]
    unseen = [f"{link} leads to {end}" for link, end in ends.items() if not view.is_below_any(end, places)]
    if unseen:
        unless = "the Dockerfile brings it" if shown is None else "--readable names it"
        words = "; ".join(map(printable.plain, printable.listed(unseen, SHOWN_LINKS)))
        log.warning("what lies elsewhere is not there for the submission, unless %s: %s", unless, words)


def _beside(preset: str | None) -> list[Path]:
    """A preset's file, and the files beside it that may be its manifests and its weights.

    Not its folder: that may well hold the submission, its `.git`, other runs, or be closed to other users.
    """
    if preset is None or not Path(preset).is_file():
        return []
    file = Path(preset).resolve()
    return [file, *(each for each in sorted(file.parent.iterdir()) if each.suffix in OF_A_PRESET)]


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
