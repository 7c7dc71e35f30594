"""callback_sdk.service.registry"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from callback_sdk.errors import ConfigurationError, UnknownAlgorithmError
from callback_sdk.service import Registry
from callback_sdk.service.registry import load


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
    """Who names no version gets the latest."""
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
        ("xyz", None, "There are: rain, thermal-fatigue."),
        ("rain", "next", "There are: 1.0.0."),
        ("thermal-fatigue", "2.0", "Did you mean '2.0.0'"),
    ],
)
def test_unknown_names_are_answered_with_known_ones(
    registry: Registry, name: str, version: str | None, words: str
) -> None:
    """An error names what is close, or else what there is."""
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
        {"name": "rain"},
    ],
)
def test_what_can_not_be_registered_is_refused(registry: Registry, options: dict) -> None:
    """Names that are no part of a URL, taken ones, and time-outs of nothing."""
    name = options.pop("name")
    with pytest.raises(ConfigurationError):
        registry.algorithm(name, **options)(lambda features, parameters, context: None)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("no_such_module_anywhere:registry", "no module 'no_such_module_anywhere'"),
        ("callback_sdk.servise:registry", "no module 'callback_sdk.servise'"),
        ("callback_sdk.service.registry:Registri", "Did you mean 'Registry'?"),
        ("callback_sdk.service.registry:load", "of type function"),
        ("callback_sdk.service.registry", "with a colon"),
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


def test_an_import_error_inside_the_module_shows_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dependency that a module lacks is not taken for a misspelt module."""
    (tmp_path / "jobs_without_dependency.py").write_text("import a_dependency_that_is_missing\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModuleNotFoundError, match="a_dependency_that_is_missing"):
        load("jobs_without_dependency:registry")
