"""Untrusted text: length limits, control characters, credentials in URLs, and HTML for notebooks."""
