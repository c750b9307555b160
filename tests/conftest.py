"""What holds for every test and for every process that one starts.

One thread for torch: threads that wait for one another on a busy machine turn milliseconds into minutes. Tests
that are about several threads ask for them. And SIGINT is not ignored, which a process started in the background
inherits from its shell: then what the tests interrupt would not end.
"""

import os
import signal

os.environ["OMP_NUM_THREADS"] = "1"
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
