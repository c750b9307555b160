"""The kit's version, and the folder that its packages lie in.

That folder is laid out alike in a checkout and in a wheel: `my_submission/`, `evaluator/` and `training/`, with
`weights/` and `local_data/demo/` beside them. A wheel has it in `sdx/_kit`, and not at the top of site-packages, so
that an evaluation can take the kit off a submission's path without taking every installed package with it.
"""

from pathlib import Path

__version__ = "1.0.0"

_INSTALLED = Path(__file__).resolve().parent / "_kit"
IS_INSTALLED = _INSTALLED.is_dir()
ROOT = _INSTALLED if IS_INSTALLED else Path(__file__).resolve().parents[1]
