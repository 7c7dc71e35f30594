"""Migrations since the previous minor version only add: its services and workers use the database beside new ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic import command

from callback_sdk.redaction import Secret
from callback_sdk.service.store import open_database, schema
from callback_sdk.service.store.cipher import CredentialCipher, new_key

PREVIOUS = "0014"
"""The revision of the previous minor version."""


def described(engine: sa.Engine) -> dict[str, Any]:
    """Return the tables of a database: columns, keys, and which values must be unique."""
    inspector = sa.inspect(engine)
    return {name: _table(inspector, name) for name in inspector.get_table_names()}


def _table(inspector: sa.Inspector, name: str) -> dict[str, Any]:
    unique = [constraint["column_names"] for constraint in inspector.get_unique_constraints(name)]
    unique += [index["column_names"] for index in inspector.get_indexes(name) if index["unique"]]
    return {
        "columns": {
            column["name"]: {
                "type": str(column["type"]),
                "nullable": column["nullable"],
                "has_default": column["default"] is not None,
            }
            for column in inspector.get_columns(name)
        },
        "key": inspector.get_pk_constraint(name)["constrained_columns"],
        "unique": sorted(unique),
        "references": sorted(key["referred_table"] for key in inspector.get_foreign_keys(name)),
    }


def problems(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Return the changes after which statements of the previous version fail, or find rows that they don't expect."""
    found = [f"{name}: removed" for name in before if name not in after]
    for name in before.keys() & after.keys():
        old, new = before[name]["columns"], after[name]["columns"]
        for column, facts in old.items():
            kept = new.get(column)
            if kept is None or (kept["type"], kept["nullable"]) != (facts["type"], facts["nullable"]):
                found.append(f"{name}.{column}: removed, or of another type")
            elif facts["has_default"] and not kept["has_default"] and not kept["nullable"]:
                found.append(f"{name}.{column}: without its default")
        required = [column for column in new if not new[column]["nullable"] and not new[column]["has_default"]]
        found += [f"{name}.{column}: required" for column in required if column not in old]
        found += [
            f"{name}: other {rule}"
            for rule in ("key", "unique", "references")
            if before[name][rule] != after[name][rule]
        ]
    return sorted(found)


def test_the_previous_version_works_with_the_schema(tmp_path: Path) -> None:
    """Nothing that it uses was removed or renamed, and rows that it inserts are valid."""
    database, cipher = open_database(Secret(f"sqlite:///{tmp_path / 'store.sqlite3'}")), CredentialCipher([new_key()])
    database.write(lambda connection: command.upgrade(schema._config(connection=connection, cipher=cipher), PREVIOUS))
    before = described(database.engine)
    assert schema.upgrade(database, cipher) == (PREVIOUS, schema.newest())
    after = described(database.engine)
    database.close()
    assert before.keys() >= {"tasks", "deliveries", "users"}
    assert problems(before, after) == []


COLUMN = {"type": "INTEGER", "nullable": False, "has_default": False}
TABLE = {"columns": {"a": COLUMN, "b": COLUMN | {"has_default": True}}, "key": ["a"], "unique": [], "references": []}


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        ({"t": TABLE}, []),
        ({"t": TABLE, "more": TABLE}, []),
        ({"t": TABLE | {"columns": TABLE["columns"] | {"c": COLUMN | {"nullable": True}}}}, []),
        ({"t": TABLE | {"columns": TABLE["columns"] | {"c": COLUMN | {"has_default": True}}}}, []),
        ({"t": TABLE | {"columns": TABLE["columns"] | {"c": COLUMN}}}, ["t.c: required"]),
        ({"t": TABLE | {"columns": {"a": COLUMN}}}, ["t.b: removed, or of another type"]),
        ({"t": TABLE | {"columns": {"a": COLUMN, "b": COLUMN}}}, ["t.b: without its default"]),
        (
            {"t": TABLE | {"columns": TABLE["columns"] | {"a": COLUMN | {"type": "TEXT"}}}},
            ["t.a: removed, or of another type"],
        ),
        ({"t": TABLE | {"unique": [["b"]]}}, ["t: other unique"]),
        ({"t": TABLE | {"references": ["u"]}}, ["t: other references"]),
        ({}, ["t: removed"]),
    ],
)
def test_each_incompatible_change_is_found(after: dict[str, Any], expected: list[str]) -> None:
    """Additions are allowed."""
    assert problems({"t": TABLE}, after) == expected
