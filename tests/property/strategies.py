"""Strategies of the property tests."""

from __future__ import annotations

import string
from datetime import datetime, timedelta, timezone

from hypothesis import strategies as st

from callback_sdk.redaction import Secret

keys = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=80).filter(
    lambda key: len(key.encode()) <= 1024 and not key.startswith(("/", "s3://"))
)
"""Object keys with any Unicode, but those that `S3Signer` rejects as mistakes."""

moments = st.datetimes(
    min_value=datetime(2015, 1, 1, tzinfo=timezone.utc).replace(tzinfo=None),
    max_value=datetime(2090, 1, 1, tzinfo=timezone.utc).replace(tzinfo=None),
    timezones=st.just(timezone.utc),
)

lifetimes = st.integers(1, 7 * 24 * 3600).map(lambda seconds: timedelta(seconds=seconds))

header_values = (
    st.text(st.sampled_from(string.ascii_letters + string.digits + " +/=;,-_.~%&'\"()[]{}"), min_size=1)
    .map(str.strip)
    .filter(bool)
)

metadata = st.dictionaries(
    st.text(st.sampled_from(string.ascii_letters + string.digits + "-_."), min_size=1, max_size=12),
    header_values,
    max_size=4,
).filter(lambda data: len({name.lower() for name in data}) == len(data))

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=5),
    max_leaves=20,
)
"""Anything that the standard library's json reads back as it was."""


def _circular() -> list[object]:
    items: list[object] = ["https://example.org/"]
    items.append(items)
    return items


def _nested(levels: int, kind: type) -> object:
    value: object = "https://example.org/"
    for _ in range(levels):
        value = {"url": value} if kind is dict else kind([value, {"run": 1}])
    return value


_HOSTILE = (
    *(True, False, 0, -1, 10**18, 10**5000, -(10**5000), 0.0, float("nan"), float("inf"), -float("inf")),
    *("", "\ud800", "a\r\nb", "\0", "x" * 20_000, "${filename}", "$key", b"", b"\xff", object(), int, ...),
    *([], (), {}, set(), [None], [[]], [{}], {"url": None}, {None: None}, {10**5000: 1}, {"\ud800": "\ud800"}),
    *([[["https://example.org/", {}], {}], {}], ["https://example.org/", None], Secret("x"), Secret(None)),
)


@st.composite
def _hostile(draw: st.DrawFn) -> object:
    """Return a value that few functions expect, made anew each time: circular and deep values can't be copied."""
    pick = draw(st.integers(0, len(_HOSTILE) + 3))
    if pick < len(_HOSTILE):
        return _HOSTILE[pick]
    return (_circular(), _nested(3_000, list), _nested(3_000, tuple), _nested(3_000, dict))[pick - len(_HOSTILE)]


anything = st.recursive(
    _hostile() | st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.binary(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=5) | st.integers() | st.none() | st.booleans(), inner, max_size=3)
    ),
    max_leaves=6,
)
"""Any value of Python: also deep and circular ones, huge integers, NaN, lone surrogates and bytes."""
