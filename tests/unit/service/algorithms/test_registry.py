"""callback_sdk.service.algorithms.registry"""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest

from callback_sdk.errors import ConfigurationError, UnknownAlgorithmError
from callback_sdk.service import Registry
from callback_sdk.service.algorithms.registry import load
from callback_sdk.service.algorithms.versions import AlgorithmVersion


@pytest.fixture
def registry() -> Registry:
    """Give a registry with two versions of one algorithm."""
    registry = Registry()

    @registry.algorithm("thermal-fatigue", version="1.0.0")
    @registry.algorithm("rain", description="Counts drops.")
    def first(features, parameters, context):
        """Count cycles.

        More about it.
        """

    @registry.algorithm("thermal-fatigue", version="2.0.0", timeout=timedelta(seconds=3))
    def second(features, parameters, context):
        return None

    return registry


def test_the_version_registered_last_is_the_default(registry: Registry) -> None:
    """For callers that name no version."""
    assert registry.get("thermal-fatigue").version == "2.0.0"
    assert registry.get("thermal-fatigue", "1.0.0").version == "1.0.0"


def test_the_first_line_of_the_docstring_describes(registry: Registry) -> None:
    """A description is taken from the function unless one is given."""
    assert registry.get("thermal-fatigue", "1.0.0").description == "Count cycles."
    assert registry.get("rain").description == "Counts drops."


@pytest.mark.parametrize(
    ("name", "version", "words"),
    [
        ("thermal-fatige", None, "Did you mean 'thermal-fatigue'?"),
        ("xyz", None, "Registered: rain, thermal-fatigue."),
        ("rain", "next", "Registered: 1.0.0."),
        ("thermal-fatigue", "2.0", "Did you mean '2.0.0'"),
    ],
)
def test_errors_of_unknown_names_suggest_known_ones(
    registry: Registry, name: str, version: str | None, words: str
) -> None:
    """Similar names, or all of them."""
    with pytest.raises(UnknownAlgorithmError) as caught:
        registry.get(name, version)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {"name": "a/b"},
        {"name": ""},
        {"name": "tasks"},
        {"name": "x", "version": "1 0"},
        {"name": "x", "timeout": timedelta(0)},
        {"name": "x", "memory_limit": 0},
        {"name": "x", "memory_limit": float("nan")},
        {"name": "rain"},
        {"name": 5},
        {"name": "x", "version": 1},
        {"name": "x", "timeout": "600"},
        {"name": "x", "memory_limit": "1GB"},
        {"name": "x", "max_runs": 0},
        {"name": "x", "max_runs": 1.5},
        {"name": "x", "max_runs": True},
    ],
)
def test_invalid_registrations_are_rejected(registry: Registry, options: dict) -> None:
    """Names that can't be in a URL, existing names, and invalid timeouts and memory limits."""
    name = options.pop("name")
    with pytest.raises(ConfigurationError):
        registry.algorithm(name, **options)(lambda features, parameters, context: None)


def register(**options: Any) -> AlgorithmVersion:
    registry = Registry()
    registry.algorithm("x", **options)(lambda features, parameters, context: None)
    return registry.get("x")


def test_limits_are_stored() -> None:
    """Timeout and memory limit are as registered; by default there is no memory limit."""
    assert register(memory_limit=2**30, timeout=timedelta(hours=1)).memory_limit == 2**30
    assert register().memory_limit is None


def test_templates_are_json() -> None:
    """Each registered template is returned as JSON, and a missing one as None."""
    algorithm = register(templates={"input": {"a": [1, 2]}, "parameters": {}})
    assert orjson.loads(algorithm.template("input") or b"") == {"a": [1, 2]}
    assert algorithm.template("parameters") == b"{}"
    assert algorithm.template("output") is None


def test_a_template_is_copied_at_registration() -> None:
    """Later changes of the value don't change the template."""
    template = {"a": [1, 2]}
    algorithm = register(templates={"input": template})
    template["a"].append(3)
    assert algorithm.template("input") == b'{"a":[1,2]}'


@pytest.mark.parametrize(
    ("templates", "words"),
    [
        ({"inputs": {}}, "'inputs' of 'x' is not a kind of template. The kinds are input, output, parameters."),
        ({"input": {1, 2}}, "'input' of 'x' can't be represented in JSON"),
        ({"output": {(1, 2): 2}}, "'output' of 'x' can't be represented in JSON"),
    ],
)
def test_an_invalid_template_is_rejected(templates: dict[str, Any], words: str) -> None:
    """At registration, not when a client requests it."""
    with pytest.raises(ConfigurationError) as caught:
        register(templates=templates)
    assert words in str(caught.value)


def test_the_first_graph_is_shown_to_who_names_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Graphs are found by name, wherever the service's working directory is by then."""
    for name in ("model.png", "errors.png"):
        (tmp_path / name).write_bytes(b"\x89PNG\r\n\x1a\n" + name.encode())
    monkeypatch.chdir(tmp_path)
    algorithm = register(graphs={"model": "model.png", "errors": Path("errors.png")})
    monkeypatch.chdir("/")
    assert algorithm.graph() == algorithm.graph("model") == (tmp_path / "model.png").read_bytes()
    assert algorithm.graph("errors") == (tmp_path / "errors.png").read_bytes()
    assert algorithm.graph("others") is None
    assert register().graph() is None


@pytest.mark.parametrize(
    ("content", "words"), [(None, "No such file"), (b"GIF89a", "is not a PNG file"), (b"", "is not a PNG file")]
)
def test_a_graph_that_is_not_a_png_is_rejected(tmp_path: Path, content: bytes | None, words: str) -> None:
    """The file is checked at registration."""
    path = tmp_path / "graph.png"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=words):
        register(graphs={"model": path})


def test_training_belongs_to_one_version(registry: Registry) -> None:
    """The function that trains is the last version's unless another one is named, and is returned as it was."""

    @registry.fit("thermal-fatigue", version="1.0.0")
    def older(features, parameters, context):
        return None

    @registry.fit("thermal-fatigue")
    def newer(features, parameters, context):
        return None

    def training(version: str) -> Any:
        found = registry.functions(registry.get("thermal-fatigue", version)).fit
        return found and found.find()

    assert (training("1.0.0"), training("2.0.0")) == (older, newer)
    assert registry.get("thermal-fatigue").trainable
    assert not registry.get("rain").trainable
    assert registry.functions(registry.get("rain")).fit is None


def test_training_is_registered_after_the_algorithm_and_once(registry: Registry) -> None:
    """A training of an unknown algorithm, and a second training, are errors."""
    with pytest.raises(UnknownAlgorithmError, match="'snow'"):
        registry.fit("snow")
    registry.fit("rain")(lambda features, parameters, context: None)
    with pytest.raises(ConfigurationError, match=r"Version '1.0.0' of 'rain'"):
        registry.fit("rain")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("no_such_module_anywhere:registry", "Module 'no_such_module_anywhere' of"),
        ("callback_sdk.servise:registry", "Module 'callback_sdk.servise' of"),
        ("callback_sdk.service.algorithms.registry:Registri", "Did you mean 'Registry'"),
        ("callback_sdk.service.algorithms.registry:load", "of type function"),
        ("callback_sdk.service.algorithms.registry", "with a colon"),
        (":registry", "with a colon"),
    ],
)
def test_a_registry_that_is_not_there_is_explained(name: str, words: str) -> None:
    """Each way to misname a registry has its own text."""
    with pytest.raises(ConfigurationError, match=words.replace("?", r"\?")):
        load(name)


def test_the_working_directory_is_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A module that lies where the command runs is found."""
    (tmp_path / "jobs_of_this_test.py").write_text("from callback_sdk.service import Registry\nregistry = Registry()\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", ["/nowhere", *__import__("sys").path[1:]])
    assert len(load("jobs_of_this_test:registry")) == 0


@pytest.mark.parametrize("source", ["import a_dependency_that_is_missing", "1 / 0"])
def test_an_error_inside_the_module_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    """With the frames of the module alone; a missing dependency is not taken for a misspelt module."""
    path = tmp_path / "jobs_with_an_error.py"
    path.write_text(f"{source}\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigurationError, match="jobs_with_an_error") as caught:
        load("jobs_with_an_error:registry")
    assert f'File "{path}", line 1' in caught.value.hint
    assert source in caught.value.hint
    assert caught.value.hint.count("File ") == 1


@pytest.mark.parametrize(
    ("code", "shown"),
    [
        ("a = 1\ndef mean(features:\n    return 1\n", "def mean(features:\n        ^"),
        ("if True:\n\ta = 1\n        b = 2\n", "TabError|unindent|inconsistent"),
        ("a = b'\xff'\n", "ASCII|codec|utf-8"),
    ],
)
def test_module_that_python_cannot_parse_is_shown_by_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, shown: str
) -> None:
    """File, line and a caret: the frames of the import are no help."""
    (tmp_path / "jobs_with_a_typo.py").write_bytes(code.encode("latin-1"))
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ConfigurationError, match=r"jobs_with_a_typo\.py") as caught:
        load("jobs_with_a_typo:registry")
    assert re.search(shown if "|" in shown else re.escape(shown), str(caught.value))
    assert caught.value.__cause__ is None
