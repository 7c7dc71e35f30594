"""Documentation: docstrings of public names, the build of the site, and names in pages and README."""

from __future__ import annotations

import ast
import functools
import importlib.util
import inspect
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer.main

import callback_sdk
from callback_sdk.commands.app import app
from callback_sdk.program import arguments as exec_arguments
from tests.checkers import links
from tests.conftest import missing_server

ROOT = Path(__file__).parents[2]
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
MAKEFILE = (ROOT / "Makefile").read_text()
MODULES = (
    "callback_sdk",
    *(f"callback_sdk.{name}" for name in ("aistore", "errors", "receivers", "service", "testing", "webhooks")),
)
MAX_README_LINES = 140
FOREIGN_OPTIONS = {"--keep-going", "--preload", "--retries"}
"""Of other programs."""

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def _members(owner: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    """Yield the public functions, classes, methods and properties of a module or a class, inherited ones included."""
    names = getattr(owner, "__all__", None) or [name for name in dir(owner) if not name.startswith("_")]
    for name in names:
        member = inspect.getattr_static(owner, name, None)
        if isinstance(owner, ModuleType):
            member = getattr(owner, name)
            if isinstance(member, ModuleType) or (not hasattr(owner, "__all__") and _home(member) != owner.__name__):
                continue
        if isinstance(member, (staticmethod, classmethod)):
            member = member.__func__
        if not (inspect.isroutine(member) or inspect.isclass(member) or isinstance(member, property)):
            continue
        if str(_home(member) or "").startswith("callback_sdk"):
            yield f"{prefix}.{name}", member
            if inspect.isclass(member):
                yield from _members(member, f"{prefix}.{name}")


def _home(member: Any) -> str | None:
    return getattr(member.fget if isinstance(member, property) else member, "__module__", None)


def public_names() -> list[Any]:
    """Return each public class, function, method and property."""
    found = dict(pair for name in MODULES for pair in _members(importlib.import_module(name), name))
    return [pytest.param(member, id=name) for name, member in sorted(found.items())]


@pytest.mark.parametrize("member", public_names())
def test_every_public_name_has_a_docstring(member: Any) -> None:
    """Its first sentence ends with a full stop or a colon; when it documents arguments, it documents all of them."""
    doc = inspect.getdoc(member) or ""
    assert re.match(r".+?[.:]( |\n|$)", doc, re.DOTALL)
    if inspect.isfunction(member):
        arguments = [name for name in inspect.signature(member).parameters if name not in ("self", "cls")]
        told = re.findall(r"^ +\**(\w+): ", doc, re.MULTILINE)
        assert not told or "Args:" not in doc or set(arguments) <= set(told)


def test_attributes_of_values_are_documented() -> None:
    """The docstring of a public attrs class lists all public fields."""
    for name in callback_sdk.__all__:
        value = getattr(callback_sdk, name)
        fields = [field.name for field in getattr(value, "__attrs_attrs__", ())]
        doc = inspect.getdoc(value) or ""
        assert [field for field in fields if not field.startswith("_") and f"{field}:" not in doc] == []


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the documentation site as `make docs` does: every warning, such as a broken link, is an error.

    Without the highlighted source code of the modules, which takes a third of the time and has no links.
    """
    if importlib.util.find_spec("sphinx") is None:
        missing_server("Sphinx is missing: make docs")
    folder = tmp_path_factory.mktemp("site")
    extensions = "extensions=myst_parser,sphinx.ext.autodoc,sphinx.ext.napoleon"
    command = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--quiet", "--builder", "html", "-D", extensions]
    built = subprocess.run(
        [*command, "--doctree-dir", str(folder / "doctrees"), str(ROOT / "docs"), str(folder / "html")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    return folder / "html"


@pytest.mark.checkout
def test_internal_links_of_the_site_are_valid(site: Path) -> None:
    """Pages and anchors, in the navigation and in the API reference too."""
    assert sorted(links.broken(site)) == []


@pytest.mark.checkout
def test_the_site_has_search_and_version(site: Path) -> None:
    """Both are in the side bar of every page."""
    assert (site / "searchindex.js").exists()
    index = (site / "index.html").read_text()
    assert 'action="search.html"' in index
    assert f"callback_sdk {callback_sdk.__version__}" in index


@pytest.mark.checkout
def test_the_reference_has_every_public_name(site: Path) -> None:
    """Classes and functions of the package, and everything in the modules that it exports."""
    reference = "".join(path.read_text() for path in (site / "reference").glob("*.html"))
    anchors = set(re.findall(r' id="(callback_sdk[\w.]*)"', reference))
    names = {anchor.rpartition(".")[2] for anchor in anchors}
    public = {
        name
        for module in map(importlib.import_module, MODULES)
        for name in getattr(module, "__all__", ())
        if not name.startswith("__") and not isinstance(getattr(module, name), ModuleType)
    }
    assert public - names == set()
    assert "callback_sdk.Client.run_algorithm_batch" in anchors


@pytest.mark.checkout
def test_every_page_is_in_the_navigation(site: Path) -> None:
    """So is the whole site within reach of its first page."""
    index = (site / "index.html").read_text()
    pages = [path.relative_to(ROOT / "docs").with_suffix(".html") for path in (ROOT / "docs").rglob("*.md")]
    assert [str(page) for page in pages if page.name != "index.html" and f'href="{page}"' not in index] == []


@each_page
def test_links_lead_somewhere(page: Path) -> None:
    """To files within the project, and to headings that they have."""
    for path, _, anchor in (
        (match[1], match[2], match[3]) for match in re.finditer(r"\]\(([^)#\s]*)(#([^)\s]*))?\)", page.read_text())
    ):
        if path.startswith("https://"):
            continue
        there = page.parent / path if path else page
        assert there.exists() or not _is_checkout(), path
        assert not anchor or anchor in _anchors(there), f"{path}#{anchor}"


def _anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and Sphinx make them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.checkout
@each_page
def test_files_that_are_named_exist(page: Path) -> None:
    """Paths in backticks, of modules and of tests."""
    for path in re.findall(r"`((?:callback_sdk|tests|docs|notebooks)/[\w./*-]+)`", page.read_text()):
        assert list(ROOT.glob(path.rstrip("/"))), path


@each_page
def test_targets_of_make_that_are_named_exist(page: Path) -> None:
    """And the Makefile's list shows them."""
    for target in re.findall(r"(?:`|^ {4}|^)make ([a-z]+)", page.read_text(), re.MULTILINE):
        assert re.search(rf"^{target}:.*## ", MAKEFILE, re.MULTILINE), target


@each_page
def test_extras_in_the_pages_exist(page: Path) -> None:
    """All extras in `pip install '.[…]'` are declared in setup.cfg."""
    setup = ConfigParser(interpolation=None)
    setup.read(ROOT / "setup.cfg")
    for extras in re.findall(r"pip install '(?:callback-sdk|\.)\[([\w,]+)\]", page.read_text()):
        assert set(extras.split(",")) <= set(setup["options.extras_require"])


@each_page
def test_python_in_the_pages_is_valid(page: Path) -> None:
    """Imported names of the package exist."""
    for block in re.findall(r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("callback_sdk"):
                module = importlib.import_module(str(node.module))
                assert [name.name for name in node.names if not hasattr(module, name.name)] == []


@each_page
def test_commands_in_the_pages_exist(page: Path) -> None:
    """With their options and number of arguments, in blocks and in backticks."""
    text = page.read_text()
    lines = [line for block in re.findall(r"^```sh\n(.*?)^```", text, re.DOTALL | re.M) for line in block.splitlines()]
    spans = re.findall(r"`(callback-sdk [^`|]+)`", text) if page.name != "CHANGELOG.md" else []
    for line in [*lines, *spans]:
        for command in re.findall(r"(?<![\w'/-])callback-sdk (?!\[)([^>|)]*)", line.split("pip install")[0]):
            _parse(shlex.split(command, comments=True))


@functools.cache
def _commands() -> Any:
    """Return all commands: Typer takes longer to build them than to parse a command line."""
    return typer.main.get_command(app)


def _parse(words: list[str]) -> None:
    """Parse a command line as `callback-sdk` does; values aren't looked at."""
    if words[:1] == ["exec"]:
        # Not a command of Typer; see callback_sdk.cli.
        assert words[1:] == [] or exec_arguments.parse(words[1:])
        return
    command = _commands()
    while hasattr(command, "commands") and words and not words[0].startswith("-"):
        assert words[0] in command.commands, words
        command, words = command.commands[words[0]], words[1:]
    context = command.context_class(command, info_name=command.name)
    _, rest, _ = command.make_parser(context).parse_args(args=list(words))
    assert rest == [], words


@functools.cache
def _all_options() -> set[str]:
    return _options(_commands())


def _options(command: Any) -> set[str]:
    own = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    return own.union(*map(_options, getattr(command, "commands", {}).values()))


def _exec_options() -> set[str]:
    return {option for action in exec_arguments.parser()._actions for option in action.option_strings}


@each_page
def test_options_in_the_pages_exist(page: Path) -> None:
    """Those in backticks, wherever a sentence names one."""
    named = set(re.findall(r"`(--[a-z][a-z-]+)", page.read_text())) if page.name != "CHANGELOG.md" else set()
    assert named - FOREIGN_OPTIONS <= _all_options() | _exec_options()


def test_the_readme_stays_short() -> None:
    """Everything but the first steps is in the documentation."""
    assert len((ROOT / "README.md").read_text().splitlines()) <= MAX_README_LINES


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
    inner = {"callback_sdk/documents/values", "callback_sdk/service/store/migrations", "callback_sdk/testing/aistore"}
    assert {name for name in packages if not name.startswith(tuple(inner))} <= shown


def _is_checkout() -> bool:
    return (ROOT / "callback_sdk").exists()
