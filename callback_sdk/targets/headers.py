"""Headers that came with a target."""

from __future__ import annotations

from callback_sdk.redaction import SecretFields
from callback_sdk.targets.callbacks import Callback
from callback_sdk.targets.header_rules import COMPUTED, FORBIDDEN, LOGIN, check_sendable
from callback_sdk.targets.members import HEADERS, HTTP


def given_headers(callback: Callback) -> SecretFields:
    """Return the headers given with a signed URL, all of which can be sent.

    Raises:
        SignedHeaderError: One can't be sent.
    """
    values = callback.headers or SecretFields({})
    given = SecretFields({name: value for name, value in values.reveal().items() if name not in COMPUTED})
    check_sendable(callback.url, HEADERS, given, forbidden=FORBIDDEN)
    return given


def http_headers(callback: Callback) -> SecretFields:
    """Return the headers of `http`, with credentials for the server of the URL.

    Raises:
        SignedHeaderError: One can't be sent.
    """
    headers = callback.http or SecretFields({})
    check_sendable(callback.url, HTTP, headers, forbidden=(FORBIDDEN | COMPUTED) - LOGIN)
    return headers
