"""Which preset separates people's recordings where they name none."""

import os
from pathlib import Path

from my_submission.ensemble.preset import checkpoint_rows
from my_submission.ensemble.preset_reader import load_preset
from my_submission.separator import MusicSeparationModel
from my_submission.weights.required import locate

EMBEDDED = MusicSeparationModel.default_preset
"""The one whose files come with the kit."""
START = "start"
"""The one that takes its place once its files are here."""


def configured_preset(weights_dir: Path | None = None) -> str:
    """The name in `user_config`; if that is the embedded one and nobody chose it, START where all its files are here.

    A submission is what `user_config` says, whatever is here. That is imported only on demand: the import fails if
    there is no preset of that name. Raises WeightsError if weights_dir is no folder.
    """
    from my_submission.user_config import PRESET

    if PRESET != EMBEDDED or "SDX_PRESET" in os.environ:
        return PRESET
    rows = (row for row in checkpoint_rows(load_preset(START)) if row.has_file)
    _, missing = locate(rows, weights_dir)
    return PRESET if missing else START
