"""Log records: their texts, and their fields in JSON."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import callback_sdk.service

_LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}
_NAMED = {"job_id": re.compile(r"\btask %s", re.I), "delivery_id": re.compile(r"\bdelivery %s", re.I)}


def _calls() -> Iterator[tuple[str, str, ast.Call]]:
    for path in sorted(Path(callback_sdk.service.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in _LEVELS):
                continue
            if node.args and isinstance(node.args[0], ast.Constant) and isinstance(node.args[0].value, str):
                yield f"{path.name}:{node.lineno}", node.args[0].value, node


def _extra(call: ast.Call) -> str:
    """Return the fields that a call passes as `extra`; a variable or a call stands for all fields."""
    return next((ast.unparse(keyword.value) for keyword in call.keywords if keyword.arg == "extra"), "")


@pytest.mark.parametrize("fact", list(_NAMED))
def test_every_log_call_that_names_a_task_or_a_delivery_passes_its_id(fact: str) -> None:
    """So JSON logs have the id as a separate field."""
    named = [(place, _extra(call)) for place, text, call in _calls() if _NAMED[fact].search(text)]

    assert named
    shared = re.compile(r"extra|_log_fields\(claim\)|.*\*\*_log_fields\(claim\)")
    assert [place for place, extra in named if f"'{fact}'" not in extra and not shared.match(extra)] == []
