"""Calls the functions of one task: the algorithm or its training, then its evaluations and monitors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from callback_sdk.documents.document import encode
from callback_sdk.errors import AlgorithmError
from callback_sdk.service.algorithms.context import JobContext
from callback_sdk.service.algorithms.features import Features
from callback_sdk.service.algorithms.functions import AlgorithmFunctions, RegisteredFunction
from callback_sdk.service.algorithms.versions import AlgorithmVersion


def predict(
    algorithm: AlgorithmVersion,
    functions: AlgorithmFunctions,
    features: Features,
    parameters: dict[str, Any],
    context: JobContext,
    *,
    evaluate: bool | dict[str, Any],
    monitor: bool,
) -> dict[Any, Any]:
    """Call an algorithm, its evaluations and its monitors.

    Args:
        algorithm: The algorithm.
        functions: Its functions.
        features: The task's features.
        parameters: The task's parameters.
        context: The run's context.
        evaluate: True calls all evaluations, False calls none, and a dict calls the evaluations named by its keys.
        monitor: Whether to call the monitors.

    Returns:
        The members of the results document.

    Raises:
        FeaturesError: The features don't match the algorithm's schema.
        ParametersError: The parameters don't match the algorithm's schema.
    """
    if algorithm.parameters is not None:
        algorithm.parameters.check(parameters)
    if algorithm.features is not None:
        algorithm.features.check(features)
    values = {"features": features, "parameters": parameters, "context": context}
    members = _members(functions.predict.call(values))
    values["predictions"] = members["predictions"]
    options = evaluate if isinstance(evaluate, dict) else dict.fromkeys(functions.evaluations if evaluate else (), True)
    monitors = dict.fromkeys(functions.monitors if monitor else (), True)
    for member, hooks, wanted in (
        ("evaluations", functions.evaluations, options),
        ("monitors", functions.monitors, monitors),
    ):
        found = _call_hooks(hooks, wanted, values)
        if found:
            own = members.get(member)
            members[member] = {**(own if isinstance(own, dict) else {}), **found}
    if not evaluate:
        members["evaluations"] = None
    return members


def fit(
    algorithm: AlgorithmVersion,
    functions: AlgorithmFunctions,
    features: Features,
    parameters: dict[str, Any],
    context: JobContext,
) -> dict[Any, Any]:
    """Call an algorithm's training, and return the members of the results document.

    Raises:
        AlgorithmError: The algorithm has no training.
    """
    if functions.fit is None:
        raise AlgorithmError(f"{algorithm.name!r} can't be trained.", hint="Register a function with @registry.fit.")
    return _members(functions.fit.call({"features": features, "parameters": parameters, "context": context}))


def _members(value: Any) -> dict[Any, Any]:
    members = value if isinstance(value, dict) and "predictions" in value else {"predictions": value}
    return {"predictions": None, "evaluations": None, **members}


def _call_hooks(
    functions: Mapping[str, RegisteredFunction], wanted: Mapping[str, Any], values: Mapping[str, Any]
) -> dict[str, Any]:
    found = {}
    for name in functions:
        if name in wanted:
            values["context"].evaluation_options = wanted[name] if isinstance(wanted[name], dict) else {}
            found[name] = _call_hook(functions[name], values)
    return found


def _call_hook(function: RegisteredFunction, values: Mapping[str, Any]) -> Any:
    """Return the value of an evaluation or a monitor, or its error, with which the predictions are still delivered."""
    try:
        # Encoded here, once: some values, such as an Arrow RecordBatchReader, can be read only once.
        return encode(function.call(values), path="it")
    except Exception as error:  # noqa: BLE001 - code of the algorithm's author may raise anything
        return {"error": f"{type(error).__name__}: {error}"[:1000].encode(errors="replace").decode()}
