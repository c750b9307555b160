"""The commands of `python -m my_submission`: each parses, calls the library and prints."""
