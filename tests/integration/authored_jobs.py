"""An algorithm with all that an author can give it."""

from __future__ import annotations

from callback_sdk.service import Registry

registry = Registry()


@registry.algorithm(
    "scale",
    features={"properties": {"a": {"type": "number", "description": "What to multiply."}}, "required": ["a"]},
    parameters={"properties": {"factor": {"type": "number", "default": 2}}, "additionalProperties": False},
)
def scale(features, parameters, context):
    """Multiply a column."""
    return [value * parameters.get("factor", 2) for value in features.to_dict()["a"]]


@scale.evaluation("total")
def total(features, parameters, predictions, context):
    return sum(predictions)


@scale.evaluation("broken")
def broken(features, parameters, predictions, context):
    return predictions[99]


@scale.monitor("largest")
def largest(features, parameters, predictions, context):
    return max(predictions)


@scale.fit
def fit(features, parameters, context):
    return "trained"
