"""The package's layout: small modules, few of them in one place, and one class for each name."""

from __future__ import annotations

import ast
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
