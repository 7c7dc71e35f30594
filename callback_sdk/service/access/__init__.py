"""Who may use the service, and with what: users, passwords, tokens, and credentials at rest."""
