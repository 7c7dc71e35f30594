"""Encode result documents: values as JSON, result files, and multipart forms."""
