"""Output files of a job: their names, and from any value to files; specified in docs/outputs.md."""

from callback_sdk.outputs.files import output_files
from callback_sdk.outputs.output import Output

__all__ = ["Output", "output_files"]
