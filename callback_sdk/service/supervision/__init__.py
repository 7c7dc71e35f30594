"""Supervision of processes and threads: restarts, health reports and memory limits."""
