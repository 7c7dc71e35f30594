"""The files of one run in the scratch directory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from attrs import define

from callback_sdk.filesystem.files import remove
from callback_sdk.service.files import Scratch, remove_tree


@define(frozen=True, kw_only=True)
class RunFiles:
    """Paths of the files of one run. A file exists once it is written."""

    features: Path
    results: Path
    progress: Path
    output: Path
    outputs: Path
    model_output: Path
    stop: Path


@contextmanager
def run_files(scratch: Scratch) -> Iterator[RunFiles]:
    """Yield the paths of the files of a run, and remove the files at the end.

    Args:
        scratch: Directory for them.
    """
    names = ("features", "results", "progress", "output", "outputs", "model_output", "stop")
    paths = {name: scratch.new(name) for name in names}
    outputs = paths.pop("outputs")
    try:
        yield RunFiles(**paths, outputs=outputs)
    finally:
        for path in paths.values():
            remove(path)
        # Created with the first output file: most runs have none.
        if outputs.exists():
            remove_tree(outputs)
