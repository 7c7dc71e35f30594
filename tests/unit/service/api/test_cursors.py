"""callback_sdk.service.api.cursors"""

from __future__ import annotations

import base64
import json

import pytest
from fastapi import HTTPException
from hypothesis import given
from hypothesis import strategies as st

from callback_sdk.service.api import cursors


@given(st.floats(0, 1e12), st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=40))
def test_a_cursor_is_decoded_to_its_position(moment: float, ident: str) -> None:
    """With the types of its members."""
    assert cursors.decode(cursors.encode(moment, ident), float, str) == (moment, ident)


@pytest.mark.parametrize(
    "content", [b"", b"x", b"[]", b"{}", b'[1.5, "a", 2]', b'["x", "a"]', b'[1.5, "a\\u0000"]', b"[[1], 2]", b"\xff"]
)
def test_anything_else_is_an_error(content: bytes) -> None:
    """Not a fault: cursors come from clients."""
    text = base64.urlsafe_b64encode(content).decode()
    for cursor in (text, text.rstrip("="), "é", "=" * 500, json.dumps(text)):
        with pytest.raises(HTTPException) as caught:
            cursors.decode(cursor, float, str)
        assert caught.value.status_code == 422


@pytest.mark.parametrize("number", ["1e18", "-1e300", "9223372036854775808", '"nan"', '"inf"'])
@pytest.mark.parametrize("kind", [int, float])
def test_a_number_that_no_position_has_is_an_error(number: str, kind: type) -> None:
    """No database takes such an id, and no calendar has such a time."""
    cursor = base64.urlsafe_b64encode(f"[{number}]".encode()).decode()
    with pytest.raises(HTTPException) as caught:
        cursors.decode(cursor, kind)
    assert caught.value.status_code == 422
