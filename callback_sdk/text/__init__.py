"""Untrusted text: length limits, control characters, credentials in paths and quotes, and HTML for notebooks."""
