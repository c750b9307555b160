"""Opens the engine that an address names; what one needs is imported for that one alone."""

from collections.abc import Callable
from pathlib import Path

from sdx.engines.address import WORKERS, Address
from sdx.engines.engine import Engine, EngineError


def open_engine(address: Address, folder: Path, notice: Callable[[str], None]) -> Engine:
    """The engine at `address`. `folder` is where it may keep its own files; `notice` is told what happens to it.

    Raises EngineError where what it needs is not installed, or where it cannot be reached.
    """
    kind = _of_kind(address.kind)
    if (warning := address.warning) is not None:
        notice(f"Warning: {warning}")
    engine = kind(address, folder, notice)
    if engine.dashboard is not None:
        notice(f"Dashboard: {engine.dashboard}")
    return engine


def _of_kind(kind: str) -> Callable[[Address, Path, Callable[[str], None]], Engine]:
    """What makes an engine; EngineError where a package that it is made of is not installed."""
    try:
        if kind == "dask":
            from sdx.engines.dask import DaskEngine

            return lambda address, _, notice: DaskEngine(address, notice)
        if kind == "slurm":
            from sdx.engines.slurm import SlurmEngine

            return lambda address, folder, _: SlurmEngine(address, folder)
    except ModuleNotFoundError as error:
        raise EngineError(
            f"--engine {kind}://: {error.name or error} is not installed; pip install 'sdx23-kit[cluster]', or from "
            "a checkout pip install '.[cluster]'"
        ) from error
    from sdx.engines.local import LocalEngine

    return lambda address, *_: LocalEngine(address.option("workers", WORKERS), address.option("gpus", 0))
