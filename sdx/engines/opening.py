"""Opens the engine that an address names; what one needs is imported for that one alone."""

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from sdx.engines.address import WORKERS, Address
from sdx.engines.engine import Engine, EngineError

NEEDED = {"dask": "distributed", "slurm": "submitit"}


def open_engine(address: Address, folder: Path, notice: Callable[[str], None]) -> Engine:
    """The engine at `address`. `folder` is where it may keep its own files; `notice` is told what happens to it.

    Raises EngineError where what it needs is not installed, or where it cannot be reached.
    """
    package = NEEDED.get(address.kind)
    if package is not None and find_spec(package) is None:
        raise EngineError(
            f"--engine {address.kind}://: {package} is not installed; pip install 'sdx23-kit[cluster]', or from a "
            "checkout pip install '.[cluster]'"
        )
    if (warning := address.warning) is not None:
        notice(f"Warning: {warning}")
    engine = _opened(address, folder, notice)
    if engine.dashboard is not None:
        notice(f"Dashboard: {engine.dashboard}")
    return engine


def _opened(address: Address, folder: Path, notice: Callable[[str], None]) -> Engine:
    if address.kind == "dask":
        from sdx.engines.dask import DaskEngine

        return DaskEngine(address, notice)
    if address.kind == "slurm":
        from sdx.engines.slurm import SlurmEngine

        return SlurmEngine(address, folder)
    from sdx.engines.local import LocalEngine

    return LocalEngine(address.option("workers", WORKERS), address.option("gpus", 0))
