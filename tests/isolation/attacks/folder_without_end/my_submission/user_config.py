"""Promises 1 and 11: a folder that is too deep to be looked through ends in one sentence, at once.

It was made before: see prepare.py.
"""

from my_submission.attack import Model, tried

EXIT = 2
SAYS = ["error: .*deep"]


class MySeparationModel(Model):
    def attack(self) -> None:
        tried()
