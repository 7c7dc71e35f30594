"""Work on one task: claim it, run it in a child process, store and deliver its result."""
