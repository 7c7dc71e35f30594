"""What a worker does with one task: claim it, run it in a child process, save and deliver its result."""
