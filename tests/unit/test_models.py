"""Results as callers give them."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import numpy as np
import pytest

from callback_sdk.errors import EncodingError, InvalidRequestError
from callback_sdk.models import DeliveryFilter, JobResult, host_name, outcome
from callback_sdk.redaction import SecretURL


@pytest.mark.parametrize(
    ("members", "path", "said"),
    [
        (
            {"job_id": 42, "success": True},
            "job_id",
            "job_id is 42, of type int. Give a string, such as job_id=str(number).",
        ),
        ({"job_id": "", "success": True}, "job_id", "job_id is empty. Give the id of the job that the result is of."),
        ({"job_id": "42", "success": 1}, "success", "success is of type int. Give True or False."),
        ({"job_id": "42", "success": np.int64(1)}, "success", "success is of type int64. Give True or False."),
        (
            {"job_id": "42", "success": True, "status": "Done"},
            "status",
            "status is 'Done'. Give 'Finished' or 'Canceled'.",
        ),
    ],
)
def test_a_wrong_member_is_one_sentence(members: dict[str, Any], path: str, said: str) -> None:
    """It names the member and has a hint."""
    with pytest.raises(EncodingError) as caught:
        JobResult(**members)
    assert (str(caught.value), caught.value.path) == (said, path)


@pytest.mark.parametrize("value", [True, False])
def test_a_bool_of_numpy_is_a_bool(value: bool) -> None:
    """As comparisons of arrays return it."""
    assert JobResult(job_id="42", success=np.bool_(value)).success is value  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("status", "success", "code", "expected"),
    [
        ("Pending", None, None, None),
        ("In Progress", None, None, None),
        ("Finished", True, None, "Succeeded"),
        ("Finished", False, None, "Failed"),
        ("Finished", False, "expired", "Expired"),
        ("Finished", False, "a code of a newer service", "Failed"),
        ("Canceled", False, None, "Canceled"),
    ],
)
def test_an_outcome_has_one_word(status: str, success: bool | None, code: str | None, expected: str | None) -> None:
    """None until the task has ended."""
    assert outcome(status, success, code) == expected


def test_a_filter_of_deliveries_has_the_form_of_a_query() -> None:
    """Times in ISO 8601; what selects nothing is left out."""
    wanted = DeliveryFilter(status="dead", host="a.example", since=datetime(2030, 1, 1, tzinfo=timezone.utc))
    query = {"status": "dead", "host": "a.example", "since": "2030-01-01T00:00:00+00:00"}
    assert wanted.to_dict() == query
    assert DeliveryFilter.from_dict({**query, "since": "2030-01-01T00:00:00Z", "user": "", "cursor": "c"}) == wanted
    assert DeliveryFilter.from_dict({}) == DeliveryFilter()


@pytest.mark.parametrize(
    "bad",
    [
        {"status": "broken"},
        {"host": 1},
        {"host": "a.example:8443"},
        {"host": "https://a.example"},
        {"host": "a.example/path"},
        {"user": "a\0"},
        {"error": "x" * 301},
        {"since": "yesterday"},
        {"until": "2030-01-01T00:00:00"},
        {"since": "2030-01-01T00:00:00 00:00"},
    ],
)
def test_an_invalid_filter_is_an_error_that_names_the_member(bad: dict[str, Any]) -> None:
    """Otherwise it might select everything."""
    (name,) = bad
    with pytest.raises(InvalidRequestError, match=f"^{name} is "):
        DeliveryFilter.from_dict(bad)


@pytest.mark.parametrize("text", ["user:topsecret@a.example", "https://a.example/?token=topsecret"])
def test_an_invalid_host_is_quoted_without_its_credentials(text: str) -> None:
    """A URL may have been pasted in place of its host."""
    with pytest.raises(InvalidRequestError, match=r"^host is ") as caught:
        DeliveryFilter(host=text)
    assert "topsecret" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [("[::1]", "::1"), ("::1", "::1"), ("Bücher.Example", "xn--bcher-kva.example"), ("A.example", "a.example")],
)
def test_the_host_of_a_filter_may_be_written_in_any_way(text: str, expected: str) -> None:
    """Targets have its ASCII form, without brackets."""
    assert host_name(DeliveryFilter(host=text).host or "") == expected == SecretURL(f"https://{bracketed(text)}").host


def bracketed(host: str) -> str:
    return f"[{host.strip('[]')}]" if ":" in host else host


def test_a_filter_rejects_times_without_a_zone() -> None:
    """Client and service may be in different zones."""
    with pytest.raises(InvalidRequestError, match="since"):
        DeliveryFilter(since=datetime(2030, 1, 1))  # noqa: DTZ001
