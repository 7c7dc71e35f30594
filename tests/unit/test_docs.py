"""Documentation: every public name has a docstring, and what the pages name is there."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pdoc.doc
import pytest

import callback_sdk

ROOT = Path(__file__).parents[2]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]
MAKEFILE = (ROOT / "Makefile").read_text()


def _reference() -> Any:
    spec = importlib.util.spec_from_file_location("reference", ROOT / "docs" / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


reference = _reference()


def members(namespace: pdoc.doc.Namespace[Any]) -> Iterator[pdoc.doc.Doc[Any]]:
    """Yield what is public in a module or a class, all the way down, but for what "Attributes" of a docstring tells."""
    for member in namespace.own_members:
        is_property = isinstance(inspect.getattr_static(namespace.obj, member.name, None), property)
        if member.name.startswith("_") or (isinstance(member, pdoc.doc.Variable) and not is_property):
            continue
        yield member
        if isinstance(member, pdoc.doc.Namespace):
            yield from members(member)


def public_names() -> list[Any]:
    """Return each public class, function, method and property."""
    names = sorted({*reference.MODULES, *(f"callback_sdk.{name}" for name in ("aistore", "errors", "webhooks"))})
    for name in callback_sdk.__all__:
        getattr(callback_sdk, name)
    modules = [pdoc.doc.Module(importlib.import_module(name)) for name in names]
    return [pytest.param(doc, id=doc.fullname) for module in modules for doc in members(module)]


@pytest.mark.parametrize("doc", public_names())
def test_every_public_name_has_a_docstring(doc: pdoc.doc.Doc[Any]) -> None:
    """One sentence first, with its full stop; arguments that need words have them."""
    assert doc.docstring
    assert re.match(r".+?[.:]( |\n|$)", doc.docstring, re.DOTALL)
    if isinstance(doc, pdoc.doc.Function):
        arguments = [name for name in inspect.signature(doc.obj).parameters if name not in ("self", "cls")]
        told = re.findall(r"^ +\**(\w+): ", doc.docstring, re.MULTILINE)
        assert not told or "Args:" not in doc.docstring or set(arguments) <= set(told)


def test_attributes_of_values_are_told() -> None:
    """A public class of attrs lists all its public fields."""
    for name in callback_sdk.__all__:
        value = getattr(callback_sdk, name)
        fields = [field.name for field in getattr(value, "__attrs_attrs__", ())]
        doc = inspect.getdoc(value) or ""
        assert [field for field in fields if not field.startswith("_") and f"{field}:" not in doc] == []


def test_the_reference_is_made(tmp_path: Path) -> None:
    """By pdoc, without a warning; the methods of the client are in it."""
    reference.write(tmp_path)
    assert "run_algorithm_batch" in (tmp_path / "callback_sdk" / "client" / "jobs.html").read_text()
    assert "S3Signer" in (tmp_path / "callback_sdk.html").read_text()
    assert (tmp_path / "index.html").exists()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Within the project; others are not asked."""
    for link in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        assert link.startswith("https://") or (page.parent / link).exists() or not _is_checkout(), link


@pytest.mark.checkout
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_are_named_exist(page: Path) -> None:
    """Paths in backticks, of modules and of tests."""
    for path in re.findall(r"`((?:callback_sdk|tests|docs|notebooks)/[\w./*-]+)`", page.read_text()):
        assert list(ROOT.glob(path.rstrip("/"))), path


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_targets_of_make_that_are_named_exist(page: Path) -> None:
    """And the Makefile's list shows them."""
    for target in re.findall(r"(?:`|^ {4}|^)make ([a-z]+)", page.read_text(), re.MULTILINE):
        assert re.search(rf"^{target}:.*## ", MAKEFILE, re.MULTILINE), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_python_in_the_pages_is_python(page: Path) -> None:
    """And what it takes from the package is there."""
    for block in re.findall(r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("callback_sdk"):
                module = importlib.import_module(str(node.module))
                assert [name.name for name in node.names if not hasattr(module, name.name)] == []


@pytest.mark.checkout
def test_repository_layout_is_the_tree() -> None:
    """CONTRIBUTING shows every package of the tree, and nothing that isn't there."""
    block = re.search(r"## Repository layout\n\n((?: {4}.*\n)+)", (ROOT / "CONTRIBUTING.md").read_text())
    assert block is not None
    shown: set[str] = set()
    parents: dict[int, str] = {-1: ""}
    for line in block[1].splitlines():
        depth = (len(line) - len(line.lstrip()) - 4) // 2
        parent = parents[depth - 1]
        names = [parent + name for name in re.split(r" {2,}", line.strip())[0].split()]
        assert [name for name in names if not list(ROOT.glob(name.rstrip("/")))] == []
        shown |= {name.rstrip("/") for name in names}
        parents[depth] = names[0]
    packages = {str(path.parent.relative_to(ROOT)) for path in (ROOT / "callback_sdk").glob("**/__init__.py")}
    inner = {"callback_sdk/documents/values", "callback_sdk/service/store/migrations"}
    assert {name for name in packages if not name.startswith(tuple(inner))} <= shown


def _is_checkout() -> bool:
    return (ROOT / "callback_sdk").exists()
