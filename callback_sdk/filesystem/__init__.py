"""Durable and private files, and locks between processes, on every operating system."""
