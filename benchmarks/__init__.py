"""Benchmarks that compare callback_sdk with other libraries on one machine. `python -m benchmarks` runs all of them."""
