"""A browser for the tests of pages."""

from tests.browser import chrome, visit

__all__ = ["chrome", "visit"]
