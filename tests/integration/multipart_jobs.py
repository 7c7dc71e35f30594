"""Algorithms with large results and with output files, for the tests of uploads in several requests."""

from __future__ import annotations

from typing import Any

from callback_sdk.service import JobContext, Registry

registry = Registry()


@registry.algorithm("large")
def large(size: int) -> str:
    """Return a text of a given size."""
    return "x" * size


@registry.algorithm("files")
def files(features: Any, parameters: dict[str, Any], context: JobContext) -> int:
    """Make small output files."""
    for number in range(parameters["count"]):
        context.output(f"{number}.txt", f"file {number}".encode())
    return parameters["count"]
