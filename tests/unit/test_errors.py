"""Errors have hints, and can be pickled."""

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
    errors.MultipleDeliveryErrors([errors.TargetExpiredError("late"), errors.DeliveryError("no", retryable=True)]),
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
    """The message is followed by the hint."""
    assert str(errors.CallbackSDKError("It broke.", hint="Mend it.")) == "It broke. Mend it."
    assert str(errors.CallbackSDKError("It broke.")) == "It broke."


def test_missing_extra_has_the_command() -> None:
    """The text can be pasted into a shell; there is no release to install from elsewhere."""
    assert "In a checkout of callback_sdk: pip install '.[parquet]'" in str(ERRORS[1])


def test_missing_extra_keeps_its_attributes_in_a_pickle() -> None:
    """Dependency and extra are attributes, and aren't parsed from the text."""
    error = errors.MissingExtraError("The file is not installed. It", extra="parquet")
    error.hint = "Ask the operator."
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.what, copy.extra, copy.hint) == ("The file is not installed. It", "parquet", "Ask the operator.")


def test_several_failures_are_all_named() -> None:
    """Each target's error is a line, and one that may be tried again makes the whole so."""
    error = ERRORS[5]
    assert isinstance(error, errors.MultipleDeliveryErrors)
    assert str(error) == "2 targets do not have the result:\n  - late\n  - no"
    assert error.retryable


def test_hint_for_the_command_line_differs_only_where_it_is_given() -> None:
    """Each sentence that is added has a form for Python and one for `callback-sdk`; a replaced hint has one again."""
    error = errors.ServiceError("It broke.", hint="Try again.")
    assert error.command_hint == "Try again."
    error.add_hint("Pass key=1.", "Pass --key 1.")
    error.add_hint("Then wait.")
    assert error.hint == "Try again. Pass key=1. Then wait."
    assert error.command_hint == "Try again. Pass --key 1. Then wait."
    assert pickle.loads(pickle.dumps(error)).command_hint == error.command_hint
    error.replace_hint("Log in.")
    assert (error.hint, error.command_hint) == ("Log in.", "Log in.")


def test_hints_that_are_added_are_escaped() -> None:
    """A hint may quote a server, and is printed as it is."""
    error = errors.CallbackSDKError("It broke.")
    error.add_hint("a\x1b[2J", "b\x1b[2J")
    assert (error.hint, error.command_hint) == (r"a\x1b[2J", r"b\x1b[2J")
    error.replace_hint("c\x1b[2J")
    assert error.hint == r"c\x1b[2J"
