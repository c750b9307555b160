"""Attacks on the sandbox: SECURITY.md has the promises, harness.py what is checked after each."""
