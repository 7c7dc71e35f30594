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


@registry.algorithm("frames")
def frames(features, parameters, context):
    """Return tables and dates of common libraries."""
    import numpy as np
    import pandas as pd
    import pyarrow as pa

    table = pd.DataFrame({"machine": ["m7", "m3", "m3"], "damage": [0.5, 0.25, 0.25]})
    days = np.array(["2026-01-02T03:04:05.123456789", "NaT"], dtype="M8[ns]")
    return {
        "predictions": {"by machine": table.groupby("machine")["damage"].sum(), "days": days},
        "evaluations": table[table.damage < 0.5],
        np.str_("monitors"): pa.table({"large": pa.array([2**63], pa.uint64())}),
    }
