"""callback_sdk.service.pages.rendering: the templates and those that render them."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from jinja2 import meta

from callback_sdk.service import pages
from callback_sdk.service.pages.rendering import _environment

FOLDER = Path(pages.__file__).parent
ALWAYS = {"session", "prefix", "here", "status", "m", *_environment.globals}


def calls() -> list[tuple[str, set[str]]]:
    """Return the template and the variables of each call of `render`."""
    return [
        (call.args[1].value, {keyword.arg for keyword in call.keywords if keyword.arg})
        for module in sorted(FOLDER.glob("*.py"))
        for call in ast.walk(ast.parse(module.read_text()))
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "render"
        if isinstance(call.args[1], ast.Constant)
    ]


def variables(template: str) -> set[str]:
    """Return the variables that a template and those that it extends need."""
    tree = _environment.parse((FOLDER / "templates" / template).read_text())
    others = [variables(name) for name in meta.find_referenced_templates(tree) if name]
    return meta.find_undeclared_variables(tree).union(*others) - ALWAYS


@pytest.mark.parametrize(("template", "given"), calls(), ids=lambda value: value if isinstance(value, str) else "")
def test_a_template_gets_the_variables_that_it_uses(template: str, given: set[str]) -> None:
    """No more and no fewer, whatever a page shows."""
    assert given - {"status"} == variables(template)


def test_links_and_redirects_begin_with_the_path_that_clients_see() -> None:
    """The path in the service is known only to the module that mounts the pages and the one that completes it."""
    plain = {path.name for path in FOLDER.glob("*.py") if "PREFIX" in path.read_text() or '"/ui' in path.read_text()}
    assert plain == {"app.py", "rendering.py"}
    assert not [path.name for path in FOLDER.glob("templates/*") if "/ui" in path.read_text()]


def test_every_template_is_rendered() -> None:
    """All but the one that the others extend, and the macros."""
    assert {template for template, _ in calls()} == {path.name for path in FOLDER.glob("templates/*")} - {
        "base.html",
        "macros.html",
    }
