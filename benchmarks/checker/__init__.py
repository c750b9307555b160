"""The quality checker under load: what `benchmarks/service.py` runs, and the slow tests in a small size."""
