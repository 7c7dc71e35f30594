"""An algorithm with all that an author can give it."""

from __future__ import annotations

import ctypes
import logging
import os
import subprocess
import sys
import time
from datetime import timedelta

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


@registry.algorithm("learner")
def guess(features, parameters, context):
    """Return the content of the trained model."""
    return context.model_path.read_text() if context.model_path else "nothing"


@guess.fit
def learn(features, parameters, context):
    before = context.model_path.read_text() + "+" if context.model_path else ""
    context.save_model((before + str(sum(features.to_dict()["a"]))).encode())
    if parameters.get("fail"):
        raise ValueError("too little data")
    return "learnt"


@registry.algorithm("chatty", memory_limit=400_000_000)
@registry.algorithm("chatty-for-a-while", timeout=timedelta(seconds=6))
def chatty(features, parameters, context):
    """Print and log by all means, and end as requested."""
    print("by print")  # noqa: T201
    logging.getLogger("jobs").info("by logging")
    subprocess.run([sys.executable, "-c", "print('by a child process')"], check=True)
    ctypes.CDLL(None).puts(b"by a C library")
    end = parameters.get("end")
    if end == "raise":
        raise ValueError("raised")
    if end == "exit":
        os._exit(3)
    if end == "crash":
        ctypes.string_at(0)
    if end == "sleep":
        time.sleep(60)
    if end == "grow":
        kept = bytearray(600_000_000)
        time.sleep(60)
        del kept
    if end == "much":
        for number in range(200_000):
            print(f"line {number} " + "x" * 100)  # noqa: T201
    return


@registry.algorithm("counted")
def counted(start: int, step: int = 1):
    return [start, start + step]
