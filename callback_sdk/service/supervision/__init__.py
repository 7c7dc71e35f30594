"""Keep processes, threads and loops running, and report how they are."""
