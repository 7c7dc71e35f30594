"""Who may use the service, and with what: users, passwords and tokens."""
