"""Which device networks run on, and what they compute in: chosen by name, by size, or by trial."""

import functools
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

from my_submission.models import fused
from my_submission.models.heap import keep_heap
from my_submission.runtime import precisions
from my_submission.runtime.cores import keep_to_quota
from my_submission.runtime.trials import TRIAL_CLOCK, Clock, least_seconds, on_one_core

log = logging.getLogger(__name__)

PRECISIONS = dict(zip(precisions.NAMES, (torch.float32, torch.bfloat16, torch.float16), strict=True))
DEVICES = "auto, cpu, cuda or cuda:N"

CLEARLY_QUICKER = 1.3
"""How much faster lower precision must be on a CPU; less may be noise, and is not worth the rounding."""
PRODUCT_SIZE, PRODUCT_ROUNDS = 512, 5
SHARES = (1 / 16, 1 / 4, 1.0)
TOLD_APART_SECONDS, ENOUGH_SECONDS, MOST_ROUNDS = 0.05, 0.6, 3
MOST_SECONDS = 3.0
"""For a larger share, where a small one leaves doubt: what does not grow with it hides part of the difference."""

Work = Callable[[float], object]
"""Runs a network over that share of a chunk, or over more if the network needs it."""
Trial = Callable[[torch.dtype], Work | None]
"""Loads a network in a dtype; None if it can compute only in float32."""


def resolve_device(name: str) -> torch.device:
    """The torch device of a name; "auto" is the first GPU if there is one, else the CPU, and is logged.

    Raises RuntimeError for a GPU that does not exist, ValueError for any other name.
    """
    if name == "auto":
        device = torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
        log.info("device auto: using %s", device)
        return device
    if name == "cpu":
        return torch.device("cpu")
    if name != "cuda" and not (name.startswith("cuda:") and name[5:].isdecimal()):
        raise ValueError(f"device: expected {DEVICES}, found {name!r}")
    index = int(name[5:]) if ":" in name else 0
    if index >= torch.cuda.device_count():
        raise RuntimeError(
            f"device: found {name!r}, but torch {torch.__version__} sees {torch.cuda.device_count()} GPUs; "
            f"check the driver with nvidia-smi, or choose device='cpu'"
        )
    return torch.device("cuda", index)


@dataclass(frozen=True)
class Precision:
    """What the networks on a device compute in.

    dtype: for all of them; with `auto`, for those that agree closely enough and are faster in it: those of large
        files (`pool.LARGE_BYTES`), and others by trial. The rest use float32.
    """

    device: torch.device
    dtype: torch.dtype
    auto: bool = False

    def of(
        self, name: str, kind: str, trial: Trial | None, clock: Clock = TRIAL_CLOCK, timed: bool = True
    ) -> torch.dtype:
        """The dtype of a network; the same for all networks of a kind within a process.

        name: for the log. kind: equal for networks that do the same work.
        trial: loads such a network, to find out which dtype is faster; None for an architecture that was never shown
            to agree closely enough in lower precision.
        timed: False for a network that is known to be faster in lower precision, if it can compute in it.
        """
        if not self.auto or self.dtype == torch.float32:
            return self.dtype
        if trial is None:
            return torch.float32
        if self.device.type != "cpu":
            return self.dtype
        key = kind, self.dtype
        if key not in _CHOSEN:
            if timed:
                ratio = on_one_core(lambda: _times_as_quick(trial, self.dtype, clock))
                quicker, why = (
                    ratio >= CLEARLY_QUICKER,
                    f"{name_of(self.dtype)} is {ratio:.2f} x as fast here",
                )
            else:
                quicker, why = trial(self.dtype) is not None, "it is large"
            _CHOSEN[key] = self.dtype if quicker else torch.float32
            log.info("precision auto: %s computes in %s; %s", name, name_of(_CHOSEN[key]), why)
        return _CHOSEN[key]


_CHOSEN: dict[tuple[str, torch.dtype], torch.dtype] = {}


def resolve_precision(name: str, device: torch.device) -> Precision:
    """The precision of a name.

    "auto" is the fastest that agrees with float32 to 45 dB on this device: on a CPU that is quicker in it, bfloat16
    for large networks, and for others by trial; bfloat16 on GPUs that have it, float16 on older ones; else
    float32. It is logged.

    On the CPU it also has the process keep its heap, and compute on no more cores than its quota (`heap.py`,
    `cores.py`), since it is called before anything is computed.
    Raises ValueError for an unknown name, and for fp16 on the CPU.
    """
    if device.type == "cpu":
        keep_heap()
        keep_to_quota()
    if name == "auto":
        precision = Precision(device, _lower_dtype(device), auto=True)
        if precision.dtype == torch.float32:
            log.info("precision auto: float32; nothing lower is faster on this processor")
        return precision
    if name not in PRECISIONS:
        raise ValueError(f"precision: expected one of auto, {', '.join(PRECISIONS)}, found {name!r}")
    if name == "fp16" and device.type == "cpu":
        raise ValueError("precision: fp16 needs a GPU; choose bf16, fp32 or auto on the CPU")
    if name == "bf16" and device.type == "cpu" and not fused.available(torch.bfloat16):
        log.warning(
            "precision bf16: this processor lacks it; results are rounded alike, but no faster than fp32"
        )
    return Precision(device, PRECISIONS[name])


def name_of(dtype: torch.dtype) -> str:
    """As torch prints it, without "torch."."""
    return str(dtype).removeprefix("torch.")


def describe(dtypes: Mapping[str, torch.dtype]) -> str:
    """The dtypes of networks in words: one name, or "bfloat16 (one, another), float32 (a third)"."""
    by_name: dict[str, list[str]] = {}
    for network, dtype in sorted(dtypes.items()):
        by_name.setdefault(name_of(dtype), []).append(network)
    if len(by_name) == 1:
        return next(iter(by_name))
    return ", ".join(f"{name} ({', '.join(networks)})" for name, networks in sorted(by_name.items()))


def _lower_dtype(device: torch.device) -> torch.dtype:
    """The dtype that may be faster than float32, or float32."""
    if device.type == "cpu":
        quick = fused.available(torch.bfloat16) and on_one_core(_product_ratio) >= CLEARLY_QUICKER
        return torch.bfloat16 if quick else torch.float32
    return torch.bfloat16 if torch.cuda.get_device_capability(device) >= (8, 0) else torch.float16


def _product_ratio() -> float:
    """How many times as fast a large matrix product is in bfloat16; takes some milliseconds."""
    exact = torch.ones(PRODUCT_SIZE, PRODUCT_SIZE)
    lower = exact.bfloat16()
    calls = [lambda: exact @ exact, lambda: lower @ lower]
    least = least_seconds(calls, PRODUCT_ROUNDS, float("inf"))
    return least[0] / least[1]


def _times_as_quick(trial: Trial, lower: torch.dtype, clock: Clock) -> float:
    """Seconds in float32 over seconds in lower precision, on the smallest share of a chunk that leaves no doubt.

    It takes long enough, and lower precision is not quicker there, or clearly so.
    """
    exact, low = trial(torch.float32), trial(lower)
    if exact is None or low is None:
        return 1.0
    enough = ENOUGH_SECONDS
    for share, larger in zip(SHARES, (*SHARES[1:], float("inf")), strict=True):
        calls = [functools.partial(work, share) for work in (exact, low)]
        least = least_seconds(calls, MOST_ROUNDS, enough, clock)
        ratio, seconds = least[0] / least[1], sum(least)
        in_doubt = 1 < ratio < CLEARLY_QUICKER and seconds * larger / share <= MOST_SECONDS
        if seconds >= TOLD_APART_SECONDS and not in_doubt:
            break
        if in_doubt:
            enough = MOST_SECONDS  # for more than one round, since the first also prepares for a new size
    return ratio
