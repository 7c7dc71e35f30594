"""Algorithms: registration, input schemas, features and context."""
