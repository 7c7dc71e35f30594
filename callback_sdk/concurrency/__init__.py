"""Concurrency: fork-safe locks, parallel calls, slots per host, leases and file locks."""
