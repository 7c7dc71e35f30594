"""Strategies of the property tests."""

from __future__ import annotations

import string
from datetime import datetime, timedelta, timezone

from hypothesis import strategies as st

keys = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=80).filter(
    lambda key: len(key.encode()) <= 1024
)
"""Object keys with any Unicode."""

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
