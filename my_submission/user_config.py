"""What is submitted. Change the preset's name and nothing else."""

import os

from my_submission.preset_reader import load_preset
from my_submission.separator import MODELS

PRESET = os.environ.get("SDX_PRESET", "mdx-demo")


class MySeparationModel(MODELS[load_preset(PRESET).track]):  # type: ignore[misc]
    """The submitted preset, for the track that it is made for."""

    def __init__(self) -> None:
        super().__init__(preset=PRESET)
