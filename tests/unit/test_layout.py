"""The package's layout: small modules, few of them in one place, and one class for each name."""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path

import callback_sdk

PACKAGE = Path(callback_sdk.__file__).parent
MAX_LINES = 500
MAX_MODULES = {"": 14, "service": 10}
"""Maximum number of modules of packages that hold further packages."""


def test_modules_are_short() -> None:
    """A longer one has more than one subject."""
    lengths = {path: len(path.read_text().splitlines()) for path in PACKAGE.rglob("*.py")}
    assert {str(path): lines for path, lines in lengths.items() if lines > MAX_LINES} == {}


def test_packages_of_packages_have_few_modules() -> None:
    """A new module belongs into one of their packages."""
    modules = {
        name: [path.name for path in (PACKAGE / name).glob("*.py") if path.name != "__init__.py"]
        for name in MAX_MODULES
    }
    assert {name: found for name, found in modules.items() if len(found) > MAX_MODULES[name]} == {}


def test_class_names_are_unique() -> None:
    """A name in a traceback, in the documentation or in a search leads to one class."""
    names = Counter(
        node.name
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
    )
    assert {name for name, count in names.items() if count > 1} == set()


NOUNS = {"Finding", "Setting"}


def test_class_names_are_nouns() -> None:
    """`Setting` is one; `Waiting` or `Encoded` says what is done with an object, not what it is."""
    names = [
        node.name
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef)
    ]
    participles = [name for name in names if re.fullmatch(r"_?[A-Z][a-z]+(ed|ing|able)", name)]
    assert set(participles) - NOUNS == set()


DELIVERY = ("writer", "targets", "transport", "documents")
IMPORTED_BEFORE = {"numpy", "pandas", "pyarrow"}
"""Libraries whose values exist only after their import."""


def test_imports_within_functions_of_a_delivery_wait_for_forks() -> None:
    """A child that is forked during an import would wait for the lock of the module forever."""
    unprotected = [
        f"{path.name}:{node.lineno}"
        for package in DELIVERY
        for path in (PACKAGE / package).rglob("*.py")
        for function in ast.walk(ast.parse(path.read_text()))
        if isinstance(function, ast.FunctionDef)
        for node in unprotected_imports(function)
        if not (isinstance(node, ast.Import) and {name.name for name in node.names} <= IMPORTED_BEFORE)
    ]
    assert unprotected == []


def unprotected_imports(node: ast.AST) -> list[ast.Import | ast.ImportFrom]:
    """Return the imports below a node that are not in a block `with no_fork`."""
    found = []
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.With) and any(ast.unparse(item.context_expr) == "no_fork" for item in child.items):
            continue
        found += [child] if isinstance(child, ast.Import | ast.ImportFrom) else unprotected_imports(child)
    return found
