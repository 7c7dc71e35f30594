"""callback_sdk.service.api.downloads"""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from callback_sdk.service.api.downloads import UnsatisfiableRangeError, attachment, parse_range


@pytest.mark.parametrize(
    ("header", "span"),
    [
        ("bytes=0-0", (0, 1)),
        ("bytes=0-", (0, 10)),
        ("bytes=3-5", (3, 6)),
        ("bytes=3-99", (3, 10)),
        ("bytes=-3", (7, 10)),
        ("bytes=-99", (0, 10)),
        ("Bytes=1-2", (1, 3)),
        ("bytes= 1-2 ", (1, 3)),
        # Ignored: see RFC 9110, section 14.2.
        (None, None),
        ("", None),
        ("bytes=-", None),
        ("bytes= -", None),
        ("bytes=\t- ", None),
        ("bytes=5-3", None),
        ("bytes=0-1,3-4", None),
        ("lines=0-1", None),
        ("bytes=a-b", None),
        ("bytes=1.5-2", None),
        ("bytes=" + "9" * 30 + "-", None),
        ("bytes=\u0661-\u0662", None),
    ],
)
def test_a_single_range_is_parsed(header: str | None, span: tuple[int, int] | None) -> None:
    """Everything else is a request for the whole file."""
    assert parse_range(header, 10) == span


@pytest.mark.parametrize(("header", "size"), [("bytes=10-", 10), ("bytes=-0", 10), ("bytes=0-", 0), ("bytes=-1", 0)])
def test_a_range_without_a_byte_of_the_file_is_an_error(header: str, size: int) -> None:
    """Which is answered with 416."""
    with pytest.raises(UnsatisfiableRangeError):
        parse_range(header, size)


@given(
    header=st.text() | st.from_regex(r"\A(?i:bytes)=[ \t]*[0-9]{0,20}[ \t]*-[ \t]*[0-9]{0,20}[ \t]*\Z"),
    size=st.integers(0, 2**63),
)
@example(header="bytes= -", size=1)
def test_any_header_is_a_range_of_the_file_or_ignored(header: str, size: int) -> None:
    """Or it is a range without a byte of the file, and never any other error."""
    try:
        span = parse_range(header, size)
    except UnsatisfiableRangeError:
        return
    assert span is None or 0 <= span[0] < span[1] <= size


def test_a_download_has_the_last_part_of_the_name() -> None:
    """In ASCII for old clients, and percent-encoded for the others; no name can add a header or a parameter."""
    assert attachment("plots/loss.png") == "attachment; filename=\"loss.png\"; filename*=UTF-8''loss.png"
    assert attachment('ä"\r\n.txt') == "attachment; filename=\"____.txt\"; filename*=UTF-8''%C3%A4%22%0D%0A.txt"
