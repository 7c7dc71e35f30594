"""Concurrency: fork-safe locks, parallel calls, slots per host, leases, file locks, and reapers of processes."""
