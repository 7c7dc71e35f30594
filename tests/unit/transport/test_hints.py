"""Each hint is true for the response that it is given for."""

from __future__ import annotations

import re

import pytest
from attrs import evolve

from callback_sdk.redaction import Secret, SecretURL
from callback_sdk.transport.error_responses import delivery_error
from callback_sdk.transport.hints import Circumstances, Hint, find_hint
from callback_sdk.transport.response import Response
from callback_sdk.transport.status_hints import status_hint
from callback_sdk.transport.store_hints import BY_MESSAGE, HINTS
from tests.growth import assert_linear
from tests.unit.transport.error_response_cases import CASES, Case
from tests.unit.transport.senders import upload


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.store}: {case.source}")
def test_a_reported_response_gets_its_hint(case: Case) -> None:
    """The code, the hint and whether a retry may help."""
    url = SecretURL(f"https://{case.host}/runs/42.json?X-Amz-Signature=0")
    headers = {"content-type": "application/json", **case.headers}
    sent = evolve(upload(url.reveal()), kind=case.kind, headers=Secret(headers))
    error = delivery_error(sent, Response(status=case.status, headers={}, body=case.body, url=url))
    assert case.hint in error.hint
    assert (error.code, error.retryable) == (case.code, case.retryable)


def test_the_reports_are_of_many_stores() -> None:
    """At least forty of them, from at least ten stores, each with its source."""
    assert len(CASES) >= 40
    assert len({case.store for case in CASES}) >= 10
    assert all(re.search(r"#\d+$|discussion \d+$|^observed", case.source) for case in CASES)


@pytest.mark.parametrize("hint", [*(hint for hints in HINTS.values() for hint in hints), *BY_MESSAGE])
def test_every_condition_can_hold(hint: Hint) -> None:
    """Messages are compared in lower case, and each text is a sentence."""
    assert all(part == part.lower() for part in hint.says)
    assert hint.sends == hint.sends.lower()
    assert hint.text.endswith(".")


@pytest.mark.parametrize("code", HINTS)
@pytest.mark.parametrize("kind", ["s3-put", "s3-put-v2", "s3-post", "gcs-put", "azure-blob"])
def test_every_code_has_a_hint_for_any_response(code: str, kind: str) -> None:
    """The last hint of a code has no condition, so that no message is left without one."""
    assert find_hint(HINTS[code], Circumstances(kind=kind, message="", headers=frozenset(), host="example.org"))


def test_conditions_are_all_required() -> None:
    """The first hint with all conditions met is the one."""
    known = Circumstances(
        kind="s3-put-v2", message="the bucket is full", headers=frozenset({"x-a"}), host="b.r2.example"
    )
    hints = (
        Hint("kind", kinds="gcs"),
        Hint("header", sends="x-b"),
        Hint("host", host=".s3.example"),
        Hint("words", says=("empty", "half")),
        Hint("all", says=("empty", "full"), kinds="post v2", sends="x-a", host=".r2.example"),
        Hint("later"),
    )
    assert find_hint(hints, known) == "all"
    assert find_hint(hints[:-2], known) is None


@pytest.mark.parametrize(
    ("kind", "status", "part"),
    [
        ("s3-put", 522, "transient problem"),
        ("s3-put", 307, "leads to"),
        ("s3-put", 418, "may not be the store's"),
        ("webhook", 418, "See the receiver's log."),
        ("webhook", 307, "give the final URL"),
        ("http-put", 502, "See the server's log."),
        ("http-put", 500, "create_full_put_path"),
        ("gcs-session", 410, "start another one"),
        ("gcs-session", 503, "transient problem"),
        ("swift-put", 401, "TempURL has expired"),
        ("swift-put", 404, "host and path"),
    ],
)
def test_a_status_has_the_hint_of_its_kind_and_class(kind: str, status: int, part: str) -> None:
    """The same status means different things; content delivery networks have codes of their own."""
    assert part in status_hint(kind, status)


def test_time_grows_with_the_message_and_not_faster() -> None:
    """A hostile store can't make its message expensive."""

    def seek(message: str) -> None:
        known = Circumstances(kind="s3-put", message=message, headers=frozenset(), host="example.org")
        find_hint((*HINTS["AccessDenied"], *BY_MESSAGE), known)

    assert_linear(seek, "has expire" * 1_000, "has expire" * 16_000, ratio=16)
