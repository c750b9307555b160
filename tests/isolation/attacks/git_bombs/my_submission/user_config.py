"""Promises 1, 11 and 13: objects without end, references in a circle and submodules do not hold the evaluator.

All of it was there before: see prepare.py.
"""

from my_submission.attack import Model, tried

SYSTEMS = ["root"]


class MySeparationModel(Model):
    def attack(self) -> None:
        tried(5)
