"""Feeds every parser what nobody would write: `python -m tests.fuzz NAME --minutes 10`."""
