"""Concurrency: fork-safe locks, parallel calls, slots and circuit breakers per host, leases, reapers of processes."""
