"""Algorithms for the tests of the client against the service; imported by the service itself."""

from __future__ import annotations

import os

from callback_sdk.service import Registry

registry = Registry()


@registry.algorithm("scale", templates={"input": {"a": [1.0]}}, graphs={"input": os.environ["CLIENT_JOBS_PICTURE"]})
def scale(features, parameters, context):
    """Multiply the column's sum."""
    return {"predictions": sum(features.to_dict()["a"]) * parameters.get("by", 1)}


@registry.fit("scale")
def train(features, parameters, context):
    return {"predictions": "trained"}


@registry.algorithm("fail")
def fail(features, parameters, context):
    raise ValueError("no such material")


@registry.algorithm("echo")
def echo(features, parameters, context):
    return {"predictions": parameters, "evaluations": features.to_dict()}
