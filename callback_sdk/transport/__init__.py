"""One upload in, one response out: the only access to the network for results."""
