"""callback_sdk.documents.error_text"""

from __future__ import annotations

import pytest

from callback_sdk.documents.error_text import clean, describe


@pytest.mark.parametrize("length", [0, 1900, 1990, 3000])
def test_no_credential_of_a_url_is_shown(length: int) -> None:
    """Wherever the text is truncated."""
    error = ValueError(f"{'x' * length} https://user:hunter2@h/k?X-Amz-Signature=deadbeef&token=secretsecret y")
    text = describe(error)
    assert text.startswith("ValueError: ")
    assert len(text) <= 2000
    assert not any(secret in text for secret in ("hunter2", "deadbeef", "secretsecret"))


def test_a_traceback_is_not_truncated() -> None:
    """It is stored with the output, which is bounded."""
    assert clean("x" * 5000 + "\0\ud800", max_length=None) == "x" * 5000 + "\ufffd?"
