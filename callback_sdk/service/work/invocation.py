"""What is called for one task: the algorithm itself, or what trains it; then what judges its predictions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from callback_sdk.documents.document import encode
from callback_sdk.errors import AlgorithmError
from callback_sdk.service.algorithms.context import JobContext
from callback_sdk.service.algorithms.features import Features
from callback_sdk.service.algorithms.registry import AlgorithmVersion, EvaluationFunction


def predict(
    algorithm: AlgorithmVersion,
    features: Features,
    parameters: dict[str, Any],
    context: JobContext,
    *,
    evaluate: bool | dict[str, Any],
    monitor: bool,
) -> dict[Any, Any]:
    """Call an algorithm, its evaluations and its monitors.

    Args:
        algorithm: Which.
        features: Its data; refused when they are not what it declares.
        parameters: Its parameters; likewise.
        context: What it knows of its run.
        evaluate: True calls all evaluations, False none, a dict those that it names.
        monitor: Whether the monitors are called.

    Returns:
        The members of the results.

    Raises:
        FeaturesError: The features don't fit.
        ParametersError: The parameters don't fit.
    """
    if algorithm.parameters is not None:
        algorithm.parameters.check(parameters)
    if algorithm.features is not None:
        algorithm.features.check(features)
    members = _members(algorithm.function(features, parameters, context))
    asked = evaluate if isinstance(evaluate, dict) else dict.fromkeys(algorithm.evaluations if evaluate else (), True)
    watching = dict.fromkeys(algorithm.monitors if monitor else (), True)
    for member, judges, wanted in (
        ("evaluations", algorithm.evaluations, asked),
        ("monitors", algorithm.monitors, watching),
    ):
        judged = _judged(judges, wanted, features, parameters, members["predictions"], context)
        if judged:
            own = members.get(member)
            members[member] = {**(own if isinstance(own, dict) else {}), **judged}
    if not evaluate:
        members["evaluations"] = None
    return members


def fit(
    algorithm: AlgorithmVersion, features: Features, parameters: dict[str, Any], context: JobContext
) -> dict[Any, Any]:
    """Call what trains an algorithm, and return the members of the results.

    Raises:
        AlgorithmError: Nothing does.
    """
    if algorithm.fit is None:
        raise AlgorithmError(f"{algorithm.name!r} can't be trained.", hint="Register a function with @registry.fit.")
    return _members(algorithm.fit(features, parameters, context))


def _members(value: Any) -> dict[Any, Any]:
    members = value if isinstance(value, dict) and "predictions" in value else {"predictions": value}
    return {"predictions": None, "evaluations": None, **members}


def _judged(
    judges: Mapping[str, EvaluationFunction],
    wanted: Mapping[str, Any],
    features: Features,
    parameters: dict[str, Any],
    predictions: Any,
    context: JobContext,
) -> dict[str, Any]:
    judged = {}
    for name in judges:
        if name in wanted:
            context.asked = wanted[name] if isinstance(wanted[name], dict) else {}
            judged[name] = _judgement(judges[name], features, parameters, predictions, context)
    return judged


def _judgement(judge: EvaluationFunction, *arguments: Any) -> Any:
    """Return what an evaluation or a monitor says. It may fail, and takes no predictions with it."""
    try:
        # Once and for all: some values, such as a reader of Arrow's, can be read only once.
        return encode(judge(*arguments), path="it")
    except Exception as error:  # noqa: BLE001 - theirs may be any
        return {"error": f"{type(error).__name__}: {error}"[:1000].encode(errors="replace").decode()}
