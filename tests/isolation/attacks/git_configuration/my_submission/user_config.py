"""Promises 1 and 13: nothing that the submission's git repository configures runs when its commit is read.

A file system monitor, hooks, filters, a pager, an editor, helpers for differences, credentials, signatures and
transport, included files, attributes, an alias for each command, another working tree: each writes where it ran.
"""

from my_submission.attack import Model, tried

SYSTEMS = ["root", "user", "bare", "docker"]


class MySeparationModel(Model):
    def attack(self) -> None:
        """All of it was done before: see prepare.py. What ran has left a file beside the data."""
        tried(20)
