"""callback_sdk.service.child"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import orjson
import pytest

from callback_sdk.service import Context, child
from callback_sdk.service.files import read_progress
from callback_sdk.service.registry import Registry

registry = Registry()


class Unspeakable(Exception):
    """An error whose text can't be made."""

    def __str__(self) -> str:
        raise RuntimeError


@registry.algorithm("echo")
def echo(features, parameters, context):
    context.progress(2, "\ud800")
    return parameters["value"]


@registry.algorithm("fail")
def fail(features, parameters, context):
    raise parameters["error"]


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the child find this module's registry."""
    monkeypatch.setattr(child, "_registry", lambda name: registry)


def order(folder: Path, algorithm: str, *, evaluate: bool = True, **parameters: Any) -> child.Run:
    return child.Run(
        registry="",
        algorithm=algorithm,
        version="1.0.0",
        job_id="1",
        attempt=1,
        evaluate=evaluate,
        parameters=parameters,
        features=folder / "features",
        features_format="json",
        results=folder / "results",
        progress=folder / "progress",
    )


@pytest.mark.parametrize(
    ("value", "evaluate", "results"),
    [
        (None, True, {"predictions": None, "evaluations": None}),
        ([1], True, {"predictions": [1], "evaluations": None}),
        ({"x": 1}, True, {"predictions": {"x": 1}, "evaluations": None}),
        ({"predictions": 1, "evaluations": 2, "monitors": "ä"}, True, None),
        ({"predictions": 1, "evaluations": 2}, False, {"predictions": 1, "evaluations": None}),
        ({"extra": {"y": []}, "predictions": 1}, True, {"predictions": 1, "evaluations": None, "extra": {"y": []}}),
    ],
)  # fmt: skip
def test_spans_point_at_the_members(tmp_path: Path, value: Any, evaluate: bool, results: dict[str, Any] | None) -> None:
    """The file is the results, and each span of it is one member's JSON."""
    answer = child.run(order(tmp_path, "echo", evaluate=evaluate, value=value))
    assert answer.error is None
    data = (tmp_path / "results").read_bytes()
    results = results or value
    assert orjson.loads(data) == results
    for name, (start, stop) in answer.spans.items():
        assert orjson.loads(data[start:stop]) == results[name]


def test_progress_is_cut_and_cleaned(tmp_path: Path) -> None:
    """More than all is all, and what UTF-8 can't hold is replaced."""
    child.run(order(tmp_path, "echo", value=1))
    assert read_progress(tmp_path / "progress") == {"fraction": 1.0, "message": "?"}


def test_only_news_are_reported() -> None:
    """The same progress again costs nothing; NaN is nobody knows."""
    said = []
    context = Context(job_id="1", attempt=1, evaluate=True, report=lambda *state: said.append(state))
    for fraction in (0.1, 0.1, 0.1000001, math.nan, None, -1):
        context.progress(fraction, "x")
    assert said == [(0.1, "x"), (None, "x"), (0.0, "x")]


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("x"), "ValueError: x"),
        (ValueError(), "ValueError"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (Unspeakable(), "Unspeakable: (its text can't be made)"),
        (ValueError("\ud800"), "ValueError: ?"),
    ],
)
def test_errors_become_one_line(tmp_path: Path, error: BaseException, text: str) -> None:
    """Type and message go to the client, the trace to the log alone."""
    answer = child.run(order(tmp_path, "fail", error=error))
    assert answer.error == text
    assert answer.trace.startswith("Traceback")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"predictions": {"a b": {1, 2}}}, 'results.predictions["a b"]'),
        ({"predictions": 1, 2: 3}, "key of type int"),
    ],
)
def test_what_json_can_not_hold_is_named(tmp_path: Path, value: Any, words: str) -> None:
    """The error has the path, and no file is left."""
    answer = child.run(order(tmp_path, "echo", value=value))
    assert words in answer.error
    assert not (tmp_path / "results").exists()
