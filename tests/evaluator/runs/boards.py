"""A store with runs, and the command that shows it."""

from evaluator import __main__
from evaluator.runs.leaderboard import Store
from evaluator.runs.results import Result


def store_of(*runs: Result) -> Store:
    store = Store()
    for run in runs:
        store.record(run, None)
    return store


def command(*arguments: str) -> int:
    return __main__.main(["leaderboard", *arguments])
