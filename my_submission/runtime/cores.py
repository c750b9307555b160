"""How many cores torch computes on."""

import logging
import math
import os
from pathlib import Path

import torch

from my_submission.runtime.control_groups import quota_cores

log = logging.getLogger(__name__)


def keep_to_quota(share: float = 1.0, root: Path = Path("/")) -> None:
    """Have torch compute on no more cores than this process's control groups give it the time of, rounded up.

    torch sees the machine's cores, or those that the process is bound to, but no quota (`docker run --cpus 4`,
    Kubernetes' limits): of a machine with 64 it would use all, and hold as many chunks, on the time of 4 cores.
    Where OMP_NUM_THREADS is set, somebody has decided, and it stays.
    share: of the time that is this process's, where others of the same groups compute, too. root: of the files that
        say it, for the tests.
    """
    quota, cores = quota_cores(root), torch.get_num_threads()
    if quota is None or "OMP_NUM_THREADS" in os.environ:
        return
    allowed = max(1, math.ceil(quota * share))
    if allowed < cores:
        log.info(
            "computing on %d of %d cores: this process may use the time of %.3g",
            allowed,
            cores,
            quota * share,
        )
        torch.set_num_threads(allowed)
