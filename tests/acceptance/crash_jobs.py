"""What is computed while everything is killed."""

from __future__ import annotations

import time

from callback_sdk.service import Registry

registry = Registry()


@registry.algorithm("square")
def square(features, parameters, context):
    """Take a moment, so that a kill may come in the middle of it."""
    context.report_progress(0.5)
    time.sleep(parameters["seconds"])
    return {"predictions": [value * value for value in features.to_dict()["a"]]}
