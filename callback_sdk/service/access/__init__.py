"""Authentication: users, passwords, tokens, login rate limits and the audit log."""
