"""Promises 1, 2 and 3: without --track and --data, too, the submission is only imported inside.

Nobody says what it is for, so it is asked; what the import got stands in its exception, which ends the run.
"""

import os
from pathlib import Path

from my_submission.attack import TOKEN, WORLD, attempt, pipes, read, say, say_tried

OPTIONS = ["--bare"]
EXIT = 2
SAYS = ["does not say which challenge it is for", "RuntimeError: got nothing of [1-9][0-9]+"]

got = [
    attempt(f"read {path}", lambda name=path: read(name))
    for path in (*WORLD["references"], *WORLD["secrets"])
]
for folder in (WORLD["root"], WORLD["home"], WORLD["repository"], WORLD["site_packages"], "/etc", "/usr"):
    got.append(attempt(f"write to {folder}", lambda at=folder: Path(at, TOKEN).write_text("evil")))
got += [attempt(f"variable {name}", lambda of=name: os.environ.get(of)) for name in WORLD["variables"]]
got.append(attempt("root", lambda: 0 in os.getresuid()))
got.append(attempt("another root", lambda: len(os.listdir("/proc")) > 500))
say(f"{len(pipes())} pipes")
say_tried()
raise RuntimeError(f"got {'something' if any(got) else 'nothing'} of {len(got)}")
