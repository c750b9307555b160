"""One thread for torch, here and in every process that a test starts.

Threads that wait for one another on a busy machine turn milliseconds into minutes; tests that are about several
threads ask for them.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"
