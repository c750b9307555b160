"""Attacks on the sandbox, each of which must fail: see SECURITY.md for the promises, harness.py for what is checked."""
