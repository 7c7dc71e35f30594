"""What several threads and processes share: locks after a fork, calls at the same time, slots per host."""
