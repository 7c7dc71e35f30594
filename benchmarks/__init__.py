"""Benchmarks: us beside our peers, in turns, on one machine. `python -m benchmarks` runs them all."""
