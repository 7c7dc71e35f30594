"""Alerts for operators: what needs them now, sent once to a webhook, and a message when it has ended."""
