"""A browser for the tests of the page."""

from tests.browser import chrome, visit

__all__ = ["chrome", "visit"]
