"""callback_sdk.service.work.child"""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import orjson
import pytest
from attrs import evolve

from callback_sdk.service.algorithms.registry import Registry
from callback_sdk.service.files import read_progress
from callback_sdk.service.work import child

registry = Registry()


class Unspeakable(Exception):
    """An error with a `__str__` that raises."""

    def __str__(self) -> str:
        raise RuntimeError


@registry.algorithm("echo")
def echo(features, parameters, context):
    context.report_progress(2, "\ud800")
    return parameters["value"]


@registry.algorithm("fail")
def fail(features, parameters, context):
    raise parameters["error"]


@registry.algorithm("save")
def save(features, parameters, context):
    context.output(parameters["name"], b"x")
    return {"predictions": 1, "outputs": 2}


@registry.fit("echo")
def train(features, parameters, context):
    return {"asked": context.export_new_version}


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the child find this module's registry."""
    monkeypatch.setattr(child.startup, "registry", lambda name: registry)


def run_spec(folder: Path, algorithm: str, *, evaluate: bool = True, **parameters: Any) -> child.RunSpec:
    return child.RunSpec(
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
        output=folder / "output",
        outputs=folder / "outputs",
        stop=folder / "stop",
        directory=folder,
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
    answer = child.run(run_spec(tmp_path, "echo", evaluate=evaluate, value=value))
    assert answer.error is None
    data = (tmp_path / "results").read_bytes()
    results = results or value
    assert orjson.loads(data) == results
    for name, (start, stop) in answer.spans.items():
        assert orjson.loads(data[start:stop]) == results[name]


def test_errors_of_output_files_are_those_of_the_algorithm(tmp_path: Path) -> None:
    """With the lines of the algorithm, and not errors of the result."""
    answer = child.run(run_spec(tmp_path, "save", name="../x"))
    assert answer.error is not None
    assert answer.error.startswith("OutputError: The name of an output file has a segment")
    assert 'context.output(parameters["name"], b"x")' in answer.trace


def test_results_with_the_member_of_the_list_fail(tmp_path: Path) -> None:
    """Not when they are delivered, and only beside output files."""
    answer = child.run(run_spec(tmp_path, "save", name="x"))
    assert answer.error == (
        "OutputError: The results have a member 'outputs', where the output files are listed. Rename the member."
    )
    assert not (tmp_path / "results").exists()
    other = tmp_path / "other"
    other.mkdir()
    assert child.run(run_spec(other, "echo", value={"predictions": 1, "outputs": 2})).error is None


def test_a_training_calls_the_fit_function(tmp_path: Path) -> None:
    """It gets `export_new_version`, and its return value is the result."""
    asked = evolve(run_spec(tmp_path, "echo", value=1), kind="fit", export_new_version=True)
    assert child.run(asked).error is None
    assert orjson.loads((tmp_path / "results").read_bytes())["predictions"] == {"asked": True}


def test_an_algorithm_without_a_training_fails_with_a_hint(tmp_path: Path) -> None:
    """The error names the algorithm."""
    answer = child.run(evolve(run_spec(tmp_path, "fail"), kind="fit"))
    assert answer.error is not None
    assert "'fail' can't be trained. Register a function with @registry.fit." in answer.error


def test_progress_is_clipped_and_cleaned(tmp_path: Path) -> None:
    """Fractions above 1 become 1, and lone surrogates are replaced."""
    child.run(run_spec(tmp_path, "echo", value=1))
    assert read_progress(tmp_path / "progress") == {"fraction": 1.0, "message": "?"}


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("x"), "ValueError: x"),
        (ValueError(), "ValueError"),
        (KeyboardInterrupt(), "KeyboardInterrupt"),
        (Unspeakable(), "Unspeakable: (str() of the error fails)"),
        (ValueError("\ud800"), "ValueError: ?"),
        (ValueError("no column b\0d"), "ValueError: no column b\ufffdd"),
    ],
)
def test_errors_become_one_line(tmp_path: Path, error: BaseException, text: str) -> None:
    """Type and message go to the client, the trace to the log alone."""
    answer = child.run(run_spec(tmp_path, "fail", error=error))
    assert answer.error == text
    assert answer.trace.startswith("Traceback")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"predictions": {"a b": {1, 2}}}, 'results.predictions["a b"]'),
        ({"predictions": 1, (1, 2): 3}, "key of type tuple"),
        ({"predictions": 1, 2: 3, "2": 4}, "encode to the same string"),
    ],
)
def test_values_outside_json_are_named(tmp_path: Path, value: Any, words: str) -> None:
    """The error has the path, and no file is left."""
    answer = child.run(run_spec(tmp_path, "echo", value=value))
    assert words in answer.error
    assert not (tmp_path / "results").exists()


def full(monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    """Let the disk be full for the first so many files."""
    write, left = child.write_whole, [OSError(errno.ENOSPC, "No space left on device") for _ in range(times)]

    def try_to(*arguments: Any, **options: Any) -> None:
        if left:
            raise left.pop()
        write(*arguments, **options)

    monkeypatch.setattr(child, "write_whole", try_to)


def test_results_wait_for_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Hours of work aren't lost, and the operator finds the error in the log."""
    monkeypatch.setattr(child, "_RETRY", 0.01)
    # One for the progress, which nothing waits for.
    full(monkeypatch, 4)
    assert child.run(run_spec(tmp_path, "echo", value=1)).error is None
    assert orjson.loads((tmp_path / "results").read_bytes())["predictions"] == 1
    assert caplog.text.count("retrying: [Errno 28]") == 3


def test_results_that_can_not_be_written_are_an_error(tmp_path: Path) -> None:
    """Other faults of the disk don't pass."""
    (tmp_path / "results").mkdir()
    assert "Is a directory" in (child.run(run_spec(tmp_path, "echo", value=1)).error or "")
