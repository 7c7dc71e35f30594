"""One upload in, one response out: the only way by which results reach targets."""
