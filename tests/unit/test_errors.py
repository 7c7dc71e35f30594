"""Errors say what to do next, and survive a journey to another process."""

from __future__ import annotations

import pickle

import pytest

from callback_sdk import errors

ERRORS = [
    errors.CallbackSDKError("what", hint="how"),
    errors.MissingExtraError("pyarrow", extra="parquet"),
    errors.TargetExpiredError("late", hint="sign again", url="https://h/"),
    errors.EncodingError("bad", path="results.x"),
    errors.DeliveryError("no", status=503, code="SlowDown", retryable=True, retry_after=2.0, attempts=3),
    errors.SeveralDeliveriesError([errors.TargetExpiredError("late"), errors.DeliveryError("no", retryable=True)]),
    errors.NotFoundError("gone", status=404, request_id="r"),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_error_survives_pickling(error: errors.CallbackSDKError) -> None:
    """A worker's error arrives with all its facts."""
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert {k: str(v) for k, v in vars(copy).items()} == {k: str(v) for k, v in vars(error).items()}


def test_text_is_message_and_hint() -> None:
    """What went wrong, then what to do."""
    assert str(errors.CallbackSDKError("It broke.", hint="Mend it.")) == "It broke. Mend it."
    assert str(errors.CallbackSDKError("It broke.")) == "It broke."


def test_missing_extra_has_the_command() -> None:
    """The text can be pasted into a shell."""
    assert "pip install 'callback-sdk[parquet]'" in str(ERRORS[1])


def test_several_failures_are_all_named() -> None:
    """Each target's error is a line, and one that may be tried again makes the whole so."""
    error = ERRORS[5]
    assert isinstance(error, errors.SeveralDeliveriesError)
    assert str(error) == "2 targets do not have the result:\n  - late\n  - no"
    assert error.retryable
