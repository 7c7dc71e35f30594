"""Dialects of POST policies: in what the providers' policies differ from Amazon's."""

from __future__ import annotations

from collections.abc import Mapping

from attrs import Factory, define

FILENAME = "${filename}"
"""Placeholder for the file's name, which the store replaces in all fields before it checks the policy."""


@define(frozen=True, kw_only=True, eq=False)
class Dialect:
    """How the stores of one provider check a POST policy.

    Attributes:
        strict: Whether every field needs a condition. Other stores ignore fields without one.
        exact: Fields, in lower case, for which `starts-with` is rejected.
        aliases: Names in conditions, in lower case, that stand for another field.
        lists: Whether there are the operators `in` and `not-in` with a list of values.
    """

    strict: bool = True
    exact: frozenset[str] = frozenset()
    aliases: Mapping[str, str] = Factory(dict)
    lists: bool = False


AMAZON = Dialect(
    exact=frozenset({"bucket", "success_action_status", "x-amz-algorithm", "x-amz-credential", "x-amz-date"})
)
"""The dialect of Amazon S3, the compatible stores, and Google Cloud Storage."""
