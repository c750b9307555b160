"""Promises 1 and 11: a folder that is too deep to be looked through ends in one sentence, at once.

Five thousand folders in folders, whose path no system call takes, and a million entries would be no different.
"""

from my_submission.attack import Model, tried

EXPECTED = {"attack": "ok"}


class MySeparationModel(Model):
    def attack(self) -> None:
        """All of it was there before: see prepare.py. A run that refuses it is as good as one that copes with it."""
        tried()
