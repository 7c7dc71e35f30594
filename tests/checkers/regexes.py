"""Detects regular expressions of the package that hostile input can make slow.

`python -m tests.checkers.regexes` prints them; `recheck` detects them. Of the maintained detectors it is the only one
that also finds polynomial time, and that has no false positives here: dlint checks only nested quantifiers in literals,
regexploit misses `.+a.+a`, and redos-detector reports linear patterns. It is installed from npm, because no package on
PyPI contains it.
"""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeGuard

from attrs import define

PACKAGE = Path(__file__).parents[2] / "callback_sdk"

HOW_TO_GET_IT = "recheck is missing: install Node.js with npm, then `make recheck`."

_SCRIPT = """
const { checkSync } = require('recheck');
const patterns = JSON.parse(require('fs').readFileSync(0));
process.stdout.write(JSON.stringify(patterns.map(([source, flags]) => {
  const found = checkSync(source, flags, { timeout: null, randomSeed: 1 });
  return [found.status, found.complexity ? found.complexity.summary : String(found.error && found.error.kind)];
})));
"""

_WHOLE = frozenset({"fullmatch"})
_FROM_START = frozenset({"match"})
_ANYWHERE = frozenset({"findall", "finditer", "search", "split", "sub", "subn"})
_OF_TEXT = frozenset({"split"})
"""Names of methods of patterns that strings have too."""

_USES = _WHOLE | _FROM_START | _ANYWHERE


@define(frozen=True)
class Pattern:
    """A regular expression and its use.

    Attributes:
        place: File and line.
        source: The pattern; None for a pattern that is built at run time, which can't be checked.
        use: The function of `re`.
    """

    place: str
    source: str | None
    use: str

    def as_javascript(self) -> tuple[str, str]:
        """Return pattern and flags for recheck, with the anchors that are implied by the use."""
        source = self.source or ""
        flags = re.match(r"\(\?([ims]+)\)", source)
        body = (source[flags.end() :] if flags else source).replace("(?P<", "(?<")
        if self.use in _WHOLE:
            body = f"^(?:{body})$"
        elif self.use in _FROM_START:
            body = f"^(?:{body})"
        return body, flags[1] if flags else ""


def patterns_of(source: str, name: str) -> Iterator[Pattern]:
    """Find the regular expressions of a module, even if they are compiled in one place and used in another."""
    tree = ast.parse(source)
    uses, assigned = _uses_of_names(tree), _assigned_names(tree)
    # A pattern in a table has no name, so it may be used by any call without a known pattern.
    named = set(assigned.values())
    unnamed = sorted({use for name, found in uses.items() if name not in named | {"re"} for use in found} - _OF_TEXT)
    forms = {id(node.args[0]) for node in ast.walk(tree) if _makes_form(node)}
    for node in ast.walk(tree):
        function = _function(node)
        if not isinstance(node, ast.Call) or function is None:
            continue
        text = _literal(node.args[0]) if node.args else None
        other = ["fullmatch"] if id(node) in forms else unnamed or ["search"]
        found = [function] if function != "compile" else uses.get(assigned.get(node), other)
        for use in found:
            yield Pattern(f"{name}:{node.lineno}", text, use)


def find(folder: Path = PACKAGE) -> list[Pattern]:
    """Return the regular expressions of every module in a directory."""
    modules = sorted(folder.rglob("*.py"))
    names = [str(module.relative_to(folder.parent)) for module in modules]
    found = [patterns_of(module.read_text(), name) for module, name in zip(modules, names, strict=True)]
    return [pattern for patterns in found for pattern in patterns]


def problems(patterns: Sequence[Pattern]) -> list[str]:
    """Return a line for each pattern with superlinear time, and for each that can't be checked."""
    lines = [
        f"{pattern.place}: a pattern that is built at run time can't be checked; write it as a literal"
        for pattern in patterns
        if pattern.source is None
    ]
    literal = [pattern for pattern in patterns if pattern.source is not None]
    for pattern, (status, complexity) in zip(literal, _checked(literal), strict=True):
        if status != "safe":
            lines.append(f"{pattern.place}: {pattern.source!r} in re.{pattern.use}: {status}, {complexity}")
    return lines


def has_recheck() -> bool:
    """Return whether recheck is installed."""
    return (_modules() / "recheck").is_dir() and shutil.which("node") is not None


def _checked(patterns: Sequence[Pattern]) -> list[tuple[str, str]]:
    if not patterns:
        return []
    wanted = [pattern.as_javascript() for pattern in patterns]
    once = sorted(set(wanted))
    done = subprocess.run(
        ["node", "-e", _SCRIPT],
        input=json.dumps(once),
        env={"NODE_PATH": str(_modules()), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=900,
        check=True,
    )
    found = dict(zip(once, json.loads(done.stdout), strict=True))
    return [(found[each][0], found[each][1]) for each in wanted]


def _modules() -> Path:
    return Path(sys.prefix) / "recheck" / "node_modules"


def _function(node: ast.AST) -> str | None:
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and isinstance(node.func.value, ast.Name):
        known = node.func.attr == "compile" or node.func.attr in _USES
        return node.func.attr if known and node.func.value.id == "re" else None
    return None


def _makes_form(node: ast.AST) -> TypeGuard[ast.Call]:
    """Tell whether a node is a call of `Form`, of which `targets.signatures` matches whole values only."""
    return (
        isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Form" and len(node.args) > 0
    )


def _literal(node: ast.expr) -> str | None:
    try:
        value = ast.literal_eval(node)
    except ValueError:
        return None
    return value.decode("latin-1") if isinstance(value, bytes) else value if isinstance(value, str) else None


def _uses_of_names(tree: ast.AST) -> dict[str | None, list[str]]:
    """Return the functions that are called on each name."""
    uses: dict[str | None, list[str]] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.attr in _USES:
            uses.setdefault(node.value.id, []).append(node.attr)
    return {name: sorted(set(found)) for name, found in uses.items()}


def _assigned_names(tree: ast.AST) -> dict[ast.AST, str]:
    """Return the names that calls, such as of `re.compile`, are assigned to."""
    return {
        node.value: node.targets[0].id
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and isinstance(node.targets[0], ast.Name)
    }


def main() -> int:
    """Print the problems, and return the exit code."""
    if not has_recheck():
        sys.stdout.write(f"{HOW_TO_GET_IT}\n")
        return 1 if os.environ.get("CI") else 0
    patterns = find()
    lines = problems(patterns)
    summary = f"{len(patterns)} uses of regular expressions, {len(lines)} of them slow or not to be checked."
    sys.stdout.write("\n".join([*lines, summary, ""]))
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main())
