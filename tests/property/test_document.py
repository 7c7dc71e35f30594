"""Whatever JSON can hold comes back as it was."""

from __future__ import annotations

import json
import math
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from callback_sdk.document import encode
from tests.property.strategies import json_values

with_nan = st.recursive(
    st.floats() | st.none() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
)


@given(json_values)
def test_json_values_round_trip(value: Any) -> None:
    """Integers of any size, any text, any depth of nesting."""
    assert json.loads(encode(value).data) == value


@given(with_nan)
def test_nonfinite_numbers_are_counted_exactly(value: Any) -> None:
    """The count is right however they are nested, and also when there are real nulls."""

    def count(part: Any) -> int:
        if isinstance(part, float):
            return int(not math.isfinite(part))
        inner = part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
        return sum(map(count, inner))

    assert encode(value).nulled == count(value)
