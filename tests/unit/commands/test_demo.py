"""The checks of the demo."""

from __future__ import annotations

import json
from typing import Any

import pytest

from callback_sdk.commands.demo import Arrival, check, shorten
from callback_sdk.errors import CallbackSDKError

DOCUMENT: dict[str, Any] = {
    "job_id": "1",
    "status": "Finished",
    "callback_param": {},
    "success": True,
    "results": {"predictions": 1},
}


def _arrival(document: Any, **options: Any) -> Arrival:
    return Arrival(where="here", body=json.dumps(document).encode(), **options)


def test_equal_documents_are_accepted() -> None:
    """Three documents with the same results and the expected metadata."""
    check([_arrival(DOCUMENT), _arrival(DOCUMENT, wanted={"a": "b"}, found={"a": "b"})], "1")


@pytest.mark.parametrize(
    ("arrival", "said"),
    [
        (Arrival(where="here", body=b"<html>"), "not a JSON object"),
        (_arrival([1]), "not a JSON object"),
        (_arrival(dict(reversed(DOCUMENT.items()))), "members"),
        (_arrival(DOCUMENT | {"more": 1}), "members"),
        (_arrival(DOCUMENT | {"success": False}), "success"),
        (_arrival(DOCUMENT | {"job_id": "2"}), "job 1"),
        (_arrival(DOCUMENT | {"results": {}}), "differ"),
        (_arrival(DOCUMENT, wanted={"a": "b"}, found={}), "kept"),
    ],
)
def test_a_document_that_is_not_right_is_named(arrival: Arrival, said: str) -> None:
    """The demo fails when a document is damaged, incomplete, of another job, or unlike the others."""
    with pytest.raises(CallbackSDKError, match=said):
        check([_arrival(DOCUMENT), arrival], "1")


def test_long_lists_are_shortened_for_reading() -> None:
    """A long list keeps its start, followed by the number of omitted items; short lists are unchanged."""
    assert shorten({"a": [1, 2], "b": list(range(9))}) == {"a": [1, 2], "b": [0, 1, 2, 3, "… 5 more"]}
