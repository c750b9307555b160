"""Promises 1 and 11: a submission's folder with odd files is looked through all the same, and ends nothing.

Pipes and sockets with names of modules, links to what has no end, files of a terabyte, deep folders and links that
go round in circles, names that are no text or that speak to the terminal, an aicrowd.json that nobody can finish
reading.
"""

from my_submission.attack import Model, tried


class MySeparationModel(Model):
    def attack(self) -> None:
        """All of it was there before: see prepare.py."""
        tried(10)
