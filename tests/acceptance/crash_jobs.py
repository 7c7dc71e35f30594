"""The algorithm of the crash test."""

from __future__ import annotations

import time

from callback_sdk.service import Registry

registry = Registry()


@registry.algorithm("square")
def square(features, parameters, context):
    """Return the square after a moment, so that a kill can hit the computation."""
    context.report_progress(0.5)
    time.sleep(parameters["seconds"])
    return {"predictions": [value * value for value in features.to_dict()["a"]]}
